//! Asking about an address by itself: for whoever wants to know, and for one that is proposed for the address book.
//!
//! Nothing is decided by it here but this: an address with a sanctions hit is not taken into the address book by this installation. Everything
//! else is for those who approve. Without an answer it is PENDING_REVIEW to them, never clear.

use super::{Screening, count, outcome, outcome_of, standing::words};
use crate::context::Context;
use bursar_domain::{
    governance::log::EntryDigest,
    network::Network,
    screening::{Answer, Assessment, Inquiry, Screened, Unanswered},
    time::Timestamp,
};
use bursar_store::{
    StoreError, WriteTx, events,
    screenings::{self, Begun, Progress, Subject},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// How many are asked about at once; the others wait for their turn, within [`PATIENCE`].
const AT_ONCE: usize = 4;
/// How many of them may be free questions: whoever asks about many addresses keeps no proposal for the address book waiting.
const QUESTIONS: usize = AT_ONCE / 2;
/// Somebody waits for the answer: longer than this nobody does.
const PATIENCE: Duration = Duration::from_secs(20);
/// Within a span of this length an address is screened once; later it is screened anew, in a round of its own.
const ROUND: Duration = Duration::from_secs(3600);

/// Why an address is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is proposed for the address book.
    Proposal,
    /// Somebody wants to know.
    Question,
}

/// Turns of those who ask about an address by itself.
pub(super) struct Turns {
    all: Semaphore,
    questions: Semaphore,
}

type Turn<'t> = (Option<SemaphorePermit<'t>>, SemaphorePermit<'t>);

impl Turns {
    pub(super) fn new() -> Self {
        Self { all: Semaphore::new(AT_ONCE), questions: Semaphore::new(QUESTIONS) }
    }

    /// Until it is dropped.
    async fn take(&self, reason: Reason) -> Result<Turn<'_>, AcquireError> {
        let question = match reason {
            Reason::Proposal => None,
            // First, so that no more of them than that stand in line before proposals.
            Reason::Question => Some(self.questions.acquire().await?),
        };
        Ok((question, self.all.acquire().await?))
    }
}

/// What was asked about, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScreenedAddress {
    pub network: Network,
    pub address: String,
    pub found: Result<Assessment, Unanswered>,
}

impl Screening {
    /// What the service says of an address now. Without an answer in time, or with one that is not ready, there is none.
    pub async fn address(
        &self,
        network: Network,
        address: &str,
        reason: Reason,
        now: Timestamp,
    ) -> ScreenedAddress {
        let inquiry = Inquiry::Address { network, address: address.to_owned() };
        let asked = async {
            let turn = self.addresses.take(reason).await;
            let _turn = turn.map_err(|_| Unanswered::Unavailable("this process is stopping".into()))?;
            match self.ask(&inquiry, round(now)).await? {
                Answer::Complete { assessment, .. } if assessment.fresh(now) => Ok(assessment),
                Answer::Complete { .. } => Err(Unanswered::Malformed("it has expired already".into())),
                Answer::Pending { reference, .. } => {
                    Err(Unanswered::Unavailable(format!("it is under way ({reference}); ask again")))
                }
            }
        };
        let limit = PATIENCE.min(self.settings.timeout);
        let found = tokio::time::timeout(limit, asked).await.unwrap_or(Err(Unanswered::Timeout));
        count(inquiry.kind(), found.as_ref().map_or_else(outcome, |found| outcome_of(found.outcome)));
        ScreenedAddress { network, address: address.to_owned(), found }
    }
}

/// The same within [`ROUND`], so that the provider is asked once, whoever asks here.
fn round(now: Timestamp) -> u32 {
    let span = i64::try_from(ROUND.as_micros()).unwrap_or(i64::MAX);
    u32::try_from(now.micros() / span).unwrap_or_default()
}

impl ScreenedAddress {
    /// `CLEAR`, `REVIEW`, `BLOCK`, or without an answer `PENDING_REVIEW`.
    pub fn outcome(&self) -> &'static str {
        outcome_name(self.found.as_ref().ok())
    }

    /// Why it is not to be listed, whoever approves.
    pub fn sanctioned(&self) -> Option<String> {
        let found = self.found.as_ref().ok().filter(|found| found.sanctions)?;
        Some(words(found))
    }

    /// Tells of it, within `tx`: with the change that proposes the address, or `None` where somebody only asked.
    ///
    /// # Errors
    /// Of the store.
    pub async fn tell(
        &self,
        tx: &mut WriteTx,
        change: Option<EntryDigest>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let found = self.found.as_ref();
        let payload = json!({
            "network": self.network,
            "address": self.address,
            "change": change,
            "outcome": self.outcome(),
            "risk": found.map(|found| found.risk).ok(),
            "sanctions": found.map(|found| found.sanctions).ok(),
            "provider": found.map(|found| found.provider.as_str()).ok(),
            "reference": found.map(|found| found.reference.as_str()).ok(),
            "failure": found.err().map_or(Value::Null, |failure| json!(failure)),
        });
        events::append(tx, "screening.address", None, now, &payload).await
    }

    /// Keeps it with the change that proposes the address, in a round of its own, and tells of it.
    ///
    /// # Errors
    /// Of the store.
    pub async fn keep(
        &self,
        tx: &mut WriteTx,
        change: EntryDigest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let subject = Subject::Address(change);
        let round = match screenings::newest_in(tx, subject).await? {
            Some(newest) => newest.round.saturating_add(1),
            None => 0,
        };
        let progress = match &self.found {
            Ok(assessment) => Progress::Complete { assessment: assessment.clone(), verdict: None },
            Err(failure) => Progress::Failed(failure.clone()),
        };
        // (Begun and settled in one commit: nothing of it is asked for again by itself.)
        if screenings::begin(tx, Begun { subject, round, order: None }, now).await? {
            screenings::put(tx, subject, round, 1, &progress, now).await?;
        }
        self.tell(tx, Some(change), now).await
    }
}

/// As [`ScreenedAddress::outcome`], of what was kept.
pub fn outcome_name(found: Option<&Assessment>) -> &'static str {
    match found.map(|found| found.outcome) {
        Some(Screened::Clear) => "CLEAR",
        Some(Screened::Review) => "REVIEW",
        Some(Screened::Block) => "BLOCK",
        None => "PENDING_REVIEW",
    }
}

/// Whether an address that was proposed is to be screened (again): there is a service, and no answer of it that counts still.
///
/// # Errors
/// Of the store.
pub async fn is_due(context: &Context, change: EntryDigest) -> Result<bool, StoreError> {
    if context.screening.is_none() {
        return Ok(false);
    }
    let newest = screenings::newest(&context.store, Subject::Address(change)).await?;
    Ok(!newest.is_some_and(|newest| match newest.progress {
        Progress::Complete { assessment, .. } => assessment.fresh(context.now()),
        Progress::Pending { .. } | Progress::Failed(_) => false,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screening::ScreeningSettings;
    use async_trait::async_trait;
    use bursar_domain::screening::{AlertPage, ScreeningService};
    use std::sync::Arc;
    use tokio::{
        sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        task::{AbortHandle, yield_now},
    };

    const QUESTION: &str = "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE";
    const PROPOSAL: &str = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";

    /// Tells who asks, and answers nobody.
    struct Silent(UnboundedSender<String>);

    #[async_trait]
    impl ScreeningService for Silent {
        async fn screen(&self, inquiry: &Inquiry, _: u32) -> Result<Answer, Unanswered> {
            let Inquiry::Address { address, .. } = inquiry else { panic!("addresses are asked about") };
            self.0.send(address.clone()).unwrap();
            std::future::pending().await
        }
        async fn alerts(&self, _: Option<&str>) -> Result<AlertPage, Unanswered> {
            Ok(AlertPage::default())
        }
    }

    /// All who were let through to the service by now, when everybody has gone as far as they can.
    async fn asked(through: &mut UnboundedReceiver<String>) -> Vec<String> {
        for _ in 0..100 {
            yield_now().await;
        }
        std::iter::from_fn(|| through.try_recv().ok()).collect()
    }

    #[tokio::test]
    async fn questions_leave_turns_to_proposals() {
        let (sender, mut through) = unbounded_channel();
        let screening = Screening::new(Arc::new(Silent(sender)), ScreeningSettings::default());
        let ask = |reason, address: &str| -> AbortHandle {
            let (screening, address) = (screening.clone(), address.to_owned());
            let asks = async move {
                screening.address(Network::Xrp(0), &address, reason, Timestamp::from_secs(0)).await
            };
            tokio::spawn(asks).abort_handle()
        };
        let questions: Vec<_> = (0..10).map(|_| ask(Reason::Question, QUESTION)).collect();
        assert_eq!(asked(&mut through).await, [QUESTION; QUESTIONS]);
        let proposals: Vec<_> = (0..AT_ONCE).map(|_| ask(Reason::Proposal, PROPOSAL)).collect();
        assert_eq!(asked(&mut through).await, [PROPOSAL; AT_ONCE - QUESTIONS]);
        // The turns of questions that end go to proposals that stand in line, and then to questions again.
        questions[..QUESTIONS].iter().for_each(AbortHandle::abort);
        let next = asked(&mut through).await;
        assert_eq!(next, [PROPOSAL; QUESTIONS]);
        proposals.iter().for_each(AbortHandle::abort);
        assert_eq!(asked(&mut through).await, [QUESTION; QUESTIONS]);
    }

    #[test]
    fn an_address_is_screened_anew_after_an_hour() {
        let at = |seconds: i64| round(Timestamp::from_secs(seconds));
        assert_eq!(at(0), 0);
        assert_eq!(at(3600 * 500_000), at(3600 * 500_000 + 3599));
        assert_eq!(at(3600 * 500_000) + 1, at(3600 * 500_001));
        assert_eq!(at(-7200), 0, "a clock that makes no sense asks nothing twice");
    }
}
