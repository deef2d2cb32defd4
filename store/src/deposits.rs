//! Money that came in from outside, as the applied blocks say.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    page::{self, Page},
    row::{Fields, to_int},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit},
    ids::{DepositId, WalletId},
    network::Network,
    time::Timestamp,
};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, any::AnyRow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// Follows from network, transaction and position in it: the same deposit has the same id after a reorganisation.
    pub id: DepositId,
    pub network: Network,
    pub wallet: WalletId,
    pub tx_id: String,
    /// Position within the transaction: output index, log index, or 0.
    pub index: u32,
    pub address: String,
    /// XRPL destination tag.
    pub tag: Option<u32>,
    pub asset: Asset,
    /// In the asset's smallest unit.
    pub amount: Amount,
    pub block: BlockRef,
    pub status: DepositStatus,
}

/// How sure a deposit is, by the chain as last seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DepositStatus {
    /// In the newest block.
    Detected,
    /// Blocks follow its own, but that is not final.
    Confirming,
    /// In a final block ([`crate::chain::set_final_height`]).
    Completed,
}

const SELECT: &str = "SELECT d.id, d.position, d.network, d.wallet, d.tx_id, d.credit_index, d.address, d.tag, d.asset, \
                      d.amount, d.height, d.hash, c.height AS tip, c.final_height \
                      FROM deposits d JOIN chain_cursors c ON c.network = d.network";

/// Newest first.
pub async fn list(
    store: &Store,
    wallet: Option<WalletId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Deposit>, StoreError> {
    let before = cursor.map_or(Ok(i64::MAX), |cursor| page::decode("deposits", cursor))?;
    let sql = match wallet {
        Some(_) => {
            format!("{SELECT} WHERE d.position < $1 AND d.wallet = $3 ORDER BY d.position DESC LIMIT $2")
        }
        None => format!("{SELECT} WHERE d.position < $1 ORDER BY d.position DESC LIMIT $2"),
    };
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(before).bind(page::fetch(limit));
    if let Some(wallet) = wallet {
        query = query.bind(wallet.to_string());
    }
    let rows = query.fetch_all(&mut *store.reader().await?).await.during("deposits.list")?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let page = Page::cut(items, limit, "deposits", |(position, _)| position.to_string());
    let items = page.items.into_iter().map(|(_, deposit)| deposit).collect();
    Ok(Page { items, next: page.next })
}

/// Records a credit from outside, with the event `deposit.detected`.
pub(crate) async fn record(
    tx: &mut WriteTx,
    network: Network,
    wallet: WalletId,
    block: &BlockRef,
    tx_id: &str,
    credit: &Credit,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "deposits.record";
    let id = deposit_id(network, tx_id, credit);
    let payload = json!({
        "depositId": id,
        "walletId": wallet,
        "network": network,
        "txId": tx_id,
        "index": credit.index,
        "address": credit.address,
        "tag": credit.tag,
        "asset": credit.asset,
        "amount": credit.amount,
        "block": block,
    });
    let position = events::append_numbered(tx, "deposit.detected", None, now, &payload).await?;
    sqlx::query(
        "INSERT INTO deposits (id, position, network, wallet, tx_id, credit_index, address, tag, asset, amount, height, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(id.to_string())
    .bind(position)
    .bind(network.to_string())
    .bind(wallet.to_string())
    .bind(tx_id.to_owned())
    .bind(i64::from(credit.index))
    .bind(credit.address.clone())
    .bind(credit.tag.map(i64::from))
    .bind(credit.asset.to_string())
    .bind(credit.amount.to_string())
    .bind(to_int(OPERATION, block.height)?)
    .bind(block.hash.clone())
    .execute(tx.connection())
    .await
    .during(OPERATION)
    .map(|_| ())
}

/// Takes back the deposits above a height, each with the event `deposit.reverted`, or the alarm `deposit.completed_reverted` where
/// it had been final. To be called before the cursor goes back.
pub(crate) async fn revert_above(
    tx: &mut WriteTx,
    network: Network,
    height: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "deposits.revert";
    let rows = sqlx::query(
        "DELETE FROM deposits WHERE network = $1 AND height > $2 \
         RETURNING id, wallet, tx_id, credit_index, asset, amount, height, hash",
    )
    .bind(network.to_string())
    .bind(height)
    .fetch_all(tx.connection())
    .await
    .during(OPERATION)?;
    let final_height: Option<i64> =
        sqlx::query("SELECT network, final_height FROM chain_cursors WHERE network = $1")
            .bind(network.to_string())
            .fetch_optional(tx.connection())
            .await
            .during(OPERATION)?
            .map(|row| Fields::new(&row, "chain_cursors", "network")?.int("final_height"))
            .transpose()?;
    for row in &rows {
        let fields = Fields::new(row, "deposits", "id")?;
        let was_final =
            final_height.is_some_and(|height| fields.int("height").is_ok_and(|own| own <= height));
        let kind = if was_final { "deposit.completed_reverted" } else { "deposit.reverted" };
        let payload = json!({
            "depositId": fields.parse::<DepositId>("id")?,
            "walletId": fields.parse::<WalletId>("wallet")?,
            "network": network,
            "txId": fields.text("tx_id")?,
            "index": fields.number::<u32>("credit_index")?,
            "asset": fields.text("asset")?,
            "amount": fields.text("amount")?,
            "block": BlockRef { height: fields.number("height")?, hash: fields.text("hash")? },
        });
        events::append(tx, kind, None, now, &payload).await?;
    }
    Ok(())
}

fn deposit_id(network: Network, tx_id: &str, credit: &Credit) -> DepositId {
    let name = format!("{network}/{tx_id}/{}/{}/{}", credit.asset, credit.address, credit.index);
    let digest: [u8; 32] = Sha256::digest(name.as_bytes()).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    DepositId::new(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

fn decode(row: &AnyRow) -> Result<(i64, Deposit), StoreError> {
    let fields = Fields::new(row, "deposits", "id")?;
    let block = BlockRef { height: fields.number("height")?, hash: fields.text("hash")? };
    let status = if block.height <= fields.number::<u64>("final_height")? {
        DepositStatus::Completed
    } else if block.height < fields.number::<u64>("tip")? {
        DepositStatus::Confirming
    } else {
        DepositStatus::Detected
    };
    let deposit = Deposit {
        id: fields.parse("id")?,
        network: fields.parse("network")?,
        wallet: fields.parse("wallet")?,
        tx_id: fields.text("tx_id")?,
        index: fields.number("credit_index")?,
        address: fields.text("address")?,
        tag: fields.number_opt("tag")?,
        asset: fields.parse("asset")?,
        amount: fields.parse("amount")?,
        block,
        status,
    };
    Ok((fields.int("position")?, deposit))
}
