//! Entries of the governance log, on their way to co-signers.
//!
//! A co-signer replays the log on its own and believes nothing else, so all that can be got wrong here is to be late.

use crate::{link::MAX_FRAME, message::MAX_ENTRIES};
use bursar_domain::governance::log::Entry;
use serde::Serialize;

/// The orchestrator's copy of the log.
#[async_trait::async_trait]
pub trait GovernanceEntries: Send + Sync {
    /// Entries from the place `from` on, in order and without gaps, as many as are at hand: the caller asks again for what comes after
    /// them. None when the log ends before `from`.
    ///
    /// # Errors
    /// For people: why they cannot be read now.
    async fn entries(&self, from: u64) -> Result<Vec<Entry>, String>;
}

/// Half a frame, for an entry and what CBOR puts around it. An entry of the largest size fits.
const BYTES: usize = MAX_FRAME / 2;

/// Parts that fit into one message each, in order.
pub(crate) fn in_messages(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    parts(entries, MAX_ENTRIES)
}

/// Parts of at most so many items, and so few bytes that each fits into one message, in order.
pub(crate) fn parts<T: Serialize>(items: Vec<T>, most: usize) -> Vec<Vec<T>> {
    let mut parts: Vec<Vec<T>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = size(&item);
        match parts.last_mut() {
            Some(part) if size <= room && part.len() < most => {
                room -= size;
                part.push(item);
            }
            _ => {
                room = BYTES.saturating_sub(size);
                parts.push(vec![item]);
            }
        }
    }
    parts
}

/// At least what it takes on the wire. An item that cannot be written counts as a whole part.
fn size<T: Serialize>(item: &T) -> usize {
    crate::link::encode(item).map_or(BYTES, |bytes| bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> Entry {
        Entry { document: "x".repeat(bytes), signatures: Vec::new() }
    }

    #[test]
    fn every_part_fits_into_a_frame_and_nothing_is_lost() {
        let sizes = [10, 200_000, 262_144, 262_144, 10, 10, 262_144];
        let entries: Vec<Entry> =
            sizes.into_iter().chain(std::iter::repeat_n(1, 2 * MAX_ENTRIES)).map(entry).collect();
        let parts = in_messages(entries.clone());
        assert_eq!(parts.concat(), entries);
        for part in &parts {
            assert!(!part.is_empty() && part.len() <= MAX_ENTRIES);
            assert!(part.iter().map(size).sum::<usize>() <= BYTES);
        }
        assert!(parts.len() < 10, "{}", parts.len());
        assert!(in_messages(Vec::new()).is_empty());
    }
}
