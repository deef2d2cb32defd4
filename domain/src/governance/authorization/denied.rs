//! Why an intent may not be signed, in words fit for the desk, each with a code that stays.

use crate::{
    governance::{
        approval::Progress,
        directory::UserId,
        log::{EntryDigest, Head},
        policy::{Decision, Outcome},
        verdict::NotScreened,
    },
    intent::{InvalidInitiatorSignature, InvalidIntent},
    recall::InvalidRecall,
    time::Timestamp,
};
use std::fmt;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the intent makes no sense: {0}")]
    Intent(#[from] InvalidIntent),
    #[error("the initiator's signature: {0}")]
    Signature(#[from] InvalidInitiatorSignature),
    #[error("terms.desk: the order is one of the desk {named}, and this is {here}")]
    OtherDesk { named: EntryDigest, here: EntryDigest },
    #[error("terms.policy: {named} published no policy that ever was in force at this desk")]
    OtherPolicy { named: Head },
    #[error("recalls: {0}; recall that payout again, with a key that counts")]
    Recall(#[from] InvalidRecall),
    #[error("the intent has expired")]
    Expired,
    #[error("more evidence than any transfer needs: at most 128 approvals and 8 releases")]
    TooMuch,
    #[error("{head} of the governance log is not known here; load what is missing and try again")]
    UnknownHead { head: Head },
    #[error("frozen: {scope} (by entry {seq} of the governance log)")]
    Frozen { seq: u64, scope: String },
    #[error("no user has the key that signed this intent")]
    UnknownInitiator,
    #[error(
        "{user} may not initiate transfers: it takes an active OPERATOR, or a service that the policy names under initiatingServices"
    )]
    MayNotInitiate { user: UserId },
    #[error("no policy is published, so nothing is allowed")]
    NoPolicy,
    #[error("screening: {0}")]
    Screening(#[from] NotScreened),
    #[error("denied by policy: {}", Reasons(decision))]
    Policy { decision: Box<Decision> },
    #[error("rejected by {user}")]
    Rejected { user: UserId },
    #[error("approvals missing: {}", progress.missing().collect::<Vec<_>>().join("; "))]
    Approvals { decision: Box<Decision>, progress: Box<Progress> },
    #[error("waits until {} (microseconds since the epoch), as policy demands", until.0)]
    Delayed { until: Timestamp, decision: Box<Decision> },
}

impl Denied {
    /// Stable, for machines.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Intent(_) => "INTENT_INVALID",
            Self::Signature(InvalidInitiatorSignature::NoTerms) => "ORDER_WITHOUT_TERMS",
            Self::Signature(_) => "INITIATOR_SIGNATURE_INVALID",
            Self::OtherDesk { .. } => "ORDER_OTHER_DESK",
            Self::OtherPolicy { .. } => "ORDER_POLICY_UNKNOWN",
            Self::Recall(_) => "RECALL_LAPSED",
            Self::Expired => "INTENT_EXPIRED",
            Self::TooMuch => "AUTHORIZATION_TOO_LARGE",
            Self::UnknownHead { .. } => "GOVERNANCE_HEAD_UNKNOWN",
            Self::Frozen { .. } => "FROZEN",
            Self::UnknownInitiator => "INITIATOR_UNKNOWN",
            Self::MayNotInitiate { .. } => "INITIATOR_NOT_PERMITTED",
            Self::NoPolicy => "NO_POLICY",
            Self::Screening(NotScreened::Missing) => "SCREENING_MISSING",
            Self::Screening(NotScreened::Stale) => "SCREENING_STALE",
            Self::Screening(NotScreened::Blocked) => "SCREENING_BLOCKED",
            Self::Screening(NotScreened::NeedsRelease) => "SCREENING_REVIEW",
            Self::Screening(_) => "SCREENING_INVALID",
            Self::Policy { .. } => "POLICY_DENIED",
            Self::Rejected { .. } => "APPROVAL_REJECTED",
            Self::Approvals { .. } => "APPROVALS_MISSING",
            Self::Delayed { .. } => "POLICY_DELAY",
        }
    }
}

/// The reasons of a decision, in one line.
struct Reasons<'a>(&'a Decision);

impl fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome::Denied { reasons } = &self.0.outcome else { return Ok(()) };
        for (place, reason) in reasons.iter().enumerate() {
            write!(f, "{}{reason}", if place == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
