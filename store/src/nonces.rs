//! What is good once: nonces of signed requests, challenges of logins. All processes that share a database share this.

use crate::{Store, StoreError, WriteTx, error::During, row::Fields};
use bursar_domain::time::Timestamp;

/// Uses a nonce up. `false`: it was used before. `expires_at`: when nothing would accept it any more.
pub async fn spend(
    tx: &mut WriteTx,
    subject: &str,
    nonce: &str,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query(
        "INSERT INTO nonces (subject, nonce, expires_at) VALUES ($1, $2, $3) ON CONFLICT (subject, nonce) DO NOTHING",
    )
    .bind(subject.to_owned())
    .bind(nonce.to_owned())
    .bind(expires_at.micros())
    .execute(tx.connection())
    .await
    .during("nonces.spend")?;
    Ok(inserted.rows_affected() == 1)
}

/// The most that is forgotten in one transaction, so that others wait for it briefly.
pub const FORGOTTEN_AT_ONCE: u64 = 1000;

/// Forgets what nothing would accept any more, at most [`FORGOTTEN_AT_ONCE`], and tells how many.
pub async fn purge(tx: &mut WriteTx, now: Timestamp) -> Result<u64, StoreError> {
    let deleted = sqlx::query(
        "DELETE FROM nonces WHERE (subject, nonce) IN \
         (SELECT subject, nonce FROM nonces WHERE expires_at < $1 ORDER BY expires_at LIMIT $2)",
    )
    .bind(now.micros())
    .bind(FORGOTTEN_AT_ONCE as i64)
    .execute(tx.connection())
    .await
    .during("nonces.purge")?;
    Ok(deleted.rows_affected())
}

/// A secret that the processes of this database share, if it was made.
pub async fn secret(store: &Store, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    sqlx::query("SELECT name, secret FROM server_secrets WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("server_secrets.get")?
        .map(|row| Fields::new(&row, "server_secrets", "name")?.bytes("secret"))
        .transpose()
}

/// Keeps a secret, unless another process was first.
pub async fn keep_secret(tx: &mut WriteTx, name: &str, secret: &[u8]) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO server_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(name.to_owned())
        .bind(secret.to_vec())
        .execute(tx.connection())
        .await
        .during("server_secrets.keep")
        .map(|_| ())
}
