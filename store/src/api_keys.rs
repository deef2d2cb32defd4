//! Who may call the API. Only hashes of keys are kept.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain},
};
use bursar_domain::{ids::ApiKeyId, time::Timestamp};
use sqlx::any::AnyRow;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: ApiKeyId,
    pub name: String,
    pub created_at: Timestamp,
    /// Not valid from then on.
    pub revoked_at: Option<Timestamp>,
}

/// `hash`: SHA-256 of the key, which is random and long enough to need no salt.
pub async fn insert(tx: &mut WriteTx, key: &ApiKey, hash: &[u8; 32]) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO api_keys (id, name, hash, created_at, revoked_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(key.id.to_string())
        .bind(plain(&key.name))
        .bind(hash.to_vec())
        .bind(key.created_at.micros())
        .bind(key.revoked_at.map(Timestamp::micros))
        .execute(tx.connection())
        .await
        .during("api_keys.insert")
        .map(|_| ())
}

/// Revoked keys too: the caller looks at `revoked_at`.
pub async fn by_hash(store: &Store, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    sqlx::query("SELECT id, name, created_at, revoked_at FROM api_keys WHERE hash = $1")
        .bind(hash.to_vec())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("api_keys.by_hash")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// All keys, oldest first.
pub async fn list(store: &Store) -> Result<Vec<ApiKey>, StoreError> {
    let rows = sqlx::query("SELECT id, name, created_at, revoked_at FROM api_keys ORDER BY id")
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("api_keys.list")?;
    rows.iter().map(decode).collect()
}

/// `false`: there is no such key, or it was revoked before.
pub async fn revoke(tx: &mut WriteTx, id: ApiKeyId, now: Timestamp) -> Result<bool, StoreError> {
    let revoked = sqlx::query("UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(now.micros())
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during("api_keys.revoke")?;
    Ok(revoked.rows_affected() == 1)
}

fn decode(row: &AnyRow) -> Result<ApiKey, StoreError> {
    let fields = Fields::new(row, "api_keys", "id")?;
    Ok(ApiKey {
        id: fields.parse("id")?,
        name: fields.text("name")?,
        created_at: fields.time("created_at")?,
        revoked_at: fields.time_opt("revoked_at")?,
    })
}
