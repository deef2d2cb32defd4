//! How people let through, or end, what a screening held: releases with the signatures collected so far, and rejections, as they were
//! signed.
//!
//! Whether a release counts is not decided here but by `bursar_domain::governance`, each time anew: what is kept is evidence.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::{
    governance::{
        signature::Signature,
        verdict::{SignedRejection, SignedRelease},
    },
    ids::TransferId,
    time::Timestamp,
};
use sqlx::{AnyConnection, any::AnyRow};

/// The most releases that are kept for one transfer. A new verdict asks for a new one.
pub const MAX_RELEASES: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRelease {
    pub release: SignedRelease,
    pub received_at: Timestamp,
    /// When the last signature came.
    pub updated_at: Timestamp,
}

/// What became of a release's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// As it is now, with signatures that it did not have.
    New(StoredRelease),
    /// All of these signatures were there.
    Already(StoredRelease),
    /// The transfer has [`MAX_RELEASES`] others.
    TooMany,
}

/// Keeps signatures over a release, each user's once, beside those that it has. The caller has verified them.
pub async fn sign(
    tx: &mut WriteTx,
    transfer: TransferId,
    signed: &SignedRelease,
    now: Timestamp,
) -> Result<Kept, StoreError> {
    const OPERATION: &str = "screening_releases.sign";
    let there = releases_in(tx, transfer).await?;
    let digest = hex::encode(signed.release.digest());
    let mut stored = match there.iter().find(|there| there.release.release == signed.release) {
        Some(there) => there.clone(),
        None if there.len() >= MAX_RELEASES => return Ok(Kept::TooMany),
        None => {
            let release = SignedRelease { release: signed.release.clone(), signatures: Vec::new() };
            StoredRelease { release, received_at: now, updated_at: now }
        }
    };
    let before = stored.release.signatures.len();
    for signature in &signed.signatures {
        let known = |there: &Signature| there.user == signature.user;
        if !stored.release.signatures.iter().any(known) {
            stored.release.signatures.push(signature.clone());
        }
    }
    if stored.release.signatures.len() == before {
        return Ok(Kept::Already(stored));
    }
    stored.updated_at = now;
    sqlx::query(
        "INSERT INTO screening_releases (transfer, digest, release, signatures, received_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (transfer, digest) DO UPDATE SET signatures = excluded.signatures, updated_at = excluded.updated_at",
    )
    .bind(transfer.to_string())
    .bind(digest)
    .bind(to_json(&stored.release.release))
    .bind(to_json(&stored.release.signatures))
    .bind(stored.received_at.micros())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    Ok(Kept::New(stored))
}

/// Every release of a transfer, complete or not, newest first.
pub async fn releases(store: &Store, transfer: TransferId) -> Result<Vec<StoredRelease>, StoreError> {
    releases_on(&mut *store.reader().await?, transfer).await
}

/// As [`releases`], within a transaction.
pub async fn releases_in(tx: &mut WriteTx, transfer: TransferId) -> Result<Vec<StoredRelease>, StoreError> {
    releases_on(tx.connection(), transfer).await
}

async fn releases_on(
    connection: &mut AnyConnection,
    transfer: TransferId,
) -> Result<Vec<StoredRelease>, StoreError> {
    let rows = sqlx::query(
        "SELECT transfer, digest, release, signatures, received_at, updated_at FROM screening_releases WHERE transfer = $1 \
         ORDER BY received_at DESC, digest",
    )
    .bind(transfer.to_string())
    .fetch_all(connection)
    .await
    .during("screening_releases.of")?;
    rows.iter().map(decode).collect()
}

fn decode(row: &AnyRow) -> Result<StoredRelease, StoreError> {
    let fields = Fields::new(row, "screening_releases", "transfer")?;
    let release = SignedRelease { release: fields.json("release")?, signatures: fields.json("signatures")? };
    if fields.text("digest")? != hex::encode(release.release.digest()) {
        return Err(fields.corrupt("digest", "differs from the release"));
    }
    Ok(StoredRelease {
        release,
        received_at: fields.time("received_at")?,
        updated_at: fields.time("updated_at")?,
    })
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
