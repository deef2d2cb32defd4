//! The signatures that entries carry: each against the order beside it, or the directory of the governance log as it was.

use super::{Fault, Verifier};
use crate::{
    audit::{act::Signed, record::EntryRecord},
    governance::{log::EntryDigest, signature::Signature},
    intent::{InitiatorKey, IntentDigest, SignedIntent},
    recall,
};

/// The entry that tells of a change which is in the log.
const APPENDED: &str = "governance.appended";

impl Verifier {
    /// How many signatures of an entry are good.
    pub(super) fn signed(&self, record: &EntryRecord) -> Result<u64, Fault> {
        let Some(signed) = &record.signed else {
            return if record.order.is_none() { Ok(0) } else { Err(Fault::OtherOrder) };
        };
        let signed: Signed =
            serde_json::from_str(signed).map_err(|error| Fault::Signed(error.to_string()))?;
        if record.order.is_some() && !signed.is_of_order() {
            return Err(Fault::OtherOrder);
        }
        match signed {
            Signed::Intent { digest, initiator, signature } => {
                let order = order(record, digest, initiator)?;
                if order.signature != signature {
                    return Err(Fault::OtherOrder);
                }
                order.verify_signature().map_err(Fault::Initiator)?;
                Ok(1)
            }
            Signed::Recall { digest, initiator, recall } => {
                let order = order(record, digest, initiator)?;
                // Who did not sign the order takes nothing of it back.
                order.verify_signature().map_err(Fault::Initiator)?;
                recall::remaining(order, &[recall]).map_err(Fault::Recall)?;
                Ok(1)
            }
            Signed::Approval { approval } => {
                let payload = &approval.payload;
                if self.digest(payload.head.seq)? != payload.head.digest {
                    return Err(Fault::OtherDesk);
                }
                // By the directory that the approver saw, or a later one: a key may have been added meanwhile.
                let digest = payload.digest();
                let first = self.verify(payload.head.seq, &approval.signature, &digest);
                let later = payload.head.seq.saturating_add(1)..self.directories.len() as u64;
                let mut later = later.map(|seq| self.verify(seq, &approval.signature, &digest));
                if first.is_err() && !later.any(|verified| verified.is_ok()) {
                    first?;
                }
                Ok(1)
            }
            Signed::Change { digest, seq, signatures } => {
                if record.kind == APPENDED && self.digest(seq)? != digest {
                    return Err(Fault::OtherDesk);
                }
                // By the directory that the change was made for. The first entry brings its own.
                for signature in &signatures {
                    self.verify(seq.saturating_sub(1), signature, &digest.0)?;
                }
                Ok(signatures.len() as u64)
            }
            Signed::Release { release, signatures, seq } => {
                self.taken(release.genesis, &release.digest(), &signatures, seq)
            }
            Signed::Rejection { rejection, signature, seq } => {
                self.taken(rejection.genesis, &rejection.digest(), &[signature], seq)
            }
            Signed::Disposition { disposition, signatures, seq } => {
                self.taken(disposition.genesis, &disposition.digest(), &signatures, seq)
            }
        }
    }

    /// What names no entry but the first: by the directory that it was taken by.
    fn taken(
        &self,
        genesis: EntryDigest,
        digest: &[u8; 32],
        signatures: &[Signature],
        seq: u64,
    ) -> Result<u64, Fault> {
        if self.digest(0)? != genesis {
            return Err(Fault::OtherDesk);
        }
        if signatures.is_empty() {
            return Err(Fault::Signed("signatures: there is none".into()));
        }
        for signature in signatures {
            self.verify(seq, signature, digest)?;
        }
        Ok(signatures.len() as u64)
    }

    fn digest(&self, seq: u64) -> Result<EntryDigest, Fault> {
        let place = usize::try_from(seq).ok();
        place.and_then(|place| self.digests.get(place)).copied().ok_or(Fault::NoLog(seq))
    }

    fn verify(&self, seq: u64, signature: &Signature, digest: &[u8; 32]) -> Result<(), Fault> {
        let place = usize::try_from(seq).ok();
        let directory = place.and_then(|place| self.directories.get(place)).ok_or(Fault::NoLog(seq))?;
        signature.verify(directory, digest).map(|_| ()).map_err(Fault::Signature)
    }
}

/// The order beside an entry, if it is the one that the entry names.
fn order(
    record: &EntryRecord,
    digest: IntentDigest,
    initiator: InitiatorKey,
) -> Result<&SignedIntent, Fault> {
    let order = record.order.as_deref().ok_or(Fault::NoOrder)?;
    let same = order.intent.digest() == digest && order.initiator == initiator;
    same.then_some(order).ok_or(Fault::OtherOrder)
}
