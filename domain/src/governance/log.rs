//! The log's entries: documents that are kept exactly as they were signed, chained by their digests.

mod strict;

use super::{
    change::Change,
    directory::UserId,
    signature::{InvalidSignature, Signature},
};
use crate::{canonical::Canonical, text::hex_bytes, time::Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest document, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;
/// The most signatures of one entry.
pub const MAX_SIGNATURES: usize = 64;

/// One change with its signatures, as it travels and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// A [`Document`] in JSON: the text that was signed, never normalised.
    pub document: String,
    /// The author's, then those of who approve.
    pub signatures: Vec<Signature>,
}

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Document {
    /// Its place: 0 for the genesis, then one after the other.
    pub seq: u64,
    /// The entry before it; [`EntryDigest::NONE`] for the genesis.
    pub previous: EntryDigest,
    pub author: UserId,
    /// When it was proposed, as its author says. For people: nothing is decided by it.
    pub proposed_at: Timestamp,
    pub change: Change,
}

/// SHA-256 of `Canonical("bursar/governance/v1", document bytes)`: what is signed, and what the next entry names. Signatures are no
/// part of it, so that any sufficient set of them makes the same entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EntryDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl EntryDigest {
    /// What the genesis names as the entry before it.
    pub const NONE: Self = Self([0; 32]);
}
impl fmt::Display for EntryDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// The last entry of a log. It stands for all that came before it: two logs with the same head say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Head {
    pub seq: u64,
    pub digest: EntryDigest,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} ({})", self.seq, self.digest)
    }
}

/// What is wrong with an entry before anybody is asked about rights.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEntry {
    #[error("document: {bytes} bytes; at most {MAX_DOCUMENT} are allowed")]
    TooLarge { bytes: usize },
    #[error("signatures: {count}; at most {MAX_SIGNATURES} are allowed")]
    TooManySignatures { count: usize },
    #[error("signatures: at least the author's is needed")]
    Unsigned,
    #[error("signatures[0]: must be that of the author, {author}")]
    NotAuthor { author: UserId },
    #[error("signatures[{index}]: {user} has signed already")]
    SignedTwice { index: usize, user: UserId },
    #[error("document: {0}")]
    Json(String),
    #[error("signatures[{index}]: {source}")]
    Signature { index: usize, source: InvalidSignature },
}

impl Entry {
    /// The digest of a document, which its signatures are over.
    pub fn digest_of(document: &str) -> EntryDigest {
        EntryDigest(Canonical::new("bursar/governance/v1").bytes(document.as_bytes()).digest())
    }
    pub fn digest(&self) -> EntryDigest {
        Self::digest_of(&self.document)
    }

    /// Reads the document, strictly: nothing unknown, nothing twice, nothing after it. Verifies no signature.
    pub fn read(&self) -> Result<Document, InvalidEntry> {
        if self.document.len() > MAX_DOCUMENT {
            return Err(InvalidEntry::TooLarge { bytes: self.document.len() });
        }
        if self.signatures.len() > MAX_SIGNATURES {
            return Err(InvalidEntry::TooManySignatures { count: self.signatures.len() });
        }
        let document: Document =
            strict::from_str(&self.document).map_err(|error| InvalidEntry::Json(error.to_string()))?;
        let first = self.signatures.first().ok_or(InvalidEntry::Unsigned)?;
        if first.user != document.author {
            return Err(InvalidEntry::NotAuthor { author: document.author });
        }
        for (index, signature) in self.signatures.iter().enumerate() {
            if self.signatures[..index].iter().any(|other| other.user == signature.user) {
                return Err(InvalidEntry::SignedTwice { index, user: signature.user.clone() });
            }
        }
        Ok(document)
    }
}

#[cfg(test)]
mod tests;
