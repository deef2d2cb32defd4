//! What is answered.

use super::{Inquiry, RiskBand, Screened, SignedVerdict, is_text};
use crate::{
    governance::{log::EntryDigest, verdict::Verdict},
    intent::IntentDigest,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub const MAX_FINDINGS: usize = 64;
/// Of a text in an answer, in characters.
pub const MAX_TEXT: usize = 500;
const MAX_NAME: usize = 64;
const MAX_CATEGORY: usize = 100;
/// Of a reference, in characters.
const MAX_REFERENCE: usize = 300;
/// Longer than this no pending answer makes anybody wait.
pub const MAX_RETRY: Duration = Duration::from_secs(3600);
/// Longer than this no screening is valid.
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a screening service answers.
#[allow(clippy::large_enum_variant, reason = "one at a time, and soon taken apart")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "status",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Answer {
    /// Ask again with the same inquiry and round after this long.
    Pending {
        reference: String,
        #[serde(rename = "retryAfterMillis", with = "millis")]
        retry_after: Duration,
    },
    /// The verdict is present exactly for [`Inquiry::Outbound`].
    Complete {
        assessment: Assessment,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        verdict: Option<SignedVerdict>,
    },
}

/// What a screening came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Assessment {
    /// Which provider was asked, for people.
    pub provider: String,
    pub risk: RiskBand,
    /// Somebody in it is on a sanctions list. The outcome is then BLOCK.
    pub sanctions: bool,
    pub outcome: Screened,
    #[serde(default)]
    pub findings: Vec<Finding>,
    pub screened_at: Timestamp,
    /// It does not count from then on.
    pub expires_at: Timestamp,
    /// The provider's own name for this screening, for people.
    pub reference: String,
}

/// One thing that a provider found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finding {
    /// The provider's own word, such as `sanctions` or `mixing`.
    pub category: String,
    pub risk: RiskBand,
    pub description: String,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnswer {
    #[error("{field}: must be at most {max} characters without control characters")]
    Text { field: &'static str, max: usize },
    #[error("findings: at most {MAX_FINDINGS} are allowed")]
    TooManyFindings,
    #[error("retryAfterMillis: must be at most an hour")]
    RetryAfter,
    #[error("expiresAt: must be after screenedAt, by 30 days at most")]
    Lifetime,
    #[error("outcome: a sanctions hit is BLOCK and nothing else")]
    SanctionsPass,
    #[error("verdict: is missing; an order takes one")]
    NoVerdict,
    #[error("verdict: is there although no order was asked about")]
    UnaskedVerdict,
    #[error("verdict: is about another order than was asked about")]
    OtherOrder,
    #[error("verdict: says another thing than the assessment beside it")]
    Contradicts,
}

impl Answer {
    /// Whether this can be an answer to `inquiry`. Verifies no signature: that takes a directory ([`SignedVerdict::verify`]).
    ///
    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn check(&self, inquiry: &Inquiry) -> Result<(), InvalidAnswer> {
        match self {
            Self::Pending { reference, retry_after } => {
                text("reference", reference, MAX_REFERENCE)?;
                (*retry_after <= MAX_RETRY).then_some(()).ok_or(InvalidAnswer::RetryAfter)
            }
            Self::Complete { assessment, verdict } => {
                assessment.check()?;
                match (inquiry, verdict) {
                    (Inquiry::Outbound { order }, Some(signed)) => {
                        if signed.verdict.intent != order.intent.digest() {
                            return Err(InvalidAnswer::OtherOrder);
                        }
                        let same = assessment.agrees(signed);
                        same.then_some(()).ok_or(InvalidAnswer::Contradicts)
                    }
                    (Inquiry::Outbound { .. }, None) => Err(InvalidAnswer::NoVerdict),
                    (_, Some(_)) => Err(InvalidAnswer::UnaskedVerdict),
                    (_, None) => Ok(()),
                }
            }
        }
    }
}

impl Assessment {
    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn check(&self) -> Result<(), InvalidAnswer> {
        let Self { provider, risk: _, sanctions, outcome, findings, screened_at, expires_at, reference } =
            self;
        text("provider", provider, MAX_NAME)?;
        text("reference", reference, MAX_REFERENCE)?;
        if findings.len() > MAX_FINDINGS {
            return Err(InvalidAnswer::TooManyFindings);
        }
        for Finding { category, description, .. } in findings {
            text("findings.category", category, MAX_CATEGORY)?;
            text("findings.description", description, MAX_TEXT)?;
        }
        let ends = expires_at > screened_at && *expires_at <= screened_at.plus(MAX_LIFETIME);
        if !ends {
            return Err(InvalidAnswer::Lifetime);
        }
        if *sanctions && *outcome != Screened::Block {
            return Err(InvalidAnswer::SanctionsPass);
        }
        Ok(())
    }

    pub fn fresh(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// What it says about `intent`, to be signed; it counts under the governance log of `genesis`.
    pub fn verdict(&self, genesis: EntryDigest, intent: IntentDigest) -> Verdict {
        let Self { provider, risk, sanctions, outcome, findings: _, screened_at, expires_at, reference } =
            self.clone();
        Verdict { genesis, intent, provider, risk, sanctions, outcome, screened_at, expires_at, reference }
    }

    fn agrees(&self, SignedVerdict { verdict, .. }: &SignedVerdict) -> bool {
        *verdict == self.verdict(verdict.genesis, verdict.intent)
    }
}

fn text(field: &'static str, text: &str, max: usize) -> Result<(), InvalidAnswer> {
    is_text(text, max).then_some(()).ok_or(InvalidAnswer::Text { field, max })
}

/// A span as whole milliseconds.
mod millis {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(span: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
