//! The lines of an export: one JSON object each.

use super::{
    ChainHash, Entry, Place,
    checkpoint::{Checkpoint, CheckpointSignature},
};
use crate::{
    governance::{log::EntryDigest, signature::Signature},
    intent::SignedIntent,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

/// The only version of the format.
pub const FORMAT: u32 = 1;

/// In this order: the header, the governance log, entries each followed by the checkpoint that ends with it, the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "record",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Record {
    Header {
        format: u32,
        /// The digest of the governance log's first entry; zeros where nothing is governed.
        desk: EntryDigest,
        /// The place before the first entry of the file.
        after: Place,
        exported_at: Timestamp,
    },
    /// An entry of the governance log, always from the first on.
    Governance {
        seq: u64,
        document: String,
        signatures: Vec<Signature>,
        seen_at: Timestamp,
    },
    Entry(EntryRecord),
    Checkpoint(CheckpointRecord),
    /// The last line: a file without it was cut off.
    End {
        last: Place,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointRecord {
    pub checkpoint: Checkpoint,
    pub signatures: Vec<CheckpointSignature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EntryRecord {
    pub sequence: u64,
    /// Microseconds since 1970.
    pub at: Timestamp,
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<String>,
    pub payload: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// Its place in the chain.
    pub hash: ChainHash,
    /// The order that was signed, where the entry says that one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Box<SignedIntent>>,
}

impl EntryRecord {
    pub fn new(entry: Entry, hash: ChainHash, order: Option<SignedIntent>) -> Self {
        let Entry { sequence, at, kind, transfer, payload, act, signed } = entry;
        Self { sequence, at, kind, transfer, payload, act, signed, hash, order: order.map(Box::new) }
    }

    pub(super) fn entry(&self) -> Entry {
        let Self { sequence, at, kind, transfer, payload, act, signed, .. } = self.clone();
        Entry { sequence, at, kind, transfer, payload, act, signed }
    }
}
