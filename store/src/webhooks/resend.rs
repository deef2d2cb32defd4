//! Events that an endpoint is told once more.

use super::EndpointId;
use crate::{StoreError, WriteTx, error::During, events, row::Fields};
use bursar_domain::{
    ids::{DepositId, TransferId},
    time::Timestamp,
};
use serde_json::json;
use std::collections::BTreeSet;

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Event(i64),
    Transfer(TransferId),
    Deposit(DepositId),
    /// From the first time on, before the second, as the log is ordered.
    Between(Timestamp, Timestamp),
}

/// The most that one request may ask for.
pub const MAX_RESENT: usize = 1000;

/// Has the endpoint told these events again, with the event `webhook.resent`, whether it wants their kinds or not is for `wants` to say. How many they are; `None`: more
/// than `MAX_RESENT`, and nothing was done.
pub async fn resend(
    tx: &mut WriteTx,
    id: &EndpointId,
    asked: Asked,
    wants: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Option<usize>, StoreError> {
    let Some(found) = find(tx, asked).await? else { return Ok(None) };
    let sequences: BTreeSet<i64> =
        found.into_iter().filter(|(_, kind)| wants(kind)).map(|(sequence, _)| sequence).collect();
    if sequences.len() > MAX_RESENT {
        return Ok(None);
    }
    for sequence in &sequences {
        sqlx::query(
            "INSERT INTO webhook_deliveries (endpoint, sequence, state, attempts, tries, next_try, updated_at) \
             VALUES ($1, $2, 'PENDING', 0, 0, $3, $3) ON CONFLICT (endpoint, sequence) DO UPDATE SET \
             state = 'PENDING', tries = 0, next_try = excluded.next_try, updated_at = excluded.updated_at",
        )
        .bind(id.to_string())
        .bind(*sequence)
        .bind(now.micros())
        .execute(tx.connection())
        .await
        .during("webhook_deliveries.resend")?;
    }
    if !sequences.is_empty() {
        tx.will_wake_events();
        let what = match asked {
            Asked::Event(sequence) => json!({ "sequence": sequence }),
            Asked::Transfer(id) => json!({ "transferId": id }),
            Asked::Deposit(id) => json!({ "depositId": id }),
            Asked::Between(from, until) => json!({ "from": from.micros(), "until": until.micros() }),
        };
        let payload = json!({ "webhookId": id.as_str(), "asked": what, "events": sequences.len() });
        events::append(tx, "webhook.resent", None, now, &payload).await?;
    }
    Ok(Some(sequences.len()))
}

type Found = Vec<(i64, String)>;

/// The log is looked at over at most this many events, so that one request does not hold the database for long.
const MAX_LOOKED_AT: i64 = 20_000;

async fn find(tx: &mut WriteTx, asked: Asked) -> Result<Option<Found>, StoreError> {
    const OPERATION: &str = "events.find";
    let rows = match asked {
        Asked::Event(sequence) => sqlx::query("SELECT sequence, kind FROM events WHERE sequence = $1")
            .bind(sequence)
            .fetch_all(tx.connection())
            .await
            .during(OPERATION)?,
        Asked::Transfer(transfer) => {
            sqlx::query("SELECT sequence, kind FROM events WHERE transfer = $1 ORDER BY sequence LIMIT 2000")
                .bind(transfer.to_string())
                .fetch_all(tx.connection())
                .await
                .during(OPERATION)?
        }
        Asked::Deposit(deposit) => return of_deposit(tx, deposit).await.map(Some),
        Asked::Between(from, until) => {
            let last = last(tx).await?;
            let (first, end) = (at_or_after(tx, from, last).await?, at_or_after(tx, until, last).await?);
            if end - first > MAX_LOOKED_AT {
                return Ok(None);
            }
            sqlx::query(
                "SELECT sequence, kind FROM events WHERE sequence >= $1 AND sequence < $2 ORDER BY sequence",
            )
            .bind(first)
            .bind(end)
            .fetch_all(tx.connection())
            .await
            .during(OPERATION)?
        }
    };
    let mut found = Found::new();
    for row in &rows {
        let fields = Fields::new(row, "events", "sequence")?;
        found.push((fields.int("sequence")?, fields.text("kind")?));
    }
    Ok(Some(found))
}

/// What was told of a deposit lies at or after the event that detected it, and names it. At most [`MAX_LOOKED_AT`] events are looked at.
async fn of_deposit(tx: &mut WriteTx, deposit: DepositId) -> Result<Found, StoreError> {
    const OPERATION: &str = "events.of_deposit";
    let row = sqlx::query("SELECT id, position FROM deposits WHERE id = $1")
        .bind(deposit.to_string())
        .fetch_optional(tx.connection())
        .await
        .during(OPERATION)?;
    let first = match row {
        Some(row) => Fields::new(&row, "deposits", "id")?.int("position")?,
        // It was taken back; its events are there still, not long ago.
        None => last(tx).await?.saturating_sub(MAX_LOOKED_AT),
    };
    let rows = sqlx::query(
        "SELECT sequence, kind FROM events WHERE sequence >= $1 AND sequence < $2 AND kind LIKE 'deposit.%' \
         AND payload LIKE $3 ORDER BY sequence LIMIT 100",
    )
    .bind(first)
    .bind(first.saturating_add(MAX_LOOKED_AT))
    .bind(format!("%\"depositId\":\"{deposit}\"%"))
    .fetch_all(tx.connection())
    .await
    .during(OPERATION)?;
    let found = rows.iter().map(|row| {
        let fields = Fields::new(row, "events", "sequence")?;
        Ok((fields.int("sequence")?, fields.text("kind")?))
    });
    found.collect()
}

async fn last(tx: &mut WriteTx) -> Result<i64, StoreError> {
    let row = sqlx::query("SELECT sequence FROM events ORDER BY sequence DESC LIMIT 1")
        .fetch_optional(tx.connection())
        .await
        .during("events.last")?;
    row.map_or(Ok(0), |row| Fields::new(&row, "events", "sequence")?.int("sequence"))
}

/// The first event that happened at `at` or later, by halving; one after `last` if there is none. Clocks of several processes may differ
/// by a little, and so may where the log is cut.
async fn at_or_after(tx: &mut WriteTx, at: Timestamp, last: i64) -> Result<i64, StoreError> {
    let (mut low, mut high) = (1, last + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        let row = sqlx::query("SELECT sequence, at FROM events WHERE sequence = $1")
            .bind(middle)
            .fetch_optional(tx.connection())
            .await
            .during("events.at_or_after")?;
        let earlier = match row {
            Some(row) => Fields::new(&row, "events", "sequence")?.time("at")? < at,
            None => true,
        };
        match earlier {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    Ok(low)
}
