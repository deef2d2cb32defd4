//! Screening, as the engine uses it: what an order's screening says now, asking the service, and what people do about it.
//!
//! Fails closed. What has no answer, or one that cannot be used, waits for people (PENDING_REVIEW); what a screening forbids ends. A round
//! is written down before the service is asked (`bursar_store::screenings`), and asked again with its number after a death.
//!
//! | module | what it does |
//! |---|---|
//! | [`standing`] | holds what was answered against the log, the clock and the releases |
//! | `asking` | asks one round, and writes down what came of it |
//! | [`address`] | asks about an address by itself |
//! | [`alerts`] | takes what the service says later |
//! | [`review`] | releases, rejections, and screening again |
//! | [`watch`] | the task beside the queue: registers what was paid, and polls for alerts |

pub mod address;
pub mod alerts;
pub(crate) mod asking;
pub mod review;
pub mod standing;
pub mod watch;

pub(crate) use asking::{outcome, outcome_of};

use crate::crash;
use bursar_domain::screening::{Answer, Inquiry, MAX_RETRY, ScreeningService, Unanswered};
use std::{sync::Arc, time::Duration};

/// The service that this installation asks; clones share it.
#[derive(Clone)]
pub struct Screening {
    pub(crate) service: Arc<dyn ScreeningService>,
    pub settings: ScreeningSettings,
    addresses: Arc<address::Turns>,
}

#[derive(Debug, Clone)]
pub struct ScreeningSettings {
    /// An answer that takes longer is none.
    pub timeout: Duration,
    /// How often silence and outages are asked again before people have to look.
    pub retries: u32,
    /// The first pause before that; each further one is twice as long.
    pub retry: Duration,
    /// How often the service is asked for alerts, and payments to register are looked for.
    pub poll: Duration,
}

impl Default for ScreeningSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(20),
            retries: 5,
            retry: Duration::from_secs(2),
            poll: Duration::from_secs(15),
        }
    }
}

impl Screening {
    pub fn new(service: Arc<dyn ScreeningService>, settings: ScreeningSettings) -> Self {
        let addresses = Arc::new(address::Turns::new());
        Self { service: crash::screening(service), settings, addresses }
    }

    /// What the service answers in time, if it can be an answer to this.
    pub(crate) async fn ask(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered> {
        // What the service would refuse for what it is is not worth a call, and never becomes right.
        inquiry.validate().map_err(|invalid| Unanswered::Unsupported(invalid.to_string()))?;
        let answer = self.service.screen(inquiry, round);
        let answer =
            tokio::time::timeout(self.settings.timeout, answer).await.map_err(|_| Unanswered::Timeout)??;
        answer.check(inquiry).map_err(|invalid| Unanswered::Malformed(invalid.to_string()))?;
        Ok(answer)
    }

    /// The pause after this many attempts in vain.
    pub(crate) fn pause(&self, attempts: u32) -> Duration {
        self.settings.retry.saturating_mul(1 << attempts.saturating_sub(1).min(10)).min(MAX_RETRY)
    }
}

/// Counts what came of a question; `kind` as in [`Inquiry::kind`].
pub(crate) fn count(kind: &'static str, outcome: &'static str) {
    metrics::counter!("bursar_screenings_total", "kind" => kind, "outcome" => outcome).increment(1);
}
