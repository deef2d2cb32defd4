//! Checkpoints: what co-signers sign of the chain, so that nobody can rewrite what came before.

use super::{ChainHash, ContentDigest, Place};
use crate::{
    canonical::Canonical, governance::log::EntryDigest, signing::PartyIndex, text::hex_bytes, time::Timestamp,
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The most entries between two checkpoints, so that what proves one to follow the other fits into a message.
pub const MAX_STEP: u64 = 5_000;
/// How far ahead of a co-signer's clock a checkpoint's may be.
pub const CLOCK_SKEW: Duration = Duration::from_secs(300);

/// The chain up to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// The digest of the governance log's first entry; zeros where nothing is governed.
    pub desk: EntryDigest,
    /// Of the last entry that it covers.
    pub sequence: u64,
    pub hash: ChainHash,
    /// When it was made, by the orchestrator's clock.
    pub at: Timestamp,
}

/// A co-signer's signature over a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckpointSignature {
    pub party: PartyIndex,
    /// Ed25519.
    #[serde(with = "hex_bytes")]
    pub public_key: [u8; 32],
    #[serde(with = "hex_bytes")]
    pub signature: [u8; 64],
}

/// What a co-signer is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointRequest {
    pub checkpoint: Checkpoint,
    /// What each entry says after the last checkpoint that this co-signer signed, up to this one. A co-signer that has signed none
    /// is sent none.
    pub digests: Vec<ContentDigest>,
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointAnswer {
    Signed(CheckpointSignature),
    /// The chain was not shown from here, the last place that it signed (none: from the beginning) to the checkpoint.
    From(Option<Place>),
    Refused(String),
}

/// Why a co-signer does not sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    #[error("it is for the desk {found}, this party's is {pinned}")]
    Desk { pinned: EntryDigest, found: EntryDigest },
    #[error("it ends with entry {found}, and this party has signed up to entry {last}")]
    Older { last: u64, found: u64 },
    #[error("this party has signed another history: its hash of entry {sequence} is {signed}, not {found}")]
    Contradicts { sequence: u64, signed: ChainHash, found: ChainHash },
    #[error("its time is ahead of this party's clock, or before that of the last one")]
    Time,
    /// Not a refusal: the chain in between is missing, or too long for one message.
    #[error("the entries after {} were not shown", .0.sequence)]
    From(Place),
}

impl NotSigned {
    /// Whether the orchestrator shows one history here and another there.
    pub const fn is_equivocation(&self) -> bool {
        matches!(self, Self::Contradicts { .. })
    }
}

impl Checkpoint {
    /// What is signed: SHA-256 of `Canonical("bursar/audit-checkpoint/v1", desk, sequence, hash, at)`.
    pub fn digest(&self) -> [u8; 32] {
        let Self { desk, sequence, hash, at } = self;
        Canonical::new("bursar/audit-checkpoint/v1")
            .bytes(&desk.0)
            .number(*sequence)
            .bytes(&hash.0)
            .number(at.micros().cast_unsigned())
            .digest()
    }

    pub const fn place(&self) -> Place {
        Place { sequence: self.sequence, hash: self.hash }
    }
}

impl CheckpointSignature {
    /// Whether this is the signature of `public_key`, strictly.
    pub fn verifies(&self, checkpoint: &Checkpoint) -> bool {
        VerifyingKey::from_bytes(&self.public_key).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&self.signature);
            key.verify_strict(&checkpoint.digest(), &signature).is_ok()
        })
    }
}

/// Whether a co-signer signs: only what follows the last that it signed, entry by entry. The first one it takes at its word.
///
/// # Errors
/// Why not.
pub fn follows(
    request: &CheckpointRequest,
    last: Option<&Checkpoint>,
    pinned: Option<EntryDigest>,
    now: Timestamp,
) -> Result<(), NotSigned> {
    let CheckpointRequest { checkpoint, digests } = request;
    if let Some(pinned) = pinned.filter(|pinned| *pinned != checkpoint.desk) {
        return Err(NotSigned::Desk { pinned, found: checkpoint.desk });
    }
    let too_early = last.is_some_and(|last| checkpoint.at < last.at);
    if checkpoint.at > now.plus(CLOCK_SKEW) || too_early {
        return Err(NotSigned::Time);
    }
    let Some(last) = last else { return Ok(()) };
    let contradicts = |found| {
        let (sequence, signed) = (last.sequence, last.hash);
        Err(NotSigned::Contradicts { sequence, signed, found })
    };
    match checkpoint.sequence.checked_sub(last.sequence) {
        None => Err(NotSigned::Older { last: last.sequence, found: checkpoint.sequence }),
        Some(0) if checkpoint.hash == last.hash => Ok(()),
        Some(0) => contradicts(checkpoint.hash),
        Some(step) if step != digests.len() as u64 || step > MAX_STEP => Err(NotSigned::From(last.place())),
        Some(_) => {
            let reached = digests.iter().fold(last.place(), |place, digest| place.next(*digest));
            // Either the digests are not those of the chain, or the chain is not the one that was signed.
            if reached.hash == checkpoint.hash { Ok(()) } else { contradicts(checkpoint.hash) }
        }
    }
}

/// The orchestrator's co-signers, as far as the audit goes.
#[async_trait::async_trait]
pub trait SignCheckpoints: Send + Sync {
    /// Who can be asked now.
    fn online(&self) -> Vec<PartyIndex>;

    /// # Errors
    /// For people: why there is no answer.
    async fn ask(&self, party: PartyIndex, request: CheckpointRequest) -> Result<CheckpointAnswer, String>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer as _, SigningKey};

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn content(byte: u8) -> ContentDigest {
        ContentDigest([byte; 32])
    }

    fn chain(length: u8) -> Place {
        (1..=length).fold(Place::START, |place, byte| place.next(content(byte)))
    }

    fn at(length: u8) -> Checkpoint {
        let Place { sequence, hash } = chain(length);
        Checkpoint { desk: EntryDigest::NONE, sequence, hash, at: NOW }
    }

    fn request(from: u8, to: u8) -> CheckpointRequest {
        CheckpointRequest { checkpoint: at(to), digests: (from + 1..=to).map(content).collect() }
    }

    #[test]
    fn what_follows_is_signed_and_the_first_is_taken_at_its_word() {
        assert_eq!(follows(&request(9, 9), None, None, NOW), Ok(()));
        assert_eq!(follows(&request(3, 9), Some(&at(3)), None, NOW), Ok(()));
        assert_eq!(follows(&request(9, 9), Some(&at(9)), None, NOW), Ok(()));
        assert_eq!(follows(&request(3, 9), Some(&at(3)), Some(EntryDigest::NONE), NOW), Ok(()));
    }

    #[test]
    fn another_history_an_older_one_and_one_with_a_gap_are_not_signed() {
        let last = at(5);
        let older = follows(&request(2, 4), Some(&last), None, NOW);
        assert_eq!(older, Err(NotSigned::Older { last: 5, found: 4 }));
        let mut other = request(5, 5);
        other.checkpoint.hash = ChainHash([9; 32]);
        let same_place = follows(&other, Some(&last), None, NOW).unwrap_err();
        assert!(same_place.is_equivocation(), "{same_place}");
        let mut rewritten = request(5, 8);
        rewritten.digests[1] = content(99);
        assert!(follows(&rewritten, Some(&last), None, NOW).unwrap_err().is_equivocation());
        for (from, to) in [(6, 8), (4, 8), (8, 8)] {
            assert_eq!(
                follows(&request(from, to), Some(&last), None, NOW),
                Err(NotSigned::From(chain(5))),
                "{from} {to}"
            );
        }
        let long = CheckpointRequest {
            checkpoint: Checkpoint { sequence: 5 + MAX_STEP + 1, ..at(6) },
            digests: vec![content(1); usize::try_from(MAX_STEP + 1).unwrap()],
        };
        assert_eq!(follows(&long, Some(&last), None, NOW), Err(NotSigned::From(chain(5))));
    }

    #[test]
    fn another_desk_and_another_time_are_not_signed() {
        let pinned = EntryDigest([3; 32]);
        let desk = follows(&request(3, 4), Some(&at(3)), Some(pinned), NOW);
        assert_eq!(desk, Err(NotSigned::Desk { pinned, found: EntryDigest::NONE }));
        let later = NOW.plus(CLOCK_SKEW + Duration::from_secs(1));
        let mut ahead = request(3, 4);
        ahead.checkpoint.at = later;
        assert_eq!(follows(&ahead, Some(&at(3)), None, NOW), Err(NotSigned::Time));
        let last = Checkpoint { at: later, ..at(3) };
        assert_eq!(follows(&request(3, 4), Some(&last), None, later), Err(NotSigned::Time));
    }

    #[test]
    fn a_signature_is_over_all_of_it() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let checkpoint = at(5);
        let signature = CheckpointSignature {
            party: PartyIndex(1),
            public_key: key.verifying_key().to_bytes(),
            signature: key.sign(&checkpoint.digest()).to_bytes(),
        };
        assert!(signature.verifies(&checkpoint));
        for other in [
            Checkpoint { desk: EntryDigest([1; 32]), ..checkpoint },
            Checkpoint { sequence: 6, ..checkpoint },
            Checkpoint { hash: ChainHash::START, ..checkpoint },
            Checkpoint { at: Timestamp(1), ..checkpoint },
        ] {
            assert!(!signature.verifies(&other));
        }
        assert!(!CheckpointSignature { public_key: [0; 32], ..signature }.verifies(&checkpoint));
    }
}
