//! Transactions of ours whose outputs others of ours spend (Bitcoin: our own change), once they can be in no block.
//!
//! Change is offered from its first block on. Where a reorganisation takes that block back and the transaction is replaced before it is
//! in another, its outputs will never exist, and nothing that spends one of them can be in a block.

use super::{Ended, TransactionRecord, decode_ended};
use crate::{Store, StoreError, WriteTx, error::During, jobs, row::Fields};
use bursar_domain::{effects::Resource, ids::TransferId, lifecycle::Status, network::Network};
use sqlx::{AnyConnection, any::AnyRow};
use std::{collections::BTreeMap, fmt};

/// An output that will never exist, because the transaction of ours that would have made it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoneParent {
    pub resource: Resource,
    pub tx_id: String,
    /// Superseded or dead, with the proof.
    pub ended: Ended,
}

impl fmt::Display for GoneParent {
    /// As a proof that what spends it is dead.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, tx_id, ended } = self;
        let (how, proof) = (ended.name(), ended.proof().unwrap_or_default());
        write!(f, "its {resource} will never exist, because our transaction {tx_id} is {how}: {proof}")
    }
}

/// Which of these are outputs of our own transactions that ended as superseded or dead. An output of a transaction that is not ours, or
/// that may still be in a block, is not among them.
pub async fn gone_parents(
    store: &Store,
    network: Network,
    resources: &[Resource],
) -> Result<Vec<GoneParent>, StoreError> {
    gone_parents_on(&mut *store.reader().await?, network, resources).await
}

/// As [`gone_parents`], within a transaction: it stays so until the commit.
pub async fn gone_parents_in(
    tx: &mut WriteTx,
    network: Network,
    resources: &[Resource],
) -> Result<Vec<GoneParent>, StoreError> {
    gone_parents_on(tx.connection(), network, resources).await
}

pub(crate) const BY_TX_ID: &str =
    "SELECT id, block_height, ended, proof FROM transactions WHERE network = $1 AND tx_id = $2";

async fn gone_parents_on(
    connection: &mut AnyConnection,
    network: Network,
    resources: &[Resource],
) -> Result<Vec<GoneParent>, StoreError> {
    let mut spent = BTreeMap::<String, Vec<&Resource>>::new();
    for resource in resources {
        if let Resource::Utxo(outpoint) = resource {
            let outpoint = outpoint.to_string();
            let tx_id = outpoint.split(':').next().unwrap_or_default();
            spent.entry(tx_id.to_owned()).or_default().push(resource);
        }
    }
    let mut gone = Vec::new();
    for (tx_id, outputs) in spent {
        let rows = sqlx::query(BY_TX_ID)
            .bind(network.to_string())
            .bind(tx_id.clone())
            .fetch_all(&mut *connection)
            .await
            .during("transactions.gone_parents")?;
        // Should it ever be on record twice, then each must have ended.
        let ends: Option<Vec<Ended>> =
            rows.iter().map(ended_for_good).collect::<Result<Vec<_>, _>>()?.into_iter().collect();
        let Some([ended, ..]) = ends.as_deref() else { continue };
        gone.extend(outputs.into_iter().map(|resource| GoneParent {
            resource: resource.clone(),
            tx_id: tx_id.clone(),
            ended: ended.clone(),
        }));
    }
    Ok(gone)
}

/// How it ended, if that is superseded or dead.
fn ended_for_good(row: &AnyRow) -> Result<Option<Ended>, StoreError> {
    let fields = Fields::new(row, "transactions", "id")?;
    let in_a_block = fields.int_opt("block_height")?.is_some();
    Ok(decode_ended(&fields)?.filter(|ended| ended.proof().is_some() && !in_a_block))
}

pub(crate) const DIED_WITH: &str = "SELECT f.id, f.updated_at FROM transfers f WHERE f.network = $1 AND f.status = $2 AND EXISTS (\
     SELECT 1 FROM transfer_transactions x JOIN transactions t ON t.id = x.transaction_id WHERE x.transfer = f.id \
     AND t.ended = 'dead' AND t.proof LIKE $3) ORDER BY f.id";

/// Nudges the transfers that failed because this one had ended: it may be in a block after all, and so may they.
pub(super) async fn nudge_heirs(tx: &mut WriteTx, revived: &TransactionRecord) -> Result<(), StoreError> {
    let spendable = revived.effects.resources.iter().any(|resource| matches!(resource, Resource::Utxo(_)));
    let Some(signed) = revived.signed.as_ref().filter(|_| spendable) else { return Ok(()) };
    let rows = sqlx::query(DIED_WITH)
        .bind(revived.network.to_string())
        .bind(Status::Failed.to_string())
        .bind(format!("%{}%", signed.tx_id))
        .fetch_all(tx.connection())
        .await
        .during("transactions.died_with")?;
    for row in &rows {
        let fields = Fields::new(row, "transfers", "id")?;
        let heir: TransferId = fields.parse("id")?;
        // Due at once: that is past.
        jobs::nudge(tx, heir, fields.time("updated_at")?).await?;
    }
    Ok(())
}
