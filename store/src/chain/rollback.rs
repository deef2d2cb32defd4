//! Blocks are taken back: everything above a height is undone.

use super::{cursor_on, untraced};
use crate::{
    StoreError, WriteTx, deposits,
    error::During,
    events, jobs, reservations,
    row::{Fields, to_int},
    transactions,
};
use bursar_domain::{
    chain::BlockRef,
    ids::{TransactionId, TransferId},
    network::Network,
    time::Timestamp,
};
use serde_json::json;
use std::collections::BTreeSet;

/// Makes the block at `height` the cursor and undoes what the blocks above it did. Gives the transfers whose transactions
/// are no longer in a block, or whose resources a foreign transaction no longer uses; they were nudged. The event
/// `chain.reorganised` tells it.
pub async fn rollback_to(
    tx: &mut WriteTx,
    network: Network,
    height: u64,
    now: Timestamp,
) -> Result<Vec<TransferId>, StoreError> {
    const OPERATION: &str = "chain.rollback_to";
    let above = to_int(OPERATION, height)?;
    let from = cursor_on(tx.connection(), network).await?;
    let to = kept_block(tx, network, height, above).await?;
    if from.as_ref() == Some(&to) {
        return Ok(Vec::new());
    }
    let mut touched = exclude(tx, network, above).await?;
    touched.extend(forget_foreign_spends(tx, network, above).await?);
    deposits::revert_above(tx, network, above, now).await?;
    untraced::forget_above(tx, network, height).await?;
    for sql in [
        "DELETE FROM utxos WHERE network = $1 AND height > $2",
        "UPDATE utxos SET spent_height = NULL, spent_by = NULL WHERE network = $1 AND spent_height > $2",
        "DELETE FROM blocks WHERE network = $1 AND height > $2",
    ] {
        sqlx::query(sql)
            .bind(network.to_string())
            .bind(above)
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
    }
    // What is in new blocks at heights that were final has to become final again.
    sqlx::query(
        "UPDATE chain_cursors SET height = $1, hash = $2, \
         final_height = CASE WHEN final_height > $1 THEN $1 ELSE final_height END WHERE network = $3",
    )
    .bind(above)
    .bind(to.hash.clone())
    .bind(network.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    let payload = json!({ "network": network, "from": from, "to": to });
    events::append(tx, "chain.reorganised", None, now, &payload).await?;
    for transfer in &touched {
        jobs::nudge(tx, *transfer, now).await?;
    }
    Ok(touched.into_iter().collect())
}

async fn kept_block(
    tx: &mut WriteTx,
    network: Network,
    height: u64,
    number: i64,
) -> Result<BlockRef, StoreError> {
    let row = sqlx::query("SELECT height, hash FROM blocks WHERE network = $1 AND height = $2")
        .bind(network.to_string())
        .bind(number)
        .fetch_optional(tx.connection())
        .await
        .during("blocks.get")?
        .ok_or(StoreError::TooDeep { network, height })?;
    let hash = Fields::new(&row, "blocks", "height")?.text("hash")?;
    Ok(BlockRef { height, hash })
}

/// Clears inclusions above the height. What was final is not any more, its resources are held for it again, and those that it
/// had excluded may be in a block after all.
async fn exclude(tx: &mut WriteTx, network: Network, above: i64) -> Result<BTreeSet<TransferId>, StoreError> {
    const OPERATION: &str = "transactions.exclude";
    let rows = sqlx::query(
        "SELECT t.id, tt.transfer FROM transactions t JOIN transfer_transactions tt ON tt.transaction_id = t.id \
         WHERE t.network = $1 AND t.block_height > $2",
    )
    .bind(network.to_string())
    .bind(above)
    .fetch_all(tx.connection())
    .await
    .during(OPERATION)?;
    let mut touched = BTreeSet::new();
    for row in &rows {
        let fields = Fields::new(row, "transactions", "id")?;
        let id: TransactionId = fields.parse("id")?;
        touched.insert(fields.parse("transfer")?);
        reservations::set_used(tx, id, false).await?;
        sqlx::query(
            "UPDATE transactions SET block_height = NULL, block_hash = NULL, outcome = NULL, fee = NULL, finalized_at = NULL \
             WHERE id = $1",
        )
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
        transactions::revive_siblings(tx, id).await?;
    }
    Ok(touched)
}

async fn forget_foreign_spends(
    tx: &mut WriteTx,
    network: Network,
    above: i64,
) -> Result<Vec<TransferId>, StoreError> {
    let rows = sqlx::query(
        "DELETE FROM foreign_spends WHERE network = $1 AND height > $2 RETURNING resource, transfer",
    )
    .bind(network.to_string())
    .bind(above)
    .fetch_all(tx.connection())
    .await
    .during("foreign_spends.forget")?;
    let transfers: Result<Vec<Option<TransferId>>, _> = rows
        .iter()
        .map(|row| Fields::new(row, "foreign_spends", "resource")?.parse_opt("transfer"))
        .collect();
    Ok(transfers?.into_iter().flatten().collect())
}
