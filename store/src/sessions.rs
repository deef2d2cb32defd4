//! Sessions of people. Their tokens are not kept, only hashes.

use crate::{Store, StoreError, WriteTx, error::During, nonces::FORGOTTEN_AT_ONCE, row::Fields};
use bursar_domain::{
    governance::directory::{KeyId, UserId},
    ids::SessionId,
    time::Timestamp,
};
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    /// A user of the directory, and the passkey that the session began with.
    pub user: UserId,
    pub key: KeyId,
    /// Where it began.
    pub address: Option<String>,
    pub created_at: Timestamp,
    /// When it was last used, within a minute.
    pub seen_at: Timestamp,
    /// Over then, however much it is used.
    pub expires_at: Timestamp,
    pub ended_at: Option<Timestamp>,
}

const COLUMNS: &str = "id, user_id, key_id, address, created_at, seen_at, expires_at, ended_at";

/// `hash`: SHA-256 of the token.
pub async fn insert(tx: &mut WriteTx, session: &Session, hash: &[u8; 32]) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO sessions (id, user_id, key_id, address, created_at, seen_at, expires_at, ended_at, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(session.id.to_string())
    .bind(session.user.to_string())
    .bind(session.key.to_string())
    .bind(session.address.clone())
    .bind(session.created_at.micros())
    .bind(session.seen_at.micros())
    .bind(session.expires_at.micros())
    .bind(session.ended_at.map(Timestamp::micros))
    .bind(hash.to_vec())
    .execute(tx.connection())
    .await
    .during("sessions.insert")
    .map(|_| ())
}

/// Also one that is over: the caller looks at its times.
pub async fn by_hash(store: &Store, hash: &[u8; 32]) -> Result<Option<Session>, StoreError> {
    sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM sessions WHERE hash = $1")))
        .bind(hash.to_vec())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("sessions.by_hash")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// Those that are not over by themselves or ended, newest first. (Idle ones too: how long that may be is not known here.)
pub async fn live(store: &Store, now: Timestamp, limit: u32) -> Result<Vec<Session>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM sessions WHERE expires_at > $1 AND ended_at IS NULL ORDER BY expires_at DESC, id DESC LIMIT $2"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(now.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("sessions.live")?;
    rows.iter().map(decode).collect()
}

/// Notes that it was used.
pub async fn touch(tx: &mut WriteTx, id: SessionId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("UPDATE sessions SET seen_at = $1 WHERE id = $2 AND seen_at < $1")
        .bind(now.micros())
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during("sessions.touch")
        .map(|_| ())
}

/// `false`: there is no such session, or it was ended before.
pub async fn end(tx: &mut WriteTx, id: SessionId, now: Timestamp) -> Result<bool, StoreError> {
    let ended = sqlx::query("UPDATE sessions SET ended_at = $1 WHERE id = $2 AND ended_at IS NULL")
        .bind(now.micros())
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during("sessions.end")?;
    Ok(ended.rows_affected() == 1)
}

/// Forgets those that were over by then, at most [`FORGOTTEN_AT_ONCE`], and tells how many.
pub async fn purge(tx: &mut WriteTx, before: Timestamp) -> Result<u64, StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(before.micros())
    .bind(FORGOTTEN_AT_ONCE as i64)
    .execute(tx.connection())
    .await
    .during("sessions.purge")?;
    Ok(deleted.rows_affected())
}

fn decode(row: &AnyRow) -> Result<Session, StoreError> {
    let fields = Fields::new(row, "sessions", "id")?;
    Ok(Session {
        id: fields.parse("id")?,
        user: fields.parse("user_id")?,
        key: fields.parse("key_id")?,
        address: fields.text_opt("address")?,
        created_at: fields.time("created_at")?,
        seen_at: fields.time("seen_at")?,
        expires_at: fields.time("expires_at")?,
        ended_at: fields.time_opt("ended_at")?,
    })
}
