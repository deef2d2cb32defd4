//! The transactions of one transfer among each other: what may stand beside what, and what the end of one means for the rest.

use super::{Ended, TransactionRecord, decode, parents, refused};
use crate::{
    StoreError, WriteTx,
    error::During,
    reservations,
    row::{Fields, plain},
};
use bursar_domain::{
    ids::{TransactionId, TransferId},
    lifecycle::exclusivity::{self, Claim, NotExclusive},
    package::Purpose,
};
use sqlx::AssertSqlSafe;

/// The exclusivity rule of the domain, asked once more with what is really there.
pub(super) async fn check_exclusive(tx: &mut WriteTx, record: &TransactionRecord) -> Result<(), StoreError> {
    let live = live_in(tx, record.transfer).await?;
    let live: Vec<_> = live.iter().map(TransactionRecord::claim).collect();
    match exclusivity::may_follow(&record.claim(), &live) {
        Ok(()) => Ok(()),
        Err(NotExclusive::Disjoint(other)) => {
            Err(StoreError::NotExclusive { transfer: record.transfer, other })
        }
        Err(reason @ NotExclusive::NoResource) => {
            Err(refused("transactions.insert", record.id, &reason.to_string()))
        }
    }
}

/// Those of a transfer that are neither released nor proven dead, oldest first.
pub async fn live_in(tx: &mut WriteTx, transfer: TransferId) -> Result<Vec<TransactionRecord>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {} FROM transactions WHERE ended IS NULL AND id IN \
         (SELECT transaction_id FROM transfer_transactions WHERE transfer = $1) ORDER BY created_at, id",
        super::COLUMNS
    )))
    .bind(transfer.to_string())
    .fetch_all(tx.connection())
    .await
    .during("transactions.live")?;
    rows.iter().map(decode).collect()
}

/// Refused while any transaction of the transfer may have a signature.
pub(crate) async fn nothing_may_pay(tx: &mut WriteTx, transfer: TransferId) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT id FROM transactions WHERE ended IS NULL AND (open_sessions > 0 OR tx_id IS NOT NULL) AND id IN \
         (SELECT transaction_id FROM transfer_transactions WHERE transfer = $1)",
    )
    .bind(transfer.to_string())
    .fetch_optional(tx.connection())
    .await
    .during("transactions.nothing_may_pay")?;
    match row {
        None => Ok(()),
        Some(row) => {
            let id = Fields::new(&row, "transactions", "id")?.parse("id")?;
            Err(refused("transactions.nothing_may_pay", id, "it may have been signed"))
        }
    }
}

/// A final block holds `finished`: the transfer's others can never be in one, because each needs a resource that it has used.
/// Refused if one does not.
pub(super) async fn end_siblings(tx: &mut WriteTx, finished: &TransactionRecord) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.end_siblings";
    if matches!(finished.purpose, Purpose::Child { .. }) {
        return Ok(());
    }
    let Some(inclusion) = &finished.inclusion else {
        return Err(refused(OPERATION, finished.id, "it is in no block"));
    };
    // None of its own where its signature never reached us.
    let tx_id = finished.signed.as_ref().map_or_else(|| finished.id.to_string(), |it| it.tx_id.clone());
    for sibling in live_in(tx, finished.transfer).await? {
        let (height, hash) = (inclusion.block.height, &inclusion.block.hash);
        let (mine, theirs) = (finished.claim(), sibling.claim());
        let proof = match (&sibling.purpose, mine.shared(&theirs)) {
            _ if sibling.id == finished.id => continue,
            (Purpose::Child { parent }, _) if **parent == finished.unsigned => continue,
            (Purpose::Child { .. }, _) => {
                format!("its parent is excluded by {tx_id} in final block {height} {hash}")
            }
            (_, Some(shared)) => format!("its {shared} was used by {tx_id} in final block {height} {hash}"),
            (_, None) => {
                let reason = format!("{} is final, and shares no resource with it", finished.id);
                return Err(refused(OPERATION, sibling.id, &reason));
            }
        };
        sqlx::query(
            "UPDATE transactions SET ended = 'superseded', proof = $1 WHERE id = $2 AND ended IS NULL",
        )
        .bind(proof)
        .bind(sibling.id.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
        reservations::free(tx, sibling.id).await?;
    }
    Ok(())
}

/// Gives back what a child would spend although a signature of it may exist. Refused unless its parent is final, no signature
/// of it has reached us, and no block holds it.
///
/// No payment depends on it: a child pays nobody, and its parent needs it no more. Should its signature surface, whatever spends
/// the change by then is a rival of it like any other; the chain takes one of them. `proof` says why no signature will come.
pub async fn give_up_child(tx: &mut WriteTx, id: TransactionId, proof: &str) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.give_up_child";
    let Some(child) = super::get_in(tx, id).await? else {
        return Err(StoreError::NotFound { table: "transactions", key: id.to_string() });
    };
    if child.ended.is_some() {
        return Ok(());
    }
    let Purpose::Child { parent } = &child.purpose else {
        return Err(refused(OPERATION, id, "it is no child"));
    };
    let own = live_in(tx, child.transfer).await?;
    if !own.iter().any(|record| record.unsigned == **parent && record.finalized_at.is_some()) {
        return Err(refused(OPERATION, id, "its parent is not final"));
    }
    let given_up = sqlx::query(
        "UPDATE transactions SET ended = 'superseded', proof = $1 WHERE id = $2 AND ended IS NULL AND tx_id IS NULL \
         AND block_height IS NULL",
    )
    .bind(plain(proof))
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    match given_up.rows_affected() {
        0 => Err(refused(OPERATION, id, "it is signed, or a block holds it")),
        _ => reservations::free(tx, id).await,
    }
}

/// Gives back the nonce of a filler although a signature of it, or of what was to cancel it, may exist. Refused unless the transfer
/// is a filler of which nothing is signed and no block holds anything.
///
/// No payment depends on it: whatever may surface is zero wei from the account to itself, and the chain takes one transaction of
/// the nonce. Nor is a payment lost that takes the nonce next: a party that took part in the filler refuses it (`NONCE_FILLED`), so
/// that it is signed only by a quorum without such a party, and then no quorum has signed the filler. Where that cannot be, the
/// payment is refused, and another filler is ordered. `proof` says why no signature will come.
pub async fn give_up_filler(
    tx: &mut WriteTx,
    transfer: TransferId,
    proof: &str,
) -> Result<Vec<TransactionRecord>, StoreError> {
    const OPERATION: &str = "transactions.give_up_filler";
    let Some(known) = crate::transfers::get_in(tx, transfer).await? else {
        return Err(StoreError::NotFound { table: "transfers", key: transfer.to_string() });
    };
    let live = live_in(tx, transfer).await?;
    for record in &live {
        if known.intent.intent.fills.is_none() {
            return Err(refused(OPERATION, record.id, "it is no filler"));
        }
        let given_up = sqlx::query(
            "UPDATE transactions SET ended = 'superseded', proof = $1 WHERE id = $2 AND ended IS NULL AND tx_id IS NULL \
             AND block_height IS NULL",
        )
        .bind(plain(proof))
        .bind(record.id.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
        if given_up.rows_affected() == 0 {
            return Err(refused(OPERATION, record.id, "it is signed, or a block holds it"));
        }
        reservations::free(tx, record.id).await?;
    }
    Ok(live)
}

/// The final block that had ended the siblings of `reopened` is gone: they may be in a block after all. What a child's block
/// says is nothing about its parent's rivals.
pub(crate) async fn revive_siblings(tx: &mut WriteTx, reopened: TransactionId) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.revive_siblings";
    let rows = sqlx::query(
        "SELECT s.id FROM transactions t JOIN transfer_transactions mine ON mine.transaction_id = t.id \
         JOIN transfer_transactions theirs ON theirs.transfer = mine.transfer \
         JOIN transactions s ON s.id = theirs.transaction_id \
         WHERE t.id = $1 AND t.purpose NOT LIKE '{\"purpose\":\"child\"%' AND s.ended = 'superseded'",
    )
    .bind(reopened.to_string())
    .fetch_all(tx.connection())
    .await
    .during(OPERATION)?;
    for row in &rows {
        revive(tx, Fields::new(row, "transactions", "id")?.parse("id")?).await?;
    }
    Ok(())
}

/// Takes back that a transaction was proven dead, and claims its resources again: all that have not gone to another transfer
/// meanwhile. The chain decides between the two. Transfers that failed because its outputs could not exist are nudged.
pub async fn revive(tx: &mut WriteTx, id: TransactionId) -> Result<(), StoreError> {
    let Some(record) = super::get_in(tx, id).await? else { return Ok(()) };
    if !matches!(record.ended, Some(Ended::Superseded { .. } | Ended::Dead { .. })) {
        return Ok(());
    }
    sqlx::query("UPDATE transactions SET ended = NULL, proof = NULL WHERE id = $1")
        .bind(id.to_string())
        .execute(tx.connection())
        .await
        .during("transactions.revive")?;
    for resource in &record.effects.resources {
        // `false`: whoever has it now keeps it.
        reservations::claim(tx, record.network, resource, record.transfer, id).await?;
    }
    parents::nudge_heirs(tx, &record).await
}

impl TransactionRecord {
    /// As the exclusivity rule sees it.
    pub fn claim(&self) -> Claim<'_> {
        Claim { transaction: self.id, purpose: &self.purpose, resources: &self.effects.resources }
    }
}
