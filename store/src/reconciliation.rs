//! The store's side of a reconciliation: what it says of a range of blocks, and how far one found nothing wrong.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    row::{Fields, to_int},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::BlockRef,
    effects::OutPoint,
    ids::{TransactionId, TransferId},
    network::Network,
    time::Timestamp,
    wallet::{Branch, WalletDescriptor},
};
use serde_json::json;
use sqlx::any::AnyRow;
use std::{fmt::Display, str::FromStr};

fn ids<T: FromStr<Err: Display>>(rows: &[AnyRow], table: &'static str) -> Result<Vec<T>, StoreError> {
    rows.iter().map(|row| Fields::new(row, table, "id")?.parse("id")).collect()
}

/// An address and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurAddress {
    pub address: String,
    pub wallet: WalletDescriptor,
    pub branch: Branch,
}

pub async fn addresses(store: &Store, network: Network) -> Result<Vec<OurAddress>, StoreError> {
    let rows = sqlx::query(
        "SELECT a.id, a.address, a.branch, w.descriptor FROM addresses a JOIN wallets w ON w.id = a.wallet \
         WHERE a.network = $1 ORDER BY a.id",
    )
    .bind(network.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("addresses.reconcile")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "addresses", "id")?;
            let branch = if fields.flag("branch")? { Branch::Change } else { Branch::Receive };
            Ok(OurAddress { address: fields.text("address")?, wallet: fields.parse("descriptor")?, branch })
        })
        .collect()
}

/// Transactions of ours that these blocks hold, as the follower saw it.
pub async fn included(
    store: &Store,
    network: Network,
    first: u64,
    last: u64,
) -> Result<Vec<TransactionId>, StoreError> {
    const OPERATION: &str = "transactions.reconcile";
    let rows = sqlx::query(
        "SELECT id FROM transactions WHERE network = $1 AND block_height >= $2 AND block_height <= $3 ORDER BY block_height, id",
    )
    .bind(network.to_string())
    .bind(to_int(OPERATION, first)?)
    .bind(to_int(OPERATION, last)?)
    .fetch_all(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    ids(&rows, "transactions")
}

/// Transactions of ours that are signed, and not final.
pub async fn under_way(store: &Store, network: Network) -> Result<Vec<TransactionId>, StoreError> {
    let rows = sqlx::query(
        "SELECT id FROM transactions WHERE network = $1 AND tx_id IS NOT NULL AND finalized_at IS NULL AND ended IS NULL",
    )
    .bind(network.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("transactions.under_way")?;
    ids(&rows, "transactions")
}

pub async fn by_tx_id(
    store: &Store,
    network: Network,
    tx_id: &str,
) -> Result<Option<TransactionId>, StoreError> {
    sqlx::query("SELECT id FROM transactions WHERE network = $1 AND tx_id = $2")
        .bind(network.to_string())
        .bind(tx_id.to_owned())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("transactions.by_tx_id")?
        .map(|row| Fields::new(&row, "transactions", "id")?.parse("id"))
        .transpose()
}

/// A deposit as it was booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    pub tx_id: String,
    pub address: String,
    pub asset: Asset,
    pub amount: Amount,
    /// [`bursar_domain::chain::Credit::index`].
    pub index: u32,
}

pub async fn deposits(
    store: &Store,
    network: Network,
    first: u64,
    last: u64,
) -> Result<Vec<Booked>, StoreError> {
    const OPERATION: &str = "deposits.reconcile";
    let rows = sqlx::query(
        "SELECT id, tx_id, address, asset, amount, credit_index FROM deposits WHERE network = $1 AND height >= $2 AND height <= $3 \
         ORDER BY position",
    )
    .bind(network.to_string())
    .bind(to_int(OPERATION, first)?)
    .bind(to_int(OPERATION, last)?)
    .fetch_all(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "deposits", "id")?;
            Ok(Booked {
                tx_id: fields.text("tx_id")?,
                address: fields.text("address")?,
                asset: fields.parse("asset")?,
                amount: fields.parse("amount")?,
                index: fields.number("credit_index")?,
            })
        })
        .collect()
}

/// An output of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    pub outpoint: OutPoint,
    pub wallet: WalletDescriptor,
    pub value: Amount,
}

/// The outputs that were unspent after the block at `height`.
pub async fn unspent_at(store: &Store, network: Network, height: u64) -> Result<Vec<Output>, StoreError> {
    const OPERATION: &str = "utxos.reconcile";
    let rows = sqlx::query(
        "SELECT u.outpoint, u.value, w.descriptor FROM utxos u JOIN wallets w ON w.id = u.wallet \
         WHERE u.network = $1 AND u.height <= $2 AND (u.spent_height IS NULL OR u.spent_height > $2)",
    )
    .bind(network.to_string())
    .bind(to_int(OPERATION, height)?)
    .fetch_all(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "utxos", "outpoint")?;
            Ok(Output {
                outpoint: fields.parse("outpoint")?,
                wallet: fields.parse("descriptor")?,
                value: fields.parse("value")?,
            })
        })
        .collect()
}

/// Transfers that are said to be COMPLETED although none of their transactions is in a block.
pub async fn completed_without_block(store: &Store, network: Network) -> Result<Vec<TransferId>, StoreError> {
    let rows = sqlx::query(
        "SELECT t.id FROM transfers t WHERE t.network = $1 AND t.status = 'COMPLETED' AND NOT EXISTS (\
         SELECT 1 FROM transfer_transactions tt JOIN transactions x ON x.id = tt.transaction_id \
         WHERE tt.transfer = t.id AND x.block_height IS NOT NULL) ORDER BY t.id",
    )
    .bind(network.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("transfers.reconcile")?;
    ids(&rows, "transfers")
}

/// The first block of which anything is kept. (The follower begins after the first block that it keeps.)
pub async fn first_height(store: &Store, network: Network) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "SELECT 'first' AS name, MIN(height) AS height FROM (\
         SELECT MIN(height) + 1 AS height FROM blocks WHERE network = $1 UNION ALL \
         SELECT MIN(height) FROM deposits WHERE network = $1 UNION ALL \
         SELECT MIN(height) FROM utxos WHERE network = $1 UNION ALL \
         SELECT MIN(block_height) FROM transactions WHERE network = $1) AS heights",
    )
    .bind(network.to_string())
    .fetch_one(&mut *store.reader().await?)
    .await
    .during("blocks.first")?;
    Fields::new(&row, "blocks", "name")?.number_opt("height")
}

/// How far the last reconciliation without a break came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciled {
    pub block: BlockRef,
    pub at: Timestamp,
    /// What each account had after it, as the chain said.
    pub balances: Vec<Balance>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    pub address: String,
    pub asset: Asset,
    pub amount: Amount,
}

pub async fn reconciled(store: &Store, network: Network) -> Result<Option<Reconciled>, StoreError> {
    const OPERATION: &str = "reconciliations.get";
    let mut connection = store.reader().await?;
    let row = sqlx::query("SELECT network, height, hash, at FROM reconciliations WHERE network = $1")
        .bind(network.to_string())
        .fetch_optional(&mut *connection)
        .await
        .during(OPERATION)?;
    let Some(row) = row else { return Ok(None) };
    let rows = sqlx::query("SELECT address, asset, amount FROM reconciled_balances WHERE network = $1")
        .bind(network.to_string())
        .fetch_all(&mut *connection)
        .await
        .during(OPERATION)?;
    let balances = rows.iter().map(|row| {
        let fields = Fields::new(row, "reconciled_balances", "address")?;
        Ok(Balance {
            address: fields.text("address")?,
            asset: fields.parse("asset")?,
            amount: fields.parse("amount")?,
        })
    });
    let fields = Fields::new(&row, "reconciliations", "network")?;
    Ok(Some(Reconciled {
        block: BlockRef { height: fields.number("height")?, hash: fields.text("hash")? },
        at: fields.time("at")?,
        balances: balances.collect::<Result<_, StoreError>>()?,
    }))
}

/// Keeps how far a reconciliation without a break came. It never goes back.
pub async fn record(tx: &mut WriteTx, network: Network, reconciled: &Reconciled) -> Result<(), StoreError> {
    const OPERATION: &str = "reconciliations.record";
    let height = to_int(OPERATION, reconciled.block.height)?;
    let kept = sqlx::query(
        "INSERT INTO reconciliations (network, height, hash, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (network) DO UPDATE SET height = excluded.height, hash = excluded.hash, at = excluded.at \
         WHERE reconciliations.height <= excluded.height",
    )
    .bind(network.to_string())
    .bind(height)
    .bind(reconciled.block.hash.clone())
    .bind(reconciled.at.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if kept.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM reconciled_balances WHERE network = $1")
        .bind(network.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    for balance in &reconciled.balances {
        sqlx::query(
            "INSERT INTO reconciled_balances (network, address, asset, amount) VALUES ($1, $2, $3, $4)",
        )
        .bind(network.to_string())
        .bind(balance.address.clone())
        .bind(balance.asset.to_string())
        .bind(balance.amount.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    }
    Ok(())
}

/// What a reconciliation found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome<'a> {
    pub first: u64,
    pub last: &'a BlockRef,
    pub breaks: usize,
    pub warnings: usize,
}

/// Tells by the event `reconciliation.finished` that a network was compared.
pub async fn finish(
    tx: &mut WriteTx,
    network: Network,
    outcome: Outcome<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let payload = json!({
        "network": network,
        "first": outcome.first,
        "last": outcome.last,
        "breaks": outcome.breaks,
        "warnings": outcome.warnings,
    });
    events::append(tx, "reconciliation.finished", None, now, &payload).await
}
