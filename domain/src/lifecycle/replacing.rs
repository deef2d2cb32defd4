//! What is done beside a transfer's status while its transaction does not confirm.

use super::SubStatus;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// The wish to have another transaction in place of the one that is under way, and what keeps it from being made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replacing {
    /// Asked for through the API and not done yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<Wanted>,
    /// Why the last attempt came to nothing, until one succeeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
    /// When the transaction under way lost its block: from then on its time is counted anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wanted {
    #[serde(flatten)]
    pub verb: Verb,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Verb {
    /// The same payment at a higher fee; by the installation's own percentage when none is given.
    SpeedUp { raise_percent: Option<u32> },
    /// Nobody is paid: a transaction that takes the same output, nonce or Sequence and moves nothing out of the wallet.
    Cancel,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    pub sub_status: SubStatus,
    pub reason: String,
    pub at: Timestamp,
    /// Since when it is in the way without a break, of a lasting one. `None` of those that were kept by an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Time alone does not remove it: it is tried again when someone asks, or much later.
    pub lasting: bool,
}
