//! What a block showed as a stranger's and was ours all along.
//!
//! A co-signer that completed a session whose answer was lost can publish the transaction before we have it. The id of a Bitcoin
//! transaction does not depend on its signatures (BIP-141), so the next session gives the one that is in the block already. The
//! node would say "already known" for ever, and the block has been walked: without this the payment would never be seen.

use crate::{
    StoreError, WriteTx,
    error::During,
    events,
    row::{Fields, to_int},
};
use bursar_domain::{chain::BlockRef, ids::TransactionId, time::Timestamp};
use serde_json::json;

/// Takes what was booked as a foreign spend under `tx_id` as the inclusion of `id`, with the event `account.spend_recognised`.
/// `tx_id` must be the id of this transaction, signed or not. `false`: no block that is known holds it.
///
/// The halt that it caused stands until a person lifts it: a signature was used that was not ours to send, and other foreign
/// spends may stand behind the same halt.
pub async fn in_a_block(
    tx: &mut WriteTx,
    id: TransactionId,
    tx_id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "transactions.recognise";
    let Some(record) = super::get_in(tx, id).await? else { return Ok(false) };
    let mut block = None;
    for resource in &record.effects.resources {
        let row = sqlx::query(
            "SELECT resource, height, block_hash, outcome, fee FROM foreign_spends \
             WHERE network = $1 AND resource = $2 AND tx_id = $3 AND block_hash IS NOT NULL",
        )
        .bind(record.network.to_string())
        .bind(resource.to_string())
        .bind(tx_id.to_owned())
        .fetch_optional(tx.connection())
        .await
        .during(OPERATION)?;
        let Some(row) = row else { continue };
        let fields = Fields::new(&row, "foreign_spends", "resource")?;
        let found = BlockRef { height: fields.number("height")?, hash: fields.text("block_hash")? };
        sqlx::query(
            "UPDATE transactions SET block_height = $1, block_hash = $2, outcome = $3, fee = $4 WHERE id = $5",
        )
        .bind(to_int(OPERATION, found.height)?)
        .bind(found.hash.clone())
        .bind(fields.text("outcome")?)
        .bind(fields.text_opt("fee")?)
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
        sqlx::query("DELETE FROM foreign_spends WHERE network = $1 AND resource = $2 AND tx_id = $3")
            .bind(record.network.to_string())
            .bind(resource.to_string())
            .bind(tx_id.to_owned())
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
        block = Some(found);
    }
    let Some(block) = block else { return Ok(false) };
    let payload = json!({
        "network": record.network,
        "txId": tx_id,
        "transferId": record.transfer,
        "transactionId": id,
        "block": block,
    });
    events::append(tx, "account.spend_recognised", Some(record.transfer), now, &payload).await?;
    Ok(true)
}
