//! Approvals: what an approver signs, and when a transfer has enough of them.
//!
//! An approval names everything that it is good for: one intent, one version of the policy, one time. It counts by the governance log as
//! it is now: of who has left, was suspended or lost the role meanwhile it does not. The order in which approvals arrive says nothing.

mod count;

pub use count::{Ballot, GroupProgress, Ignored, NotCounted, Progress, RequirementProgress};

use super::{
    log::{EntryDigest, Head},
    signature::Signature,
};
use crate::{canonical::Canonical, intent::IntentDigest, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How far ahead of the evaluator's clock an approver's may be.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Vote {
    Approve,
    /// Ends the transfer, if it is that of a member of a group that must approve.
    Reject,
}

/// What an approver signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApprovalPayload {
    pub intent: IntentDigest,
    /// The entry that published the policy under which this is an approval.
    pub policy: Head,
    /// The last entry that the approver saw. Who does not know it asks for what is missing before deciding anything.
    pub head: Head,
    pub vote: Vote,
    /// By the approver's clock. Deadlines and the order of groups go by it.
    pub given_at: Timestamp,
    /// It does not count from then on.
    pub expires_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    pub payload: ApprovalPayload,
    pub signature: Signature,
}

impl ApprovalPayload {
    pub fn canonical(&self) -> Canonical {
        let Self { intent, policy, head, vote, given_at, expires_at } = self;
        let place =
            |out: Canonical, Head { seq, digest: EntryDigest(digest) }: &Head| out.number(*seq).bytes(digest);
        let out = place(Canonical::new("bursar/approval/v1").bytes(&intent.0), policy);
        let vote = match vote {
            Vote::Approve => "APPROVE",
            Vote::Reject => "REJECT",
        };
        place(out, head)
            .text(vote)
            .number(given_at.micros().cast_unsigned())
            .number(expires_at.micros().cast_unsigned())
    }

    /// What the signature is over.
    pub fn digest(&self) -> [u8; 32] {
        self.canonical().digest()
    }
}

#[cfg(test)]
mod tests;
