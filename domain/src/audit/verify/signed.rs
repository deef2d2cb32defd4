//! The signatures that entries carry: each against the order beside it, or the directory of the governance log as it was.

use super::{Fault, Verifier};
use crate::{
    audit::{act::Signed, record::EntryRecord},
    governance::{directory::Directory, log::EntryDigest, signature::Signature},
    intent::{IntentDigest, SignedIntent},
    recall,
    screening::AlertSubject,
};
use std::slice;

/// The entry that tells of a change which is in the log.
const APPENDED: &str = "governance.appended";

impl Verifier {
    /// How many signatures of an entry are good.
    pub(super) fn signed(&mut self, record: &EntryRecord) -> Result<u64, Fault> {
        let Some(signed) = &record.signed else {
            return if record.order.is_none() { Ok(0) } else { Err(Fault::OtherOrder) };
        };
        let signed: Signed =
            serde_json::from_str(signed).map_err(|error| Fault::Signed(error.to_string()))?;
        if record.order.is_some() && !signed.is_of_order() {
            return Err(Fault::OtherOrder);
        }
        let by_log = signed.is_by_log();
        let verified = self.verified(record, signed)?;
        if by_log && verified > 0 {
            self.orders.governed();
        }
        Ok(verified)
    }

    fn verified(&mut self, record: &EntryRecord, signed: Signed) -> Result<u64, Fault> {
        match signed {
            Signed::Intent { digest, proof } => {
                let order = order(record, digest)?;
                if order.proof != proof {
                    return Err(Fault::OtherOrder);
                }
                match self.ordered(order)? {
                    None => self.orders.bare()?,
                    Some(since) => self.orders.relies(since, record.sequence),
                }
                Ok(1)
            }
            Signed::Recall { digest, initiator, recall } => {
                let order = order(record, digest)?;
                if order.initiator() != initiator {
                    return Err(Fault::OtherOrder);
                }
                let recalls = [recall];
                // Who did not sign the order takes nothing of it back. (One from before the desk was governed can be taken back later.)
                match self.ordered(order)? {
                    None => recall::remaining(order, &recalls, None).map(drop).map_err(Fault::Recall)?,
                    Some(since) => self.since(since, |directory| {
                        recall::remaining(order, &recalls, Some(directory)).map(drop).map_err(Fault::Recall)
                    })?,
                }
                Ok(1)
            }
            Signed::Approval { approval } => {
                let payload = &approval.payload;
                if self.digest(payload.head.seq)? != payload.head.digest {
                    return Err(Fault::OtherDesk);
                }
                let digest = payload.digest();
                self.since(payload.head.seq, |directory| verify(directory, &approval.signature, &digest))?;
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
                if record.kind == APPENDED {
                    self.orders.told(seq)?;
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
            Signed::Verdict { verdict: signed, seq } => {
                about(record, signed.verdict.intent)?;
                let (genesis, digest) = (signed.verdict.genesis, signed.verdict.digest());
                self.taken(genesis, &digest, slice::from_ref(&signed.signature), seq)
            }
            Signed::Alert { alert: signed, seq } => {
                // About an order that this installation does not know it is nobody's.
                if let AlertSubject::Transfer(intent) = signed.alert.subject
                    && (record.transfer.is_some() || record.order.is_some())
                {
                    about(record, intent)?;
                }
                self.verify(seq, &signed.signature, &signed.alert.digest())?;
                Ok(1)
            }
            Signed::Price { price: signed, seq } => {
                let (genesis, digest) = (signed.quote.genesis, signed.quote.digest());
                self.taken(genesis, &digest, slice::from_ref(&signed.signature), seq)
            }
        }
    }

    /// Whether its initiator meant this order: a bare key, or a user of this desk, who had seen the policy that it names. Gives the entry
    /// of the log since which that policy was in force; `None` of an order without terms.
    fn ordered(&self, order: &SignedIntent) -> Result<Option<u64>, Fault> {
        let Some(terms) = &order.intent.terms else {
            return order.verify_key().map(|_| None).map_err(Fault::Initiator);
        };
        if self.digest(0)? != terms.desk || self.digest(terms.policy.seq)? != terms.policy.digest {
            return Err(Fault::OtherDesk);
        }
        let since = self.orders.since(terms)?;
        self.since(since, |directory| order.verify_user(directory).map(drop).map_err(Fault::Initiator))?;
        Ok(Some(since))
    }

    /// By the directory after this entry, which whoever signed had seen, or by a later one: a key may have been added meanwhile.
    fn since(&self, seq: u64, verify: impl Fn(&Directory) -> Result<(), Fault>) -> Result<(), Fault> {
        let first = verify(self.directory(seq)?);
        let mut later = (seq.saturating_add(1)..self.directories.len() as u64)
            .map(|seq| self.directory(seq).and_then(&verify));
        if first.is_err() && later.any(|verified| verified.is_ok()) {
            return Ok(());
        }
        first
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

    fn directory(&self, seq: u64) -> Result<&Directory, Fault> {
        let place = usize::try_from(seq).ok();
        place.and_then(|place| self.directories.get(place)).ok_or(Fault::NoLog(seq))
    }

    fn verify(&self, seq: u64, signature: &Signature, digest: &[u8; 32]) -> Result<(), Fault> {
        verify(self.directory(seq)?, signature, digest)
    }
}

fn verify(directory: &Directory, signature: &Signature, digest: &[u8; 32]) -> Result<(), Fault> {
    signature.verify(directory, digest).map(|_| ()).map_err(Fault::Signature)
}

/// The order beside an entry, if it is the one that the entry names.
fn order(record: &EntryRecord, digest: IntentDigest) -> Result<&SignedIntent, Fault> {
    let order = record.order.as_deref().ok_or(Fault::NoOrder)?;
    (order.intent.digest() == digest).then_some(order).ok_or(Fault::OtherOrder)
}

/// Whether the order beside an entry is the one that a service spoke about.
fn about(record: &EntryRecord, intent: IntentDigest) -> Result<(), Fault> {
    let order = record.order.as_deref().ok_or(Fault::NoOrder)?;
    (order.intent.digest() == intent).then_some(()).ok_or(Fault::OtherOrder)
}
