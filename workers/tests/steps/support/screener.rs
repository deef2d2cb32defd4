//! A screening service that answers by a script, and clears what the script says nothing about.

use crate::shared::basics::{MachineClock, lock};
use async_trait::async_trait;
use bursar_domain::{
    governance::{log::EntryDigest, testing::key, verdict::SignedVerdict},
    screening::{
        AlertPage, Answer, Assessment, Inquiry, RiskBand, Screened, ScreeningService, SignedAlert, Unanswered,
    },
    time::Clock as _,
};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Notify;

#[derive(Clone)]
pub enum Reply {
    Says(Screened),
    /// Somebody is under sanctions.
    Hit,
    /// Signed by somebody else than the service that the policy names.
    SignedBy(&'static str),
    /// An answer about another order.
    OtherOrder,
    Pending(Duration),
    Not(Unanswered),
    /// Nothing at all.
    Silent,
}

pub struct Screener {
    clock: Arc<MachineClock>,
    pub genesis: Mutex<EntryDigest>,
    script: Mutex<VecDeque<Reply>>,
    asked: Mutex<Vec<(Inquiry, u32)>>,
    /// How long an answer counts.
    pub lives: Mutex<Duration>,
    pub alerts: Mutex<Vec<SignedAlert>>,
    /// Told at each question.
    pub heard: Notify,
}

impl Screener {
    pub fn new(clock: Arc<MachineClock>) -> Arc<Self> {
        Arc::new(Self {
            clock,
            genesis: Mutex::new(EntryDigest::NONE),
            script: Mutex::default(),
            asked: Mutex::default(),
            lives: Mutex::new(Duration::from_secs(1_000_000)),
            alerts: Mutex::default(),
            heard: Notify::new(),
        })
    }
    pub fn next(&self, replies: impl IntoIterator<Item = Reply>) {
        lock(&self.script).extend(replies);
    }
    /// The rounds of this kind that were asked, in order.
    pub fn asked(&self, kind: &str) -> Vec<u32> {
        lock(&self.asked)
            .iter()
            .filter(|(inquiry, _)| inquiry.kind() == kind)
            .map(|(_, round)| *round)
            .collect()
    }
    pub fn inquiries(&self, kind: &str) -> Vec<Inquiry> {
        let asked = lock(&self.asked);
        asked.iter().map(|(inquiry, _)| inquiry).filter(|inquiry| inquiry.kind() == kind).cloned().collect()
    }

    fn complete(&self, inquiry: &Inquiry, outcome: Screened, signer: &str, other: bool, n: usize) -> Answer {
        let now = self.clock.now();
        let risk = match outcome {
            Screened::Clear => RiskBand::Low,
            Screened::Review => RiskBand::High,
            Screened::Block => RiskBand::Severe,
        };
        let assessment = Assessment {
            provider: "scripted".into(),
            risk,
            sanctions: false,
            outcome,
            findings: Vec::new(),
            screened_at: now,
            expires_at: now.plus((*lock(&self.lives)).min(bursar_domain::screening::MAX_LIFETIME)),
            reference: format!("ref-{n}"),
        };
        let verdict = match inquiry {
            Inquiry::Outbound { order } => {
                let mut intent = order.intent.digest();
                intent.0[0] ^= u8::from(other);
                let verdict = assessment.verdict(*lock(&self.genesis), intent);
                Some(SignedVerdict { signature: key(signer).sign(&verdict.digest()), verdict })
            }
            _ => None,
        };
        Answer::Complete { assessment, verdict }
    }
}

pub const SERVICE: &str = "platform.screening";

#[async_trait]
impl ScreeningService for Screener {
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        let n = {
            let mut asked = lock(&self.asked);
            asked.push((inquiry.clone(), round));
            asked.len()
        };
        self.heard.notify_waiters();
        let reply = lock(&self.script).pop_front().unwrap_or(Reply::Says(Screened::Clear));
        match reply {
            Reply::Says(outcome) => Ok(self.complete(inquiry, outcome, SERVICE, false, n)),
            Reply::Hit => {
                let mut answer = self.complete(inquiry, Screened::Block, SERVICE, false, n);
                if let Answer::Complete { assessment, .. } = &mut answer {
                    assessment.sanctions = true;
                }
                Ok(answer)
            }
            Reply::SignedBy(user) => Ok(self.complete(inquiry, Screened::Clear, user, false, n)),
            Reply::OtherOrder => Ok(self.complete(inquiry, Screened::Clear, SERVICE, true, n)),
            Reply::Pending(retry_after) => Ok(Answer::Pending { reference: format!("ref-{n}"), retry_after }),
            Reply::Not(unanswered) => Err(unanswered),
            Reply::Silent => std::future::pending().await,
        }
    }

    /// All of them on one page, and then none.
    async fn alerts(&self, cursor: Option<&str>) -> Result<AlertPage, Unanswered> {
        let alerts = lock(&self.alerts);
        let seen: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or_default();
        let next = Some(alerts.len().to_string()).filter(|_| !alerts.is_empty());
        Ok(AlertPage { alerts: alerts[seen.min(alerts.len())..].to_vec(), next })
    }
}
