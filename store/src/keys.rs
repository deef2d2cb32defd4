//! The public side of the distributed keys, one for each scheme.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::signing::{GroupKey, Scheme};
use sqlx::{AnyConnection, any::AnyRow};

/// Keeps a key, or a new generation of its shares. A key with another public key or chain code is refused: every address
/// of every wallet would change under our feet.
pub async fn put(tx: &mut WriteTx, key: &GroupKey) -> Result<(), StoreError> {
    const OPERATION: &str = "group_keys.put";
    if let Some(known) = get_on(tx.connection(), key.scheme).await?
        && (known.public_key != key.public_key || known.chain_code != key.chain_code)
    {
        let reason = format!("another {} key is in use; its wallets' addresses depend on it", key.scheme);
        return Err(StoreError::Conflict { operation: OPERATION, reason });
    }
    sqlx::query(
        "INSERT INTO group_keys (scheme, value) VALUES ($1, $2) ON CONFLICT (scheme) DO UPDATE SET value = excluded.value",
    )
    .bind(key.scheme.to_string())
    .bind(to_json(key))
    .execute(tx.connection())
    .await
    .during(OPERATION)
    .map(|_| ())
}

pub async fn all(store: &Store) -> Result<Vec<GroupKey>, StoreError> {
    let rows = sqlx::query("SELECT scheme, value FROM group_keys ORDER BY scheme")
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("group_keys.all")?;
    rows.iter().map(decode).collect()
}

pub async fn get(store: &Store, scheme: Scheme) -> Result<Option<GroupKey>, StoreError> {
    get_on(&mut *store.reader().await?, scheme).await
}

async fn get_on(connection: &mut AnyConnection, scheme: Scheme) -> Result<Option<GroupKey>, StoreError> {
    sqlx::query("SELECT scheme, value FROM group_keys WHERE scheme = $1")
        .bind(scheme.to_string())
        .fetch_optional(connection)
        .await
        .during("group_keys.get")?
        .as_ref()
        .map(decode)
        .transpose()
}

fn decode(row: &AnyRow) -> Result<GroupKey, StoreError> {
    let fields = Fields::new(row, "group_keys", "scheme")?;
    let key: GroupKey = fields.json("value")?;
    if fields.parse::<Scheme>("scheme")? != key.scheme {
        return Err(fields.corrupt("scheme", "differs from the key"));
    }
    Ok(key)
}
