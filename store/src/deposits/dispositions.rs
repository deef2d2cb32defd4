//! What compliance signs about deposits that are held, with the signatures collected so far. Whether they are enough is not decided here
//! but by `bursar_domain::governance`: what is kept is evidence.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::{governance::verdict::SignedDisposition, ids::DepositId, time::Timestamp};
use sqlx::{AnyConnection, any::AnyRow};

/// The most that are kept about one deposit.
pub const MAX_DISPOSITIONS: usize = 32;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDisposition {
    pub signed: SignedDisposition,
    pub received_at: Timestamp,
    /// When the last signature came.
    pub updated_at: Timestamp,
}

/// What became of a disposition's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// As it is now, with signatures that it did not have.
    New(StoredDisposition),
    /// All of these signatures were there.
    Already(StoredDisposition),
    /// The deposit has [`MAX_DISPOSITIONS`] others.
    TooMany,
}

/// Keeps signatures over a disposition, each user's once, beside those that it has. The caller has verified them.
pub async fn sign(tx: &mut WriteTx, signed: &SignedDisposition, now: Timestamp) -> Result<Kept, StoreError> {
    let deposit = signed.disposition.deposit;
    let there = of_on(tx.connection(), deposit).await?;
    let mut stored = match there.iter().find(|there| there.signed.disposition == signed.disposition) {
        Some(there) => there.clone(),
        None if there.len() >= MAX_DISPOSITIONS => return Ok(Kept::TooMany),
        None => {
            let disposition = signed.disposition.clone();
            let signed = SignedDisposition { disposition, signatures: Vec::new() };
            StoredDisposition { signed, received_at: now, updated_at: now }
        }
    };
    let before = stored.signed.signatures.len();
    for signature in &signed.signatures {
        if !stored.signed.signatures.iter().any(|there| there.user == signature.user) {
            stored.signed.signatures.push(signature.clone());
        }
    }
    if stored.signed.signatures.len() == before {
        return Ok(Kept::Already(stored));
    }
    stored.updated_at = now;
    sqlx::query(
        "INSERT INTO deposit_dispositions (deposit, digest, disposition, signatures, received_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (deposit, digest) DO UPDATE SET signatures = excluded.signatures, updated_at = excluded.updated_at",
    )
    .bind(deposit.to_string())
    .bind(hex::encode(signed.disposition.digest()))
    .bind(to_json(&stored.signed.disposition))
    .bind(to_json(&stored.signed.signatures))
    .bind(stored.received_at.micros())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("deposit_dispositions.sign")?;
    Ok(Kept::New(stored))
}

/// Every disposition of a deposit, complete or not, newest first.
pub async fn of(store: &Store, deposit: DepositId) -> Result<Vec<StoredDisposition>, StoreError> {
    of_on(&mut *store.reader().await?, deposit).await
}

async fn of_on(
    connection: &mut AnyConnection,
    deposit: DepositId,
) -> Result<Vec<StoredDisposition>, StoreError> {
    let rows = sqlx::query(
        "SELECT deposit, digest, disposition, signatures, received_at, updated_at FROM deposit_dispositions WHERE deposit = $1 \
         ORDER BY received_at DESC, digest",
    )
    .bind(deposit.to_string())
    .fetch_all(connection)
    .await
    .during("deposit_dispositions.of")?;
    rows.iter().map(decode).collect()
}

fn decode(row: &AnyRow) -> Result<StoredDisposition, StoreError> {
    let fields = Fields::new(row, "deposit_dispositions", "deposit")?;
    let signed = SignedDisposition {
        disposition: fields.json("disposition")?,
        signatures: fields.json("signatures")?,
    };
    if fields.text("digest")? != hex::encode(signed.disposition.digest()) {
        return Err(fields.corrupt("digest", "differs from the disposition"));
    }
    Ok(StoredDisposition {
        signed,
        received_at: fields.time("received_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
