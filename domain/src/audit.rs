//! The audit: the event log as a chain of hashes that co-signers sign from time to time (docs/audit.md).
//!
//! What an entry says is hashed as the database keeps it, byte by byte; nothing is parsed and written again on the way. Whoever holds an
//! export and the co-signers' public keys can tell whether anything in it was changed, left out, put in or moved, and where first.
//!
//! | module | what it holds |
//! |---|---|
//! | [`act`] | who did it, from where, with which signature |
//! | [`checkpoint`] | what co-signers sign, and when they do not |
//! | [`record`] | the lines of an export |
//! | [`verify`] | an export against public keys, offline |

pub mod act;
pub mod checkpoint;
pub mod record;
pub mod verify;

use crate::{canonical::Canonical, text::hex_bytes, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One entry of the log, each text exactly as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub sequence: u64,
    pub at: Timestamp,
    /// Such as `transfer.submitted`.
    pub kind: String,
    /// The transfer that it is about.
    pub transfer: Option<String>,
    /// JSON.
    pub payload: String,
    /// An [`Act`](act::Act) in JSON; absent in entries from before there was an audit.
    pub act: Option<String>,
    /// A [`Signed`](act::Signed) in JSON, where the act carried a signature.
    pub signed: Option<String>,
}

/// SHA-256 of what an entry says. Tells nothing about it to whoever does not know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

/// A place in the chain: SHA-256 of the place before it, the sequence, and the entry's [`ContentDigest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChainHash(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl Entry {
    /// SHA-256 of `Canonical("bursar/audit-entry/v1", …)`.
    pub fn digest(&self) -> ContentDigest {
        let Self { sequence, at, kind, transfer, payload, act, signed } = self;
        let canonical = Canonical::new("bursar/audit-entry/v1")
            .number(*sequence)
            .number(at.micros().cast_unsigned())
            .text(kind)
            .optional(transfer.as_deref())
            .text(payload)
            .optional(act.as_deref())
            .optional(signed.as_deref());
        ContentDigest(canonical.digest())
    }
}

impl ChainHash {
    /// What the first entry follows.
    pub const START: Self = Self([0; 32]);

    /// The place of entry `sequence`, which says `content`, after this one.
    #[must_use]
    pub fn then(self, sequence: u64, content: ContentDigest) -> Self {
        let canonical =
            Canonical::new("bursar/audit-link/v1").bytes(&self.0).number(sequence).bytes(&content.0);
        Self(canonical.digest())
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}
impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A place of the chain with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Place {
    /// 0 before the first entry.
    pub sequence: u64,
    pub hash: ChainHash,
}

impl Place {
    pub const START: Self = Self { sequence: 0, hash: ChainHash::START };

    /// The place of the entry that comes next, whatever number it bears: that of this one and 1.
    #[must_use]
    pub fn next(self, content: ContentDigest) -> Self {
        let sequence = self.sequence.saturating_add(1);
        Self { sequence, hash: self.hash.then(sequence, content) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} ({})", self.sequence, self.hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            sequence: 7,
            at: Timestamp(1_798_761_600_000_000),
            kind: "account.resumed".into(),
            transfer: None,
            payload: r#"{"haltId":3}"#.into(),
            act: Some(r#"{"actor":{"kind":"ENGINE"}}"#.into()),
            signed: None,
        }
    }

    /// The worked example of docs/audit.md.
    #[test]
    fn digest_and_place_are_those_of_the_documentation() {
        let digest = entry().digest();
        let page = include_str!("../../docs/audit.md");
        assert!(page.contains(&digest.to_string()), "{digest}");
        let hash = ChainHash([1; 32]).then(7, digest);
        assert!(page.contains(&hash.to_string()), "{hash}");
    }

    #[test]
    fn every_field_counts() {
        let digest = entry().digest();
        let changes: [fn(&mut Entry); 8] = [
            |entry| entry.sequence = 8,
            |entry| entry.at = Timestamp(1_798_761_600_000_001),
            |entry| entry.kind = "account.halted".into(),
            |entry| entry.transfer = Some(String::new()),
            |entry| entry.payload = r#"{"haltId": 3}"#.into(),
            |entry| entry.act = None,
            |entry| entry.act = Some(String::new()),
            |entry| entry.signed = entry.act.take(),
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut changed = entry();
            change(&mut changed);
            assert_ne!(changed.digest(), digest, "{index}");
        }
    }
}
