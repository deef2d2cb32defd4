//! Transfers: submitted once, then moved by compare-and-set only.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events, jobs,
    page::{self, Page},
    row::{Fields, plain, to_int, to_json},
    transactions, velocity,
};
use bursar_domain::{
    asset::Asset,
    audit::act::Signed,
    ids::{ExternalId, TransferId, WalletId},
    intent::SignedIntent,
    lifecycle::{Flags, Replacing, State, Status, Transfer, Transition},
    network::Network,
    time::Timestamp,
};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::collections::BTreeSet;

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    New,
    /// The same external id was accepted before. The caller compares intent digests: same intent, same answer.
    Existing(Box<Transfer>),
}

/// What became of a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    Applied,
    /// Someone else moved the transfer first. Load it again and decide again; nothing was written.
    Stale,
}

/// Which transfers to list: all that fit every given field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    pub status: Option<Status>,
    pub wallet: Option<WalletId>,
    pub network: Option<Network>,
    pub asset: Option<Asset>,
    pub external_id: Option<ExternalId>,
}

const COLUMNS: &str = "id, external_id, wallet, network, asset, status, has_step, intent, state, sub_status, \
                       reason, flags, replacing, recalls, version, created_at, updated_at";

/// Accepts a transfer: the row, the event `transfer.submitted` and a nudge that is due now, or nothing of these when its
/// external id was accepted before.
pub async fn submit(tx: &mut WriteTx, transfer: &Transfer) -> Result<Submitted, StoreError> {
    const OPERATION: &str = "transfers.submit";
    let intent = &transfer.intent.intent;
    let inserted = sqlx::query(AssertSqlSafe(format!(
        "INSERT INTO transfers ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (external_id) DO NOTHING"
    )))
    .bind(transfer.id.to_string())
    .bind(intent.external_id.to_string())
    .bind(transfer.wallet.to_string())
    .bind(intent.network().to_string())
    .bind(intent.asset.to_string())
    .bind(transfer.status().to_string())
    .bind(i64::from(transfer.state.next_step().is_some()))
    .bind(to_json(&transfer.intent))
    .bind(to_json(&transfer.state))
    .bind(transfer.sub_status.map(|sub| to_json(&sub)))
    .bind(transfer.reason.as_deref().map(plain))
    .bind(to_json(&transfer.flags))
    .bind(to_json(&transfer.replacing))
    .bind(to_json(&transfer.recalls))
    .bind(to_int(OPERATION, transfer.version)?)
    .bind(transfer.created_at.micros())
    .bind(transfer.updated_at.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if inserted.rows_affected() == 0 {
        let existing = by_external_id_on(tx.connection(), &intent.external_id).await?;
        let key = intent.external_id.to_string();
        let existing = existing.ok_or(StoreError::NotFound { table: "transfers", key })?;
        return Ok(Submitted::Existing(Box::new(existing)));
    }
    let payload = json!({
        "transferId": transfer.id,
        "version": transfer.version,
        "to": transfer.status(),
        "externalId": intent.external_id,
        "walletId": transfer.wallet,
        "network": intent.network(),
        "asset": intent.asset,
    });
    let signed = Signed::intent(&transfer.intent);
    let (id, at) = (Some(transfer.id), transfer.created_at);
    events::append_signed(tx, "transfer.submitted", id, at, &payload, &signed).await?;
    jobs::nudge(tx, transfer.id, transfer.updated_at).await?;
    Ok(Submitted::New)
}

/// Writes the next version of a transfer if the one before it is still there, with the event `transfer.status_changed`, and
/// a nudge when a worker must act next.
///
/// A transition to "no signing session began" is refused when more than one session of the transaction is open: the others
/// may have left a signature.
pub async fn save(tx: &mut WriteTx, transition: &Transition) -> Result<Saved, StoreError> {
    const OPERATION: &str = "transfers.save";
    let Transition { transfer, from, recalled } = transition;
    let version = to_int(OPERATION, transfer.version)?;
    let updated = sqlx::query(
        "UPDATE transfers SET status = $1, has_step = $2, state = $3, sub_status = $4, reason = $5, flags = $6, \
         replacing = $7, recalls = $8, version = $9, updated_at = $10 WHERE id = $11 AND version = $12 AND status = $13",
    )
    .bind(transfer.status().to_string())
    .bind(i64::from(transfer.state.next_step().is_some()))
    .bind(to_json(&transfer.state))
    .bind(transfer.sub_status.map(|sub| to_json(&sub)))
    .bind(transfer.reason.as_deref().map(plain))
    .bind(to_json(&transfer.flags))
    .bind(to_json(&transfer.replacing))
    .bind(to_json(&transfer.recalls))
    .bind(version)
    .bind(transfer.updated_at.micros())
    .bind(transfer.id.to_string())
    .bind(version - 1)
    .bind(from.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if updated.rows_affected() == 0 {
        return Ok(Saved::Stale);
    }
    velocity::follow(tx, transfer.id, *from, &transfer.state).await?;
    if let State::PendingSignature { transaction, signing_started: false } = transfer.state {
        transactions::take_back_session(tx, transaction).await?;
        transactions::nothing_may_pay(tx, transfer.id).await?;
    }
    let mut payload = json!({
        "transferId": transfer.id,
        "version": transfer.version,
        "from": from,
        "to": transfer.status(),
        "subStatus": transfer.sub_status,
        "reason": transfer.reason,
        "transactionId": transfer.state.transaction(),
    });
    // What few transfers have is not said of all.
    if transfer.flags != Flags::default() {
        payload["flags"] = json!(transfer.flags);
    }
    if transfer.replacing != Replacing::default() {
        payload["replacing"] = json!(transfer.replacing);
    }
    if !transfer.recalls.is_empty() {
        let recalled: Vec<_> = transfer.recalls.iter().map(|recall| recall.payment).collect();
        payload["recalled"] = json!(recalled);
    }
    let (kind, id, at) = ("transfer.status_changed", Some(transfer.id), transfer.updated_at);
    match recalled {
        None => events::append(tx, kind, id, at, &payload).await?,
        Some(recall) => {
            let signed = Signed::recall(&transfer.intent, recall);
            events::append_signed(tx, kind, id, at, &payload, &signed).await?;
        }
    }
    if transfer.state.next_step().is_some() {
        jobs::nudge(tx, transfer.id, transfer.updated_at).await?;
    }
    Ok(Saved::Applied)
}

/// The alarm `transfer.reopened`: what had ended by a final block goes on, because that block is gone, or because a transaction
/// that was proven dead is in one.
pub async fn reopened(tx: &mut WriteTx, before: &Transfer, after: &Transfer) -> Result<(), StoreError> {
    let payload = json!({
        "transferId": after.id,
        "version": after.version,
        "from": before.status(),
        "to": after.status(),
        "transactionId": before.state.transaction(),
        "block": before.state.ended_in(),
    });
    events::append(tx, "transfer.reopened", Some(after.id), after.updated_at, &payload).await
}

pub async fn get(store: &Store, id: TransferId) -> Result<Option<Transfer>, StoreError> {
    get_on(&mut *store.reader().await?, id).await
}

/// As [`get`], within a transaction: sees what it has written, and on SQLite nobody can move the row before the commit.
pub async fn get_in(tx: &mut WriteTx, id: TransferId) -> Result<Option<Transfer>, StoreError> {
    get_on(tx.connection(), id).await
}

async fn get_on(connection: &mut AnyConnection, id: TransferId) -> Result<Option<Transfer>, StoreError> {
    sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM transfers WHERE id = $1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("transfers.get")?
        .as_ref()
        .map(decode)
        .transpose()
}

pub async fn by_external_id(store: &Store, id: &ExternalId) -> Result<Option<Transfer>, StoreError> {
    by_external_id_on(&mut *store.reader().await?, id).await
}

async fn by_external_id_on(
    connection: &mut AnyConnection,
    id: &ExternalId,
) -> Result<Option<Transfer>, StoreError> {
    sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM transfers WHERE external_id = $1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("transfers.by_external_id")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// Newest first. `cursor` is what the page before said; `limit` is held between 1 and [`page::MAX_LIMIT`].
pub async fn list(
    store: &Store,
    filter: &Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Transfer>, StoreError> {
    let before = cursor.map(|cursor| page::decode::<TransferId>("transfers", cursor)).transpose()?;
    let (sql, values) = list_query(filter, before);
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let rows = query
        .bind(page::fetch(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("transfers.list")?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(items, limit, "transfers", |transfer| transfer.id.to_string()))
}

/// As [`list`], of these wallets; the filter names none. A page asks each of them for one.
pub async fn list_of_wallets(
    store: &Store,
    filter: &Filter,
    wallets: &BTreeSet<WalletId>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Transfer>, StoreError> {
    let mut items = Vec::new();
    for wallet in wallets {
        let filter = Filter { wallet: Some(*wallet), ..filter.clone() };
        items.extend(list(store, &filter, cursor, limit.saturating_add(1)).await?.items);
    }
    items.sort_by_key(|transfer| std::cmp::Reverse(transfer.id));
    Ok(Page::cut(items, limit, "transfers", |transfer| transfer.id.to_string()))
}

/// Only the conditions that are asked for, and of those that have an index the first only is left to it: a planner without
/// statistics would otherwise walk a million transfers of an asset to find the three of a wallet. The status is in each index.
pub(crate) fn list_query(filter: &Filter, before: Option<TransferId>) -> (String, Vec<String>) {
    let indexed = [
        ("external_id", filter.external_id.as_ref().map(|v| v.to_string())),
        ("wallet", filter.wallet.map(|v| v.to_string())),
        ("asset", filter.asset.map(|v| v.to_string())),
        ("network", filter.network.map(|v| v.to_string())),
    ];
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    for (column, value) in indexed {
        let Some(value) = value else { continue };
        values.push(value);
        // An expression is not looked up in an index.
        let operand = if conditions.is_empty() { column.to_owned() } else { format!("{column} || ''") };
        conditions.push(format!("{operand} = ${}", values.len()));
    }
    if let Some(status) = filter.status {
        values.push(status.to_string());
        conditions.push(format!("status = ${}", values.len()));
    }
    if let Some(before) = before {
        values.push(before.to_string());
        conditions.push(format!("id < ${}", values.len()));
    }
    let condition =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let limit = values.len() + 1;
    (format!("SELECT {COLUMNS} FROM transfers {condition} ORDER BY id DESC LIMIT ${limit}"), values)
}

pub(crate) const UNFINISHED: &str = "SELECT id FROM transfers WHERE has_step = 1 AND updated_at < $1 \
     AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.transfer = transfers.id) ORDER BY updated_at, id LIMIT $2";

/// What a worker must act on, has not been touched since then, and has no job: what the reconciler sweeps up. Oldest first.
pub async fn unfinished(
    store: &Store,
    not_touched_since: Timestamp,
    limit: u32,
) -> Result<Vec<TransferId>, StoreError> {
    let rows = sqlx::query(UNFINISHED)
        .bind(not_touched_since.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("transfers.unfinished")?;
    rows.iter().map(|row| Fields::new(row, "transfers", "id")?.parse("id")).collect()
}

/// Oldest first.
pub async fn in_status(
    store: &Store,
    network: Network,
    status: Status,
) -> Result<Vec<TransferId>, StoreError> {
    in_status_on(&mut *store.reader().await?, network, status).await
}

/// [`in_status`], as of this write.
///
/// # Errors
/// [`StoreError`]
pub async fn in_status_in(
    tx: &mut WriteTx,
    network: Network,
    status: Status,
) -> Result<Vec<TransferId>, StoreError> {
    in_status_on(tx.connection(), network, status).await
}

pub(crate) const IN_STATUS: &str = "SELECT id FROM transfers WHERE network = $1 AND status = $2 ORDER BY id";

pub(crate) async fn in_status_on(
    connection: &mut AnyConnection,
    network: Network,
    status: Status,
) -> Result<Vec<TransferId>, StoreError> {
    let rows = sqlx::query(IN_STATUS)
        .bind(network.to_string())
        .bind(status.to_string())
        .fetch_all(connection)
        .await
        .during("transfers.in_status")?;
    rows.iter().map(|row| Fields::new(row, "transfers", "id")?.parse("id")).collect()
}

fn decode(row: &AnyRow) -> Result<Transfer, StoreError> {
    let fields = Fields::new(row, "transfers", "id")?;
    let state: State = fields.json("state")?;
    let intent: SignedIntent = fields.json("intent")?;
    // The columns that queries filter by must say what the values say, or a listing would lie.
    if fields.parse::<Status>("status")? != state.status() {
        return Err(fields.corrupt("status", "differs from the state"));
    }
    if fields.flag("has_step")? != state.next_step().is_some() {
        return Err(fields.corrupt("has_step", "differs from the state"));
    }
    if fields.parse::<ExternalId>("external_id")? != intent.intent.external_id {
        return Err(fields.corrupt("external_id", "differs from the intent"));
    }
    if fields.parse::<Network>("network")? != intent.intent.network() {
        return Err(fields.corrupt("network", "differs from the intent"));
    }
    if fields.parse::<Asset>("asset")? != intent.intent.asset {
        return Err(fields.corrupt("asset", "differs from the intent"));
    }
    Ok(Transfer {
        id: fields.parse("id")?,
        wallet: fields.parse("wallet")?,
        intent,
        state,
        sub_status: fields.json_opt("sub_status")?,
        reason: fields.text_opt("reason")?,
        flags: fields.json("flags")?,
        replacing: fields.json("replacing")?,
        recalls: fields.json("recalls")?,
        version: fields.number("version")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
