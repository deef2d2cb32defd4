//! Screening: what a screening service is asked about a transfer, a deposit or an address, and what it answers.
//!
//! The service is a process of its own: it holds the provider's credentials, and the key that signs verdicts
//! ([`SignedVerdict`]) and alerts ([`SignedAlert`]). Whoever asks can neither forge an answer nor read the provider's key. An answer
//! that does not come fails closed: every [`Unanswered`] leaves a transfer where a person looks at it. docs/screening.md has the wire
//! forms and every canonical byte.

mod alert;
mod answer;
mod inquiry;

pub use alert::{Alert, AlertPage, AlertSubject, InvalidAlert, MAX_ALERTS, SignedAlert};
pub use answer::{
    Answer, Assessment, Finding, InvalidAnswer, MAX_FINDINGS, MAX_LIFETIME, MAX_RETRY, MAX_TEXT,
};
pub use inquiry::{Inquiry, InquiryDigest, InvalidInquiry, MAX_SENDERS, Payee};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use crate::governance::{
    policy::RiskBand,
    verdict::{Screened, SignedVerdict},
};

/// A screening service: a provider behind it, a neutral contract in front.
#[async_trait]
pub trait ScreeningService: Send + Sync {
    /// Idempotent: the same inquiry and round are the same screening at the provider ([`Inquiry::external_id`]), however often they are
    /// asked about. `round` counts re-screenings, from 0: a new round asks the provider anew.
    ///
    /// # Errors
    /// [`Unanswered`]; nothing was decided then, and what was asked about must not pass by itself.
    async fn screen(&self, inquiry: &Inquiry, round: u32) -> Result<Answer, Unanswered>;

    /// Alerts after `cursor` ([`AlertPage::next`] of an earlier answer), oldest first; from the first one without it. The same alert may come
    /// again under the same id.
    ///
    /// # Errors
    /// [`Unanswered`].
    async fn alerts(&self, cursor: Option<&str>) -> Result<AlertPage, Unanswered>;
}

/// Why there is no answer. Each one fails closed; the first two are worth asking again first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "code", content = "detail", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Unanswered {
    #[error("the screening took too long")]
    Timeout,
    #[error("the screening is not available: {0}")]
    Unavailable(String),
    /// The provider does not screen this network or asset.
    #[error("cannot be screened: {0}")]
    Unsupported(String),
    /// The provider knows nothing of it.
    #[error("unknown to the screening: {0}")]
    Unknown(String),
    /// What came back makes no sense.
    #[error("the screening's answer makes no sense: {0}")]
    Malformed(String),
    /// The question or the credentials were refused.
    #[error("the screening refuses to answer: {0}")]
    Refused(String),
}

impl Unanswered {
    /// For machines, as on the wire.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Timeout => "TIMEOUT",
            Self::Unavailable(_) => "UNAVAILABLE",
            Self::Unsupported(_) => "UNSUPPORTED",
            Self::Unknown(_) => "UNKNOWN",
            Self::Malformed(_) => "MALFORMED",
            Self::Refused(_) => "REFUSED",
        }
    }

    /// Whether asking again soon may help.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Timeout | Self::Unavailable(_))
    }
}

/// Text for people that somebody else wrote: without control characters, and no longer than `max` characters.
fn is_text(text: &str, max: usize) -> bool {
    text.len() <= max.saturating_mul(4) && text.chars().count() <= max && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
