//! Votes of approvers about transfers, as they were signed, and what was decided about each transfer.
//!
//! Whether a vote counts is not decided here but by `bursar_domain::governance`, each time anew: what is kept is evidence.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::{
    governance::{
        approval::{Approval, Progress},
        directory::UserId,
        log::Head,
        policy::Decision,
    },
    ids::TransferId,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, any::AnyRow};

/// The most votes of one user that are kept for one transfer. A new policy asks for new ones.
pub const MAX_OF_USER: usize = 16;

/// A vote, and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredApproval {
    pub approval: Approval,
    pub received_at: Timestamp,
}

/// What became of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    New,
    /// This very vote of this user is there.
    Already,
    /// The user has given [`MAX_OF_USER`] others.
    TooMany,
}

/// What was decided about a transfer: for people and audits, never decided by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ruling {
    /// `AUTHORIZED`, or the code of what stands in the way.
    pub code: String,
    /// The same in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The last entry of the governance log by which it was decided.
    pub head: Head,
    /// The version of the policy; absent where none was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Head>,
    /// What each rule said; absent where none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// How far the approvals had come, where some are required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
}

/// Keeps a vote whose signature the caller has verified.
pub async fn insert(
    tx: &mut WriteTx,
    transfer: TransferId,
    approval: &Approval,
    now: Timestamp,
) -> Result<Kept, StoreError> {
    let (user, digest) = (&approval.signature.user, approval.payload.digest());
    let there = of_transfer_in(tx, transfer).await?;
    let of_user = || there.iter().map(|there| &there.approval).filter(|there| there.signature.user == *user);
    if of_user().any(|there| there.payload.digest() == digest) {
        return Ok(Kept::Already);
    }
    if of_user().count() >= MAX_OF_USER {
        return Ok(Kept::TooMany);
    }
    sqlx::query(
        "INSERT INTO approvals (transfer, approver, digest, approval, received_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(transfer.to_string())
    .bind(user.to_string())
    .bind(hex::encode(digest))
    .bind(to_json(approval))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("approvals.insert")?;
    Ok(Kept::New)
}

/// All votes about a transfer, in the order in which they came.
pub async fn of_transfer(store: &Store, transfer: TransferId) -> Result<Vec<StoredApproval>, StoreError> {
    of_transfer_on(&mut *store.reader().await?, transfer).await
}

/// As [`of_transfer`], within a transaction.
pub async fn of_transfer_in(
    tx: &mut WriteTx,
    transfer: TransferId,
) -> Result<Vec<StoredApproval>, StoreError> {
    of_transfer_on(tx.connection(), transfer).await
}

async fn of_transfer_on(
    connection: &mut AnyConnection,
    transfer: TransferId,
) -> Result<Vec<StoredApproval>, StoreError> {
    let rows = sqlx::query(
        "SELECT transfer, approver, digest, approval, received_at FROM approvals WHERE transfer = $1 \
         ORDER BY received_at, approver, digest",
    )
    .bind(transfer.to_string())
    .fetch_all(connection)
    .await
    .during("approvals.of_transfer")?;
    rows.iter().map(decode).collect()
}

fn decode(row: &AnyRow) -> Result<StoredApproval, StoreError> {
    let fields = Fields::new(row, "approvals", "transfer")?;
    let approval: Approval = fields.json("approval")?;
    if fields.parse::<UserId>("approver")? != approval.signature.user {
        return Err(fields.corrupt("approver", "differs from the signature"));
    }
    if fields.text("digest")? != hex::encode(approval.payload.digest()) {
        return Err(fields.corrupt("digest", "differs from the payload"));
    }
    Ok(StoredApproval { approval, received_at: fields.time("received_at")? })
}

/// Notes what was decided, in the place of what was before. `false`: the same was noted before, and nothing is written.
pub async fn rule(
    tx: &mut WriteTx,
    transfer: TransferId,
    ruling: &Ruling,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if ruling_on(tx.connection(), transfer).await?.is_some_and(|(there, _)| there == *ruling) {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO transfer_decisions (transfer, ruling, decided_at) VALUES ($1, $2, $3) \
         ON CONFLICT (transfer) DO UPDATE SET ruling = excluded.ruling, decided_at = excluded.decided_at",
    )
    .bind(transfer.to_string())
    .bind(to_json(ruling))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("transfer_decisions.put")?;
    Ok(true)
}

/// What was decided last about a transfer, and when.
pub async fn ruling(store: &Store, transfer: TransferId) -> Result<Option<(Ruling, Timestamp)>, StoreError> {
    ruling_on(&mut *store.reader().await?, transfer).await
}

async fn ruling_on(
    connection: &mut AnyConnection,
    transfer: TransferId,
) -> Result<Option<(Ruling, Timestamp)>, StoreError> {
    let row = sqlx::query("SELECT transfer, ruling, decided_at FROM transfer_decisions WHERE transfer = $1")
        .bind(transfer.to_string())
        .fetch_optional(connection)
        .await
        .during("transfer_decisions.get")?;
    let decode = |row: &AnyRow| {
        let fields = Fields::new(row, "transfer_decisions", "transfer")?;
        Ok((fields.json("ruling")?, fields.time("decided_at")?))
    };
    row.as_ref().map(decode).transpose()
}
