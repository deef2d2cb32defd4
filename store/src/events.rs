//! The global, append-only log. It feeds webhooks, SSE and the audit.
//!
//! A reader that has seen sequence `n` never later finds a smaller one that it had not seen: the number comes from a row of
//! `counters` that stays locked until the transaction commits, so numbers become visible in order. SQLite's single writer
//! gives the same; on Postgres the row lock does.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_json},
};
use bursar_domain::{audit::act::Signed, ids::TransferId, time::Timestamp};
use serde_json::Value;
use sqlx::{AnyConnection, any::AnyRow};

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// From 1, without gaps.
    pub sequence: i64,
    /// Such as `transfer.status_changed` or `deposit.detected`.
    pub kind: String,
    pub transfer: Option<TransferId>,
    pub at: Timestamp,
    /// An object with camelCase fields.
    pub payload: Value,
}

pub async fn append(
    tx: &mut WriteTx,
    kind: &str,
    transfer: Option<TransferId>,
    at: Timestamp,
    payload: &Value,
) -> Result<(), StoreError> {
    insert(tx, kind, transfer, at, payload, None).await.map(|_| ())
}

/// As [`append`], of an act that carried this signature.
pub async fn append_signed(
    tx: &mut WriteTx,
    kind: &str,
    transfer: Option<TransferId>,
    at: Timestamp,
    payload: &Value,
    signed: &Signed,
) -> Result<(), StoreError> {
    insert(tx, kind, transfer, at, payload, Some(signed)).await.map(|_| ())
}

/// As [`append`], and tells the sequence.
pub(crate) async fn append_numbered(
    tx: &mut WriteTx,
    kind: &str,
    transfer: Option<TransferId>,
    at: Timestamp,
    payload: &Value,
) -> Result<i64, StoreError> {
    insert(tx, kind, transfer, at, payload, None).await
}

async fn insert(
    tx: &mut WriteTx,
    kind: &str,
    transfer: Option<TransferId>,
    at: Timestamp,
    payload: &Value,
    signed: Option<&Signed>,
) -> Result<i64, StoreError> {
    let sequence = take(tx.connection(), "events", 1).await?;
    sqlx::query("INSERT INTO events (sequence, kind, transfer, at, payload, act, signed) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(sequence)
        .bind(kind.to_owned())
        .bind(transfer.map(|id| id.to_string()))
        .bind(at.micros())
        .bind(to_json(payload))
        .bind(tx.doer().map(|doer| doer.json().to_owned()))
        .bind(signed.map(to_json))
        .execute(tx.connection())
        .await
        .during("events.append")?;
    tx.will_wake_events();
    tx.said().event(kind, payload);
    Ok(sequence)
}

/// Takes `count` numbers from a counter and gives the last of them.
pub(crate) async fn take(
    connection: &mut AnyConnection,
    counter: &'static str,
    count: i64,
) -> Result<i64, StoreError> {
    let row = sqlx::query("UPDATE counters SET value = value + $1 WHERE name = $2 RETURNING name, value")
        .bind(count)
        .bind(counter)
        .fetch_optional(connection)
        .await
        .during("counters.take")?
        .ok_or(StoreError::NotFound { table: "counters", key: counter.into() })?;
    Fields::new(&row, "counters", "name")?.int("value")
}

/// Events after `sequence`, in order.
pub async fn after(store: &Store, sequence: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT sequence, kind, transfer, at, payload FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
    )
    .bind(sequence)
    .bind(i64::from(limit))
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("events.after")?;
    rows.iter().map(decode).collect()
}

/// A transfer's history, in order.
pub async fn of_transfer(store: &Store, id: TransferId) -> Result<Vec<Event>, StoreError> {
    let rows = sqlx::query(
        "SELECT sequence, kind, transfer, at, payload FROM events WHERE transfer = $1 ORDER BY sequence",
    )
    .bind(id.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("events.of_transfer")?;
    rows.iter().map(decode).collect()
}

/// The newest sequence; 0 when nothing has happened.
pub async fn last(store: &Store) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1")
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("events.last")?;
    row.map_or(Ok(0), |row| Fields::new(&row, "events", "sequence")?.int("sequence"))
}

pub(crate) fn decode(row: &AnyRow) -> Result<Event, StoreError> {
    let fields = Fields::new(row, "events", "sequence")?;
    Ok(Event {
        sequence: fields.int("sequence")?,
        kind: fields.text("kind")?,
        transfer: fields.parse_opt("transfer")?,
        at: fields.time("at")?,
        payload: fields.json("payload")?,
    })
}
