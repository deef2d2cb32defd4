//! What a rule does when it holds. All but ALLOW only tighten.

use super::super::directory::GroupId;
use crate::signing::PartyRole;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub enum Effect {
    /// Wins over everything else.
    Deny { reason: String },
    /// People must approve. Adds to what other rules require.
    Require(Requirement),
    /// The transfer waits this long from its submission. Delays of several rules are summed.
    Delay { seconds: u64 },
    /// These parties' co-signers must take part.
    RequireSigners { parties: BTreeSet<PartyRole> },
    /// Without one of these nothing is permitted.
    Allow {},
}

impl Effect {
    /// Whether the rule can only forbid more. Such a rule holds in doubt.
    pub const fn tightens(&self) -> bool {
        !matches!(self, Self::Allow {})
    }
}

/// Groups that approve.
///
/// Each approver takes one seat: that of the first group in the list that they belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    pub of: Of,
    pub groups: Vec<GroupQuorum>,
    /// Each group of the list begins when the one before it has its quorum. Only with `ALL`.
    #[serde(default)]
    pub ordered: bool,
    /// Approvals given later than this after the submission do not count. Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Of {
    All,
    Any,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupQuorum {
    pub group: GroupId,
    /// How many members must approve.
    pub quorum: u8,
}
