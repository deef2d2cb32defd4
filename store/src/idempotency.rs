//! `Idempotency-Key`: a repeated request gets the answer of the first.

use crate::{Store, StoreError, WriteTx, error::During, nonces::FORGOTTEN_AT_ONCE, row::Fields};
use bursar_domain::{ids::ApiKeyId, time::Timestamp};
use sqlx::AnyConnection;

/// What is known of a request's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Not seen, or begun in a transaction that never completed it: do the work and [`complete`] it in this transaction.
    New,
    /// Answer this again.
    Replay { status: u16, body: String },
    /// The key was used for another request.
    DifferentRequest,
}

/// Looks the key up and records it when it is new.
pub async fn begin(
    tx: &mut WriteTx,
    api_key: ApiKeyId,
    key: &str,
    request_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Begun, StoreError> {
    const OPERATION: &str = "idempotency_keys.begin";
    let inserted = sqlx::query(
        "INSERT INTO idempotency_keys (api_key, idempotency_key, request_hash, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (api_key, idempotency_key) DO NOTHING",
    )
    .bind(api_key.to_string())
    .bind(key.to_owned())
    .bind(request_hash.to_vec())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if inserted.rows_affected() == 1 {
        return Ok(Begun::New);
    }
    look(tx.connection(), api_key, key, request_hash).await
}

/// What [`begin`] would say, without recording anything.
pub async fn peek(
    store: &Store,
    api_key: ApiKeyId,
    key: &str,
    request_hash: &[u8; 32],
) -> Result<Begun, StoreError> {
    look(&mut *store.reader().await?, api_key, key, request_hash).await
}

async fn look(
    connection: &mut AnyConnection,
    api_key: ApiKeyId,
    key: &str,
    request_hash: &[u8; 32],
) -> Result<Begun, StoreError> {
    let row = sqlx::query(
        "SELECT idempotency_key, request_hash, status, body FROM idempotency_keys WHERE api_key = $1 AND idempotency_key = $2",
    )
    .bind(api_key.to_string())
    .bind(key.to_owned())
    .fetch_optional(connection)
    .await
    .during("idempotency_keys.look")?;
    let Some(row) = row else { return Ok(Begun::New) };
    let fields = Fields::new(&row, "idempotency_keys", "idempotency_key")?;
    if fields.bytes("request_hash")? != request_hash {
        return Ok(Begun::DifferentRequest);
    }
    match fields.number_opt("status")? {
        None => Ok(Begun::New),
        Some(status) => Ok(Begun::Replay { status, body: fields.text("body")? }),
    }
}

/// Records the answer that repetitions get.
pub async fn complete(
    tx: &mut WriteTx,
    api_key: ApiKeyId,
    key: &str,
    status: u16,
    body: &str,
) -> Result<(), StoreError> {
    let updated = sqlx::query(
        "UPDATE idempotency_keys SET status = $1, body = $2 WHERE api_key = $3 AND idempotency_key = $4",
    )
    .bind(i64::from(status))
    .bind(body.to_owned())
    .bind(api_key.to_string())
    .bind(key.to_owned())
    .execute(tx.connection())
    .await
    .during("idempotency_keys.complete")?;
    match updated.rows_affected() {
        0 => Err(StoreError::NotFound { table: "idempotency_keys", key: key.to_owned() }),
        _ => Ok(()),
    }
}

/// Forgets keys from before `older_than`, at most [`FORGOTTEN_AT_ONCE`], and tells how many.
pub async fn purge(tx: &mut WriteTx, older_than: Timestamp) -> Result<u64, StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM idempotency_keys WHERE (api_key, idempotency_key) IN \
         (SELECT api_key, idempotency_key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
    )
    .bind(older_than.micros())
    .bind(FORGOTTEN_AT_ONCE as i64)
    .execute(tx.connection())
    .await
    .during("idempotency_keys.purge")?;
    Ok(deleted.rows_affected())
}
