//! How people let through, or end, what a screening held: releases with the signatures collected so far, and rejections, as they were
//! signed.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
    signed::{self, Signed, Stored, Table},
};
use bursar_domain::{
    governance::{
        signature::Signature,
        verdict::{Release, SignedRejection, SignedRelease},
    },
    ids::TransferId,
    time::Timestamp,
};

pub use crate::signed::Kept;

/// The most releases that are kept for one transfer. A new verdict asks for a new one.
pub const MAX_RELEASES: usize = signed::MAX;

pub type StoredRelease = Stored<SignedRelease>;

impl Signed for SignedRelease {
    type Document = Release;
    const TABLE: Table = Table {
        name: "screening_releases",
        about: "transfer",
        document: "release",
        sign: "screening_releases.sign",
        of: "screening_releases.of",
    };

    fn new(release: Release, signatures: Vec<Signature>) -> Self {
        Self { release, signatures }
    }
    fn document(&self) -> &Release {
        &self.release
    }
    fn digest(&self) -> [u8; 32] {
        self.release.digest()
    }
    fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
    fn signatures_mut(&mut self) -> &mut Vec<Signature> {
        &mut self.signatures
    }
}

/// Keeps signatures over a release, each user's once, beside those that it has. The caller has verified them.
pub async fn sign(
    tx: &mut WriteTx,
    transfer: TransferId,
    signed: &SignedRelease,
    now: Timestamp,
) -> Result<Kept<SignedRelease>, StoreError> {
    signed::sign(tx, &transfer.to_string(), signed, now).await
}

/// Every release of a transfer, complete or not, newest first.
pub async fn releases(store: &Store, transfer: TransferId) -> Result<Vec<StoredRelease>, StoreError> {
    signed::of(&mut *store.reader().await?, &transfer.to_string()).await
}

/// As [`releases`], within a transaction.
pub async fn releases_in(tx: &mut WriteTx, transfer: TransferId) -> Result<Vec<StoredRelease>, StoreError> {
    signed::of(tx.connection(), &transfer.to_string()).await
}

/// Keeps what ended a transfer.
pub async fn reject(
    tx: &mut WriteTx,
    transfer: TransferId,
    signed: &SignedRejection,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO screening_rejections (transfer, rejection, received_at) VALUES ($1, $2, $3)")
        .bind(transfer.to_string())
        .bind(to_json(signed))
        .bind(now.micros())
        .execute(tx.connection())
        .await
        .during("screening_rejections.insert")
        .map(|_| ())
}

/// What ended a transfer, if compliance did.
pub async fn rejection(store: &Store, transfer: TransferId) -> Result<Option<SignedRejection>, StoreError> {
    let row = sqlx::query("SELECT transfer, rejection FROM screening_rejections WHERE transfer = $1")
        .bind(transfer.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("screening_rejections.get")?;
    row.as_ref()
        .map(|row| Fields::new(row, "screening_rejections", "transfer")?.json("rejection"))
        .transpose()
}
