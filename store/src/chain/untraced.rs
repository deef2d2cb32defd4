//! Blocks of which it is not known what contracts sent on to our addresses.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_int},
};
use bursar_domain::network::Network;

/// Neighbouring blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untraced {
    pub first: u64,
    pub last: u64,
}

/// All of them, oldest first.
pub async fn untraced(store: &Store, network: Network) -> Result<Vec<Untraced>, StoreError> {
    let rows = sqlx::query(
        "SELECT first_height, last_height FROM untraced_blocks WHERE network = $1 ORDER BY first_height",
    )
    .bind(network.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("untraced_blocks.list")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "untraced_blocks", "first_height")?;
            Ok(Untraced { first: fields.number("first_height")?, last: fields.number("last_height")? })
        })
        .collect()
}

pub(super) async fn record(tx: &mut WriteTx, network: Network, height: i64) -> Result<(), StoreError> {
    const OPERATION: &str = "untraced_blocks.record";
    let longer =
        sqlx::query("UPDATE untraced_blocks SET last_height = $1 WHERE network = $2 AND last_height = $3")
            .bind(height)
            .bind(network.to_string())
            .bind(height - 1)
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
    if longer.rows_affected() == 0 {
        sqlx::query("INSERT INTO untraced_blocks (network, first_height, last_height) VALUES ($1, $2, $2)")
            .bind(network.to_string())
            .bind(height)
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
    }
    Ok(())
}

pub(super) async fn forget_above(tx: &mut WriteTx, network: Network, height: u64) -> Result<(), StoreError> {
    const OPERATION: &str = "untraced_blocks.forget";
    let height = to_int(OPERATION, height)?;
    for sql in [
        "DELETE FROM untraced_blocks WHERE network = $1 AND first_height > $2",
        "UPDATE untraced_blocks SET last_height = $2 WHERE network = $1 AND last_height > $2",
    ] {
        sqlx::query(sql)
            .bind(network.to_string())
            .bind(height)
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
    }
    Ok(())
}
