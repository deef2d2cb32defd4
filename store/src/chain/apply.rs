//! A block is applied: what in it concerns us becomes rows.

use super::{cursor_on, untraced};
use crate::{
    StoreError, WriteTx, addresses,
    addresses::AddressRecord,
    deposits,
    error::During,
    events,
    halts::{self, HaltCode},
    jobs,
    row::{Fields, to_int, to_json},
    transactions,
};
use bursar_domain::{
    chain::{
        BlockRef, ContractPayment, ContractPayments, Credit, ObservedBlock, ObservedTransaction,
        TransactionOutcome,
    },
    effects::{OutPoint, Resource},
    ids::{TransactionId, TransferId, WalletId},
    network::Network,
    package::UnsignedTransaction,
    time::Timestamp,
    wallet::{Branch, WalletDescriptor},
};
use serde_json::json;
use std::collections::BTreeSet;

/// What a block changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Transfers that it concerns; they were nudged.
    pub touched: Vec<TransferId>,
    pub deposits: u32,
    /// Resources of ours that were used by a transaction whose id is none of ours. Someone else can sign with our key, or we
    /// lost what we signed: an alarm. The event `account.foreign_spend` tells it, and the account is halted.
    pub foreign_spends: Vec<Resource>,
}

/// Applies the next block. Refused with [`StoreError::NotNext`] unless its parent is the cursor.
pub async fn apply_block(
    tx: &mut WriteTx,
    network: Network,
    observed: &ObservedBlock,
    now: Timestamp,
) -> Result<Applied, StoreError> {
    let height = advance(tx, network, observed).await?;
    let at = Place { network, block: &observed.block, height, now };
    let mut applied = Applied::default();
    let mut touched = BTreeSet::new();
    for transaction in &observed.transactions {
        let ours = our_transaction(tx, network, &transaction.tx_id).await?;
        if let Some(ours) = &ours {
            include(tx, &at, ours, transaction).await?;
            touched.extend(carried_by(tx, ours.id).await?);
        }
        for resource in &transaction.spends {
            if let Resource::Utxo(outpoint) = resource {
                spend(tx, &at, outpoint, &transaction.tx_id).await?;
            }
            if ours.is_none() {
                touched.extend(foreign_spend(tx, &at, resource, transaction).await?);
                applied.foreign_spends.push(resource.clone());
            }
        }
        // A transaction that failed moved nothing, whatever is said of it.
        if !matches!(transaction.outcome, TransactionOutcome::Failed { .. }) {
            for credit in &transaction.credits {
                let deposited = receive(tx, &at, &transaction.tx_id, ours.as_ref(), credit).await?;
                applied.deposits += u32::from(deposited);
            }
        }
    }
    match &observed.contract_payments {
        ContractPayments::NotSought => {}
        ContractPayments::Unknown => untraced::record(tx, network, height).await?,
        ContractPayments::Known(payments) => {
            for ContractPayment { tx_id, credit } in payments {
                let ours = our_transaction(tx, network, tx_id).await?;
                applied.deposits += u32::from(receive(tx, &at, tx_id, ours.as_ref(), credit).await?);
            }
        }
    }
    for transfer in &touched {
        jobs::nudge(tx, *transfer, now).await?;
    }
    applied.touched = touched.into_iter().collect();
    Ok(applied)
}

struct Place<'a> {
    network: Network,
    block: &'a BlockRef,
    height: i64,
    now: Timestamp,
}

/// Moves the cursor, compare-and-set, and gives the block's height.
async fn advance(tx: &mut WriteTx, network: Network, observed: &ObservedBlock) -> Result<i64, StoreError> {
    const OPERATION: &str = "chain_cursors.advance";
    let block = &observed.block;
    let height = to_int(OPERATION, block.height)?;
    let moved = sqlx::query(
        "UPDATE chain_cursors SET height = $1, hash = $2 WHERE network = $3 AND height = $4 AND hash = $5",
    )
    .bind(height)
    .bind(block.hash.clone())
    .bind(network.to_string())
    .bind(height - 1)
    .bind(observed.parent_hash.clone())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if moved.rows_affected() == 0 {
        let cursor = cursor_on(tx.connection(), network).await?;
        return Err(StoreError::NotNext { network, cursor, block: block.clone() });
    }
    sqlx::query("INSERT INTO blocks (network, height, hash) VALUES ($1, $2, $3)")
        .bind(network.to_string())
        .bind(height)
        .bind(block.hash.clone())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    Ok(height)
}

/// A signed transaction of ours, and the wallet that pays it.
struct Ours {
    id: TransactionId,
    wallet: WalletDescriptor,
}

async fn our_transaction(
    tx: &mut WriteTx,
    network: Network,
    tx_id: &str,
) -> Result<Option<Ours>, StoreError> {
    let row = sqlx::query("SELECT id, unsigned FROM transactions WHERE network = $1 AND tx_id = $2")
        .bind(network.to_string())
        .bind(tx_id.to_owned())
        .fetch_optional(tx.connection())
        .await
        .during("transactions.by_tx_id")?;
    row.map(|row| {
        let fields = Fields::new(&row, "transactions", "id")?;
        let unsigned: UnsignedTransaction = fields.json("unsigned")?;
        Ok(Ours { id: fields.parse("id")?, wallet: unsigned.wallet })
    })
    .transpose()
}

async fn carried_by(tx: &mut WriteTx, id: TransactionId) -> Result<Vec<TransferId>, StoreError> {
    let rows = sqlx::query("SELECT transfer FROM transfer_transactions WHERE transaction_id = $1")
        .bind(id.to_string())
        .fetch_all(tx.connection())
        .await
        .during("transfer_transactions.carried")?;
    rows.iter().map(|row| Fields::new(row, "transfer_transactions", "transfer")?.parse("transfer")).collect()
}

async fn include(
    tx: &mut WriteTx,
    at: &Place<'_>,
    ours: &Ours,
    transaction: &ObservedTransaction,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE transactions SET block_height = $1, block_hash = $2, outcome = $3, fee = $4 WHERE id = $5",
    )
    .bind(at.height)
    .bind(at.block.hash.clone())
    .bind(to_json(&transaction.outcome))
    .bind(transaction.fee.map(|fee| fee.to_string()))
    .bind(ours.id.to_string())
    .execute(tx.connection())
    .await
    .during("transactions.include")?;
    // What was proven dead by blocks that have since gone is alive after all.
    transactions::revive(tx, ours.id).await
}

async fn spend(tx: &mut WriteTx, at: &Place<'_>, outpoint: &OutPoint, tx_id: &str) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE utxos SET spent_height = $1, spent_by = $2 WHERE network = $3 AND outpoint = $4 AND spent_height IS NULL",
    )
    .bind(at.height)
    .bind(tx_id.to_owned())
    .bind(at.network.to_string())
    .bind(outpoint.to_string())
    .execute(tx.connection())
    .await
    .during("utxos.spend")
    .map(|_| ())
}

/// Records a use of our resource that we cannot explain, and gives the transfer that had reserved it.
async fn foreign_spend(
    tx: &mut WriteTx,
    at: &Place<'_>,
    resource: &Resource,
    transaction: &ObservedTransaction,
) -> Result<Option<TransferId>, StoreError> {
    const OPERATION: &str = "foreign_spends.record";
    let tx_id = &transaction.tx_id;
    let row = sqlx::query("SELECT resource, transfer FROM reservations WHERE network = $1 AND resource = $2")
        .bind(at.network.to_string())
        .bind(resource.to_string())
        .fetch_optional(tx.connection())
        .await
        .during(OPERATION)?;
    let transfer: Option<TransferId> =
        row.map(|row| Fields::new(&row, "reservations", "resource")?.parse("transfer")).transpose()?;
    sqlx::query(
        "INSERT INTO foreign_spends (network, resource, tx_id, transfer, height, block_hash, outcome, fee) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (network, resource, tx_id) DO NOTHING",
    )
    .bind(at.network.to_string())
    .bind(resource.to_string())
    .bind(tx_id.clone())
    .bind(transfer.map(|id| id.to_string()))
    .bind(at.height)
    .bind(at.block.hash.clone())
    .bind(to_json(&transaction.outcome))
    .bind(transaction.fee.map(|fee| fee.to_string()))
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    let payload = json!({
        "network": at.network,
        "resource": resource,
        "txId": tx_id,
        "transferId": transfer,
        "block": at.block,
    });
    events::append(tx, "account.foreign_spend", transfer, at.now, &payload).await?;
    let account = account_of(tx, at.network, resource).await?;
    let reason = format!("{resource} was used by {tx_id} in block {}, which is not ours", at.block.height);
    halts::halt(tx, at.network, account.as_deref(), HaltCode::ForeignSpend, &reason, at.now).await?;
    Ok(transfer)
}

/// Whose it is: the account of a number, the wallet of an output. `None`, which is everyone, for an output that we do not know.
async fn account_of(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
) -> Result<Option<String>, StoreError> {
    let outpoint = match resource {
        Resource::Nonce { account, .. }
        | Resource::Sequence { account, .. }
        | Resource::Ticket { account, .. } => return Ok(Some(account.clone())),
        Resource::Utxo(outpoint) => outpoint,
    };
    let row = sqlx::query("SELECT outpoint, wallet FROM utxos WHERE network = $1 AND outpoint = $2")
        .bind(network.to_string())
        .bind(outpoint.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("utxos.owner")?;
    match row {
        None => Ok(None),
        Some(row) => {
            let wallet = Fields::new(&row, "utxos", "outpoint")?.parse("wallet")?;
            Ok(Some(wallet_of(tx, wallet).await?.to_string()))
        }
    }
}

/// Books a credit, and tells whether it is a deposit.
///
/// What a transaction of ours returns to the wallet that pays it is change; so is whatever arrives on a change path, which
/// nobody outside is ever told.
async fn receive(
    tx: &mut WriteTx,
    at: &Place<'_>,
    tx_id: &str,
    ours: Option<&Ours>,
    credit: &Credit,
) -> Result<bool, StoreError> {
    let Some(address) = addresses::find_on(tx.connection(), at.network, &credit.address).await? else {
        return Ok(false);
    };
    if let Some(outpoint) = &credit.outpoint {
        create(tx, at, outpoint, &address, credit).await?;
    }
    let back = match ours {
        Some(ours) => wallet_of(tx, address.wallet).await? == ours.wallet,
        None => false,
    };
    if back || address.path.branch == Branch::Change {
        return Ok(false);
    }
    deposits::record(tx, at.network, address.wallet, at.block, tx_id, credit, at.now).await?;
    Ok(true)
}

async fn wallet_of(tx: &mut WriteTx, wallet: WalletId) -> Result<WalletDescriptor, StoreError> {
    let row = sqlx::query("SELECT id, descriptor FROM wallets WHERE id = $1")
        .bind(wallet.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("wallets.get")?
        .ok_or_else(|| StoreError::NotFound { table: "wallets", key: wallet.to_string() })?;
    Fields::new(&row, "wallets", "id")?.parse("descriptor")
}

async fn create(
    tx: &mut WriteTx,
    at: &Place<'_>,
    outpoint: &OutPoint,
    address: &AddressRecord,
    credit: &Credit,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO utxos (network, outpoint, wallet, address_id, value, height, frozen) VALUES ($1, $2, $3, $4, $5, $6, 0) \
         ON CONFLICT (network, outpoint) DO NOTHING",
    )
    .bind(at.network.to_string())
    .bind(outpoint.to_string())
    .bind(address.wallet.to_string())
    .bind(address.id.to_string())
    .bind(credit.amount.to_string())
    .bind(at.height)
    .execute(tx.connection())
    .await
    .during("utxos.create")
    .map(|_| ())
}
