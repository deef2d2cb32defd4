//! The event log, sent on to endpoints: Standard Webhooks (<https://www.standardwebhooks.com>, specification 1.0.0).
//!
//! Each endpoint is told each event that it wants at least once, under one `webhook-id`. First tries begin in the order of the log, up to
//! [`WebhookSettings::parallel`] at a time; what fails is tried again on its own ([`schedule`]), and keeps nothing behind it waiting. What
//! was sent and not yet written down when a process died is sent again.
//!
//! **What a hostile endpoint can do.** Its URL is somebody's input, and the orchestrator stands where nodes, the database and a cloud's
//! metadata service are near. So a connection is made only to addresses that [`address::Reach`] lets through, and the check is made on the
//! very addresses that are dialled: a name that resolves to something else a moment later gains nothing. Nothing is redirected, no proxy is
//! asked, answers are read up to a few kilobytes within a time limit, and what is kept of them is shown to people only.
//!
//! | module | |
//! |---|---|
//! | [`address`] | which addresses and URLs may be sent to |
//! | [`keys`] | key files, secrets, signatures |
//! | [`message`] | what is sent of an event |
//! | [`send`] | one try over HTTP |
//! | [`schedule`] | when it is tried again |
//! | [`deliver`] | the task that does all that, in one process at a time |

pub mod address;
pub mod deliver;
mod governed;
pub mod keys;
pub mod message;
pub mod schedule;
pub mod send;

pub use deliver::run;

use address::Networks;
use keys::Keys;
use send::{Answer, Lookup, Sender};
use std::{sync::Arc, time::Duration};

#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Private networks that endpoints may be in, by `http://` too.
    pub allow: Networks,
    /// For one try, from name to last byte.
    pub timeout: Duration,
    /// How many tries one endpoint has at once.
    pub parallel: usize,
    /// How long ended deliveries are kept, and of how many of the newest events.
    pub keep: Duration,
    pub keep_events: i64,
    /// An endpoint that took nothing for this long, however often it was tried, is disabled.
    pub disable_after: Duration,
    /// How often is looked for something to do when nothing wakes.
    pub poll: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow: Networks::default(),
            timeout: Duration::from_secs(15),
            parallel: 4,
            keep: Duration::from_secs(30 * 86_400),
            keep_events: 100_000,
            disable_after: Duration::from_secs(72 * 3600),
            poll: Duration::from_secs(1),
        }
    }
}

/// What signs and sends.
pub struct Webhooks {
    pub keys: Keys,
    pub settings: WebhookSettings,
    sender: Sender,
}

impl Webhooks {
    /// `lookup`: resolves names; [`send::SystemLookup`] unless a test has other ideas.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn new(
        keys: Keys,
        settings: WebhookSettings,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, reqwest::Error> {
        let sender = Sender::new(&settings, lookup)?;
        Ok(Self { keys, settings, sender })
    }

    /// One try.
    pub async fn send(
        &self,
        endpoint: &bursar_store::webhooks::Endpoint,
        message: &message::Message,
        now: bursar_domain::time::Timestamp,
    ) -> Answer {
        let signatures = match self.keys.signatures(endpoint, message, now) {
            Ok(signatures) => signatures,
            Err(reason) => return Answer::not_signed(&reason),
        };
        let sent = self.sender.post(&endpoint.target, message, now, &signatures);
        bursar_crash::passing("act deliver", sent).await
    }
}
