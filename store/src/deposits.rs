//! Money that came in from outside, as the applied blocks say; what keeps it from being spent is in [`holds`].

pub mod dispositions;
pub mod holds;

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    page::{self, Page},
    row::{Fields, to_int, to_json},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit},
    effects::OutPoint,
    ids::{DepositId, WalletId},
    network::Network,
    time::Timestamp,
};
use holds::{Hold, HoldState};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::{cmp::Reverse, collections::BTreeSet, fmt, str::FromStr};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deposit {
    /// Follows from network, transaction and position in it: the same deposit has the same id after a reorganisation.
    pub id: DepositId,
    pub network: Network,
    pub wallet: WalletId,
    pub tx_id: String,
    /// Position within the transaction ([`Credit::index`]).
    pub index: u32,
    pub address: String,
    /// [`Credit::from`].
    pub from: Vec<String>,
    /// XRPL destination tag.
    pub tag: Option<u32>,
    pub asset: Asset,
    /// In the asset's smallest unit.
    pub amount: Amount,
    /// The output that it is, on Bitcoin.
    pub outpoint: Option<OutPoint>,
    pub block: BlockRef,
    pub status: DepositStatus,
    /// What screening and compliance said of it. `None`: it is not screened.
    pub hold: Option<Hold>,
}

/// How sure a deposit is, by the chain as last seen, and by what screening and compliance said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DepositStatus {
    /// In the newest block.
    Detected,
    /// Blocks follow its own, but that is not final.
    Confirming,
    /// In a final block ([`crate::chain::set_final_height`]), and not screened yet. It cannot be spent.
    PendingScreening,
    /// In a final block, and cleared or released, or not to be screened.
    Completed,
    /// Held by a screening, an alert, or compliance, wherever its block is. It cannot be spent.
    Frozen,
}

impl DepositStatus {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Detected, "DETECTED"),
        (Self::Confirming, "CONFIRMING"),
        (Self::PendingScreening, "PENDING_SCREENING"),
        (Self::Completed, "COMPLETED"),
        (Self::Frozen, "FROZEN"),
    ];
}
impl fmt::Display for DepositStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(status, _)| status == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be DETECTED, CONFIRMING, PENDING_SCREENING, COMPLETED or FROZEN")]
pub struct InvalidDepositStatus;
impl FromStr for DepositStatus {
    type Err = InvalidDepositStatus;
    fn from_str(text: &str) -> Result<Self, InvalidDepositStatus> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(status, _)| *status).ok_or(InvalidDepositStatus)
    }
}

/// Which deposits to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    pub wallet: Option<WalletId>,
    pub status: Option<DepositStatus>,
}

impl Filter {
    /// As [`decode`] computes it.
    const fn of_status(status: DepositStatus) -> &'static str {
        match status {
            DepositStatus::Frozen => "h.holds = 1 AND h.state IN ('FROZEN', 'ISOLATED')",
            DepositStatus::PendingScreening => {
                "h.holds = 1 AND h.state IN ('NEW', 'ASKED') AND d.height <= c.final_height"
            }
            DepositStatus::Completed => "COALESCE(h.holds, 0) = 0 AND d.height <= c.final_height",
            DepositStatus::Confirming => {
                "COALESCE(h.state, '') NOT IN ('FROZEN', 'ISOLATED') AND d.height > c.final_height AND d.height < c.height"
            }
            DepositStatus::Detected => {
                "COALESCE(h.state, '') NOT IN ('FROZEN', 'ISOLATED') AND d.height > c.final_height AND d.height >= c.height"
            }
        }
    }
}

const SELECT: &str = "SELECT d.id, d.position, d.network, d.wallet, d.tx_id, d.credit_index, d.address, d.senders, d.tag, d.asset, \
                      d.amount, d.outpoint, d.height, d.hash, c.height AS tip, c.final_height, h.state, h.reason, h.since \
                      FROM deposits d JOIN chain_cursors c ON c.network = d.network \
                      LEFT JOIN deposit_holds h ON h.deposit = d.id";

/// Newest first.
pub async fn list(
    store: &Store,
    filter: Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Deposit>, StoreError> {
    Ok(cut(numbered(store, filter, cursor, limit).await?, limit))
}

/// As [`list`], of these wallets; the filter names none. A page asks each of them for one.
pub async fn list_of_wallets(
    store: &Store,
    filter: Filter,
    wallets: &BTreeSet<WalletId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Deposit>, StoreError> {
    let mut items = Vec::new();
    for wallet in wallets {
        let filter = Filter { wallet: Some(*wallet), ..filter };
        items.extend(numbered(store, filter, cursor, limit).await?);
    }
    items.sort_by_key(|(position, _)| Reverse(*position));
    Ok(cut(items, limit))
}

/// What [`cut`] makes a page of: newest first, with their positions.
async fn numbered(
    store: &Store,
    filter: Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Vec<(i64, Deposit)>, StoreError> {
    let before = cursor.map_or(Ok(i64::MAX), |cursor| page::decode("deposits", cursor))?;
    let wallet = filter.wallet.map_or("", |_| " AND d.wallet = $3");
    let status =
        filter.status.map_or_else(String::new, |status| format!(" AND {}", Filter::of_status(status)));
    let sql = format!("{SELECT} WHERE d.position < $1{wallet}{status} ORDER BY d.position DESC LIMIT $2");
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(before).bind(page::fetch(limit));
    if let Some(wallet) = filter.wallet {
        query = query.bind(wallet.to_string());
    }
    let rows = query.fetch_all(&mut *store.reader().await?).await.during("deposits.list")?;
    rows.iter().map(decode).collect()
}

fn cut(items: Vec<(i64, Deposit)>, limit: u32) -> Page<Deposit> {
    let page = Page::cut(items, limit, "deposits", |(position, _)| position.to_string());
    Page { items: page.items.into_iter().map(|(_, deposit)| deposit).collect(), next: page.next }
}

pub async fn get(store: &Store, id: DepositId) -> Result<Option<Deposit>, StoreError> {
    get_on(&mut *store.reader().await?, id).await
}

/// As [`get`], within a transaction.
pub async fn get_in(tx: &mut WriteTx, id: DepositId) -> Result<Option<Deposit>, StoreError> {
    get_on(tx.connection(), id).await
}

async fn get_on(connection: &mut AnyConnection, id: DepositId) -> Result<Option<Deposit>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!("{SELECT} WHERE d.id = $1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("deposits.get")?;
    row.as_ref().map(|row| decode(row).map(|(_, deposit)| deposit)).transpose()
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
        "from": credit.from,
        "tag": credit.tag,
        "asset": credit.asset,
        "amount": credit.amount,
        "block": block,
    });
    let position = events::append_numbered(tx, "deposit.detected", None, now, &payload).await?;
    sqlx::query(
        "INSERT INTO deposits (id, position, network, wallet, tx_id, credit_index, address, tag, asset, amount, height, hash, outpoint, \
         senders) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
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
    .bind(credit.outpoint.as_ref().map(ToString::to_string))
    .bind((!credit.from.is_empty()).then(|| to_json(&credit.from)))
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    // What was said of it before a reorganisation took it away.
    if let Some(outpoint) = &credit.outpoint
        && holds::get_in(tx, id).await?.is_some_and(|hold| hold.state.holds())
    {
        holds::freeze_output(tx, network, outpoint, true).await?;
    }
    Ok(())
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
    let hold = fields.parse_opt("state")?.map(|state| holds::decode(&fields, state)).transpose()?;
    let state = hold.as_ref().map(|hold: &Hold| hold.state);
    let status = if matches!(state, Some(HoldState::Frozen | HoldState::Isolated)) {
        DepositStatus::Frozen
    } else if block.height <= fields.number::<u64>("final_height")? {
        match state.is_some_and(HoldState::holds) {
            true => DepositStatus::PendingScreening,
            false => DepositStatus::Completed,
        }
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
        from: fields.json_opt("senders")?.unwrap_or_default(),
        tag: fields.number_opt("tag")?,
        asset: fields.parse("asset")?,
        amount: fields.parse("amount")?,
        outpoint: fields.parse_opt("outpoint")?,
        block,
        status,
        hold,
    };
    Ok((fields.int("position")?, deposit))
}
