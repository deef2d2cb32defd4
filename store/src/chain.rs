//! What the chains showed: blocks applied one after the other, and taken back when they are no longer part of the chain.
//!
//! Everything that follows from a block (inclusions, our unspent outputs, deposits) carries its height, so a rollback is the
//! exact inverse of the applications above it.

mod apply;
mod rollback;
mod untraced;

pub use apply::{Applied, apply_block};
pub use rollback::rollback_to;
pub use untraced::{Untraced, untraced};

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    jobs,
    row::{Fields, to_int},
};
use bursar_domain::{
    chain::{BlockRef, WatchSet},
    effects::{OutPoint, Resource},
    ids::TransferId,
    lifecycle::Status,
    network::Network,
    ports::SpentBy,
    time::Timestamp,
};
use sqlx::AnyConnection;

/// The last block that was applied.
pub async fn cursor(store: &Store, network: Network) -> Result<Option<BlockRef>, StoreError> {
    cursor_on(&mut *store.reader().await?, network).await
}

pub(crate) async fn cursor_on(
    connection: &mut AnyConnection,
    network: Network,
) -> Result<Option<BlockRef>, StoreError> {
    sqlx::query("SELECT network, height, hash FROM chain_cursors WHERE network = $1")
        .bind(network.to_string())
        .fetch_optional(connection)
        .await
        .during("chain_cursors.get")?
        .map(|row| {
            let fields = Fields::new(&row, "chain_cursors", "network")?;
            Ok(BlockRef { height: fields.number("height")?, hash: fields.text("hash")? })
        })
        .transpose()
}

/// The newest blocks that are kept, newest first: where a reorganisation forked off is found among them.
pub async fn recent_blocks(store: &Store, network: Network, limit: u32) -> Result<Vec<BlockRef>, StoreError> {
    let rows =
        sqlx::query("SELECT height, hash FROM blocks WHERE network = $1 ORDER BY height DESC LIMIT $2")
            .bind(network.to_string())
            .bind(i64::from(limit))
            .fetch_all(&mut *store.reader().await?)
            .await
            .during("blocks.recent")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "blocks", "height")?;
            Ok(BlockRef { height: fields.number("height")?, hash: fields.text("hash")? })
        })
        .collect()
}

/// The hash of the block at `height`, if it was seen and is still kept.
pub async fn seen(store: &Store, network: Network, height: u64) -> Result<Option<String>, StoreError> {
    const OPERATION: &str = "blocks.seen";
    let row = sqlx::query("SELECT height, hash FROM blocks WHERE network = $1 AND height = $2")
        .bind(network.to_string())
        .bind(to_int(OPERATION, height)?)
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during(OPERATION)?;
    row.map(|row| Fields::new(&row, "blocks", "height")?.text("hash")).transpose()
}

/// Sets the block after which the network is followed. Once only; again with the same block changes nothing.
pub async fn start_at(tx: &mut WriteTx, network: Network, block: &BlockRef) -> Result<(), StoreError> {
    const OPERATION: &str = "chain_cursors.start";
    match cursor_on(tx.connection(), network).await? {
        Some(cursor) if cursor == *block => return Ok(()),
        Some(cursor) => {
            let reason = format!("{network} is followed already, up to block {}", cursor.height);
            return Err(StoreError::Conflict { operation: OPERATION, reason });
        }
        None => {}
    }
    let height = to_int(OPERATION, block.height)?;
    sqlx::query("INSERT INTO chain_cursors (network, height, hash, final_height) VALUES ($1, $2, $3, 0)")
        .bind(network.to_string())
        .bind(height)
        .bind(block.hash.clone())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    sqlx::query("INSERT INTO blocks (network, height, hash) VALUES ($1, $2, $3)")
        .bind(network.to_string())
        .bind(height)
        .bind(block.hash.clone())
        .execute(tx.connection())
        .await
        .during(OPERATION)
        .map(|_| ())
}

/// Records up to which height the chain is final, which decides when deposits are completed. It goes back
/// with a rollback only.
pub async fn set_final_height(tx: &mut WriteTx, network: Network, height: u64) -> Result<(), StoreError> {
    const OPERATION: &str = "chain_cursors.set_final";
    sqlx::query("UPDATE chain_cursors SET final_height = $1 WHERE network = $2 AND final_height < $1")
        .bind(to_int(OPERATION, height)?)
        .bind(network.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)
        .map(|_| ())
}

pub(crate) const WATCHED_ADDRESSES: &str = "SELECT address FROM addresses WHERE network = $1";
pub(crate) const WATCHED_OUTPOINTS: &str =
    "SELECT outpoint FROM utxos WHERE network = $1 AND spent_height IS NULL";
pub(crate) const WATCHED_TRANSACTIONS: &str = "SELECT tx_id FROM transactions WHERE network = $1 AND tx_id IS NOT NULL \
                                    AND finalized_at IS NULL AND ended IS NULL";

/// What to look for in the next block: our addresses, our unspent outputs, and what was signed and is not final. Read it
/// for every block anew, or a deposit to a new address is missed. `tokens` are configuration and left empty.
pub async fn watch_set(store: &Store, network: Network) -> Result<WatchSet, StoreError> {
    const OPERATION: &str = "chain.watch_set";
    let mut connection = store.reader().await?;
    let mut watch = WatchSet::default();
    for row in sqlx::query(WATCHED_ADDRESSES)
        .bind(network.to_string())
        .fetch_all(&mut *connection)
        .await
        .during(OPERATION)?
    {
        watch.addresses.insert(Fields::new(&row, "addresses", "address")?.text("address")?);
    }
    for row in sqlx::query(WATCHED_OUTPOINTS)
        .bind(network.to_string())
        .fetch_all(&mut *connection)
        .await
        .during(OPERATION)?
    {
        watch.outpoints.insert(Fields::new(&row, "utxos", "outpoint")?.parse::<OutPoint>("outpoint")?);
    }
    for row in sqlx::query(WATCHED_TRANSACTIONS)
        .bind(network.to_string())
        .fetch_all(&mut *connection)
        .await
        .during(OPERATION)?
    {
        watch.transactions.insert(Fields::new(&row, "transactions", "tx_id")?.text("tx_id")?);
    }
    Ok(watch)
}

/// Which of these resources were used by transactions that are not ours, on the chain as last seen.
pub async fn foreign_spends(
    store: &Store,
    network: Network,
    resources: &[Resource],
) -> Result<Vec<SpentBy>, StoreError> {
    let mut connection = store.reader().await?;
    let mut found = Vec::new();
    for resource in resources {
        let rows = sqlx::query(FOREIGN_SPENDS)
            .bind(network.to_string())
            .bind(resource.to_string())
            .fetch_all(&mut *connection)
            .await
            .during("foreign_spends.of")?;
        for row in &rows {
            let fields = Fields::new(row, "foreign_spends", "resource")?;
            found.push(SpentBy {
                resource: fields.parse("resource")?,
                tx_id: fields.text("tx_id")?,
                height: fields.number("height")?,
            });
        }
    }
    Ok(found)
}

pub(crate) const FOREIGN_SPENDS: &str =
    "SELECT resource, tx_id, height FROM foreign_spends WHERE network = $1 AND resource = $2";

pub(crate) const CONFIRMED: &str = "SELECT f.id FROM transfers f WHERE f.network = $1 AND f.status = $2 AND EXISTS (\
     SELECT 1 FROM transfer_transactions x JOIN transactions t ON t.id = x.transaction_id WHERE x.transfer = f.id \
     AND t.block_height <= (SELECT c.final_height FROM chain_cursors c WHERE c.network = $1)) ORDER BY f.id";

/// Nudges every transfer of the network whose block is final by now, after [`set_final_height`], and tells how many. Those
/// that are in later blocks would only be looked at in vain, with each block again.
pub async fn nudge_confirming(tx: &mut WriteTx, network: Network, now: Timestamp) -> Result<u32, StoreError> {
    const OPERATION: &str = "chain.nudge_confirming";
    let rows = sqlx::query(CONFIRMED)
        .bind(network.to_string())
        .bind(Status::Confirming.to_string())
        .fetch_all(tx.connection())
        .await
        .during(OPERATION)?;
    let confirming: Vec<TransferId> =
        rows.iter().map(|row| Fields::new(row, "transfers", "id")?.parse("id")).collect::<Result<_, _>>()?;
    for transfer in &confirming {
        jobs::nudge(tx, *transfer, now).await?;
    }
    Ok(u32::try_from(confirming.len()).unwrap_or(u32::MAX))
}

/// Forgets the hashes of all but the newest `keep` blocks. A reorganisation deeper than that cannot be undone.
pub async fn prune_blocks(tx: &mut WriteTx, network: Network, keep: u32) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM blocks WHERE network = $1 AND height <= (SELECT height FROM chain_cursors WHERE network = $1) - $2",
    )
    .bind(network.to_string())
    .bind(i64::from(keep.max(1)))
    .execute(tx.connection())
    .await
    .during("blocks.prune")
    .map(|_| ())
}
