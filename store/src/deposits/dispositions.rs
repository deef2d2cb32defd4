//! What compliance signs about deposits that are held.

use crate::{
    Store, StoreError, WriteTx,
    signed::{self, Signed, Stored, Table},
};
use bursar_domain::{
    governance::{
        signature::Signature,
        verdict::{Disposition, SignedDisposition},
    },
    ids::DepositId,
    time::Timestamp,
};

pub use crate::signed::Kept;

/// The most that are kept about one deposit.
pub const MAX_DISPOSITIONS: usize = signed::MAX;

pub type StoredDisposition = Stored<SignedDisposition>;

impl Signed for SignedDisposition {
    type Document = Disposition;
    const TABLE: Table = Table {
        name: "deposit_dispositions",
        about: "deposit",
        document: "disposition",
        sign: "deposit_dispositions.sign",
        of: "deposit_dispositions.of",
    };

    fn new(disposition: Disposition, signatures: Vec<Signature>) -> Self {
        Self { disposition, signatures }
    }
    fn document(&self) -> &Disposition {
        &self.disposition
    }
    fn digest(&self) -> [u8; 32] {
        self.disposition.digest()
    }
    fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
    fn signatures_mut(&mut self) -> &mut Vec<Signature> {
        &mut self.signatures
    }
}

/// Keeps signatures over a disposition, each user's once, beside those that it has. The caller has verified them.
pub async fn sign(
    tx: &mut WriteTx,
    signed: &SignedDisposition,
    now: Timestamp,
) -> Result<Kept<SignedDisposition>, StoreError> {
    signed::sign(tx, &signed.disposition.deposit.to_string(), signed, now).await
}

/// Every disposition of a deposit, complete or not, newest first.
pub async fn of(store: &Store, deposit: DepositId) -> Result<Vec<StoredDisposition>, StoreError> {
    signed::of(&mut *store.reader().await?, &deposit.to_string()).await
}
