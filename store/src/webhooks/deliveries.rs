//! What endpoints are told: one row for each event and endpoint, and one for each try.

use super::EndpointId;
use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events::{self, Event},
    page::{self, Page},
    row::{Fields, plain},
};
use bursar_domain::time::Timestamp;
use sqlx::any::AnyRow;
use std::{collections::BTreeMap, fmt, str::FromStr};

/// The most that waits for one endpoint, besides what was asked for again: beyond it, its position in the log stands still.
pub const MAX_PENDING: usize = 500;

/// How a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    Pending,
    Delivered,
    /// Every try failed, or the endpoint was removed or replaced. It can be asked for again.
    GivenUp,
}

impl DeliveryState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Delivered => "DELIVERED",
            Self::GivenUp => "GIVEN_UP",
        }
    }
}
impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be PENDING, DELIVERED or GIVEN_UP")]
pub struct InvalidDeliveryState;
impl FromStr for DeliveryState {
    type Err = InvalidDeliveryState;
    fn from_str(text: &str) -> Result<Self, InvalidDeliveryState> {
        let all = [Self::Pending, Self::Delivered, Self::GivenUp];
        all.into_iter().find(|state| state.name() == text).ok_or(InvalidDeliveryState)
    }
}

/// An event that an endpoint is to be told now.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    pub event: Event,
    /// Tries so far, ever.
    pub attempts: u32,
    /// Tries since it was last asked for.
    pub tries: u32,
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub attempt: u32,
    pub at: Timestamp,
    /// `DELIVERED`, or why not, such as `STATUS` or `TIMEOUT`.
    pub outcome: String,
    /// Of the HTTP answer.
    pub status: Option<u16>,
    /// How the answer began, or what went wrong instead.
    pub answer: Option<String>,
    pub took_ms: u32,
}

/// What follows from a try for the delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    /// It is tried again at this time.
    Again(Timestamp),
    GivenUp,
}

/// An event for an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub sequence: i64,
    /// The event's.
    pub kind: String,
    pub state: DeliveryState,
    pub next_try: Option<Timestamp>,
    pub updated_at: Timestamp,
    /// Oldest first; as many as are kept.
    pub attempts: Vec<Attempt>,
}

/// Moves the endpoint on from `from` to `to`, and has it told the events of these sequences. `false`: somebody else moved it, or it is
/// disabled; then nothing was done.
pub async fn schedule(
    tx: &mut WriteTx,
    id: &EndpointId,
    from: i64,
    to: i64,
    sequences: &[i64],
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "webhook_deliveries.schedule";
    let moved = sqlx::query(
        "UPDATE webhook_endpoints SET position = $1 WHERE id = $2 AND position = $3 AND state = 'ENABLED'",
    )
    .bind(to)
    .bind(id.to_string())
    .bind(from)
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for sequence in sequences {
        sqlx::query(
            "INSERT INTO webhook_deliveries (endpoint, sequence, state, attempts, tries, next_try, updated_at) \
             VALUES ($1, $2, 'PENDING', 0, 0, $3, $3) ON CONFLICT (endpoint, sequence) DO NOTHING",
        )
        .bind(id.to_string())
        .bind(*sequence)
        .bind(now.micros())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    }
    Ok(true)
}

/// How many wait, counted up to [`MAX_PENDING`].
pub async fn pending(store: &Store, id: &EndpointId) -> Result<usize, StoreError> {
    let rows = sqlx::query(PENDING)
        .bind(id.to_string())
        .bind(MAX_PENDING as i64)
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("webhook_deliveries.pending")?;
    Ok(rows.len())
}

pub(crate) const PENDING: &str =
    "SELECT sequence FROM webhook_deliveries WHERE endpoint = $1 AND state = 'PENDING' LIMIT $2";

pub(crate) const DUE: &str = "SELECT d.attempts, d.tries, e.sequence, e.kind, e.transfer, e.at, e.payload FROM webhook_deliveries d \
     JOIN events e ON e.sequence = d.sequence WHERE d.endpoint = $1 AND d.state = 'PENDING' AND d.next_try <= $2 \
     ORDER BY d.next_try, d.sequence LIMIT $3";

/// What an endpoint is to be told now, in the order in which it became due: what was never tried in the order of the log.
pub async fn due(
    store: &Store,
    id: &EndpointId,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let rows = sqlx::query(DUE)
        .bind(id.to_string())
        .bind(now.micros())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("webhook_deliveries.due")?;
    let decode = |row: &AnyRow| {
        let fields = Fields::new(row, "webhook_deliveries", "sequence")?;
        Ok(Due {
            event: events::decode(row)?,
            attempts: fields.number("attempts")?,
            tries: fields.number("tries")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// When something of this endpoint is due next.
pub async fn next_due(store: &Store, id: &EndpointId) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(NEXT)
        .bind(id.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("webhook_deliveries.next")?;
    row.map(|row| Fields::new(&row, "webhook_deliveries", "endpoint")?.time("next_try")).transpose()
}

pub(crate) const NEXT: &str = "SELECT endpoint, next_try FROM webhook_deliveries WHERE endpoint = $1 AND state = 'PENDING' \
     ORDER BY next_try, sequence LIMIT 1";

/// When the oldest event happened that this endpoint has not been told.
pub async fn oldest(store: &Store, id: &EndpointId) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(OLDEST)
        .bind(id.to_string())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("webhook_deliveries.oldest")?;
    row.map(|row| Fields::new(&row, "webhook_deliveries", "sequence")?.time("at")).transpose()
}

pub(crate) const OLDEST: &str = "SELECT e.sequence, e.at FROM webhook_deliveries d JOIN events e ON e.sequence = d.sequence \
     WHERE d.endpoint = $1 AND d.state = 'PENDING' ORDER BY d.sequence LIMIT 1";

/// Writes down what came of a try, and what follows for the delivery. What is delivered stays so, whatever comes later of another try.
/// `false`: there is no such delivery any more.
pub async fn record(
    tx: &mut WriteTx,
    id: &EndpointId,
    sequence: i64,
    attempt: &Attempt,
    next: Next,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "webhook_deliveries.record";
    let (state, next_try) = match next {
        Next::Delivered => (DeliveryState::Delivered, None),
        Next::Again(at) => (DeliveryState::Pending, Some(at)),
        Next::GivenUp => (DeliveryState::GivenUp, None),
    };
    // Of two processes that tried at once, both tries count.
    let row = sqlx::query(
        "UPDATE webhook_deliveries SET attempts = attempts + 1, tries = tries + 1, updated_at = $1, \
         state = CASE WHEN state = 'PENDING' OR $2 = 'DELIVERED' THEN $2 ELSE state END, \
         next_try = CASE WHEN state = 'PENDING' THEN $3 ELSE next_try END \
         WHERE endpoint = $4 AND sequence = $5 RETURNING sequence, attempts",
    )
    .bind(attempt.at.micros())
    .bind(state.name())
    .bind(next_try.map(Timestamp::micros))
    .bind(id.to_string())
    .bind(sequence)
    .fetch_optional(tx.connection())
    .await
    .during(OPERATION)?;
    let Some(row) = row else { return Ok(false) };
    let number = Fields::new(&row, "webhook_deliveries", "sequence")?.int("attempts")?;
    sqlx::query(
        "INSERT INTO webhook_attempts (endpoint, sequence, attempt, at, outcome, status, answer, took_ms) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (endpoint, sequence, attempt) DO NOTHING",
    )
    .bind(id.to_string())
    .bind(sequence)
    .bind(number)
    .bind(attempt.at.micros())
    .bind(attempt.outcome.clone())
    .bind(attempt.status.map(i64::from))
    .bind(attempt.answer.as_deref().map(plain))
    .bind(i64::from(attempt.took_ms))
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    Ok(true)
}

/// Writes down that an endpoint took something.
pub async fn went_well(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, rests_until = $1, delivered_at = $1 WHERE id = $2",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.went_well")
    .map(|_| ())
}

/// Writes down that an endpoint did not take something, and until when it rests.
pub async fn failed(
    tx: &mut WriteTx,
    id: &EndpointId,
    rests_until: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_endpoints SET failures = failures + 1, failing_since = COALESCE(failing_since, $1), rests_until = $2 \
         WHERE id = $3",
    )
    .bind(now.micros())
    .bind(rests_until.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.failed")
    .map(|_| ())
}

pub(super) async fn give_up_all(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_deliveries SET state = 'GIVEN_UP', next_try = NULL, updated_at = $1 \
         WHERE endpoint = $2 AND state = 'PENDING'",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_deliveries.give_up_all")
    .map(|_| ())
}

pub(super) async fn try_all_now(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_deliveries SET tries = 0, next_try = $1 WHERE endpoint = $2 AND state = 'PENDING'",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_deliveries.try_all_now")
    .map(|_| ())
}

/// What an endpoint was or is to be told, newest event first.
pub async fn list(
    store: &Store,
    id: &EndpointId,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Delivery>, StoreError> {
    const OPERATION: &str = "webhook_deliveries.list";
    let before: i64 = cursor.map_or(Ok(i64::MAX), |cursor| page::decode("webhook_deliveries", cursor))?;
    let mut reader = store.reader().await?;
    let rows = sqlx::query(
        "SELECT d.sequence, d.state, d.next_try, d.updated_at, e.kind FROM webhook_deliveries d \
         JOIN events e ON e.sequence = d.sequence WHERE d.endpoint = $1 AND d.sequence < $2 \
         ORDER BY d.sequence DESC LIMIT $3",
    )
    .bind(id.to_string())
    .bind(before)
    .bind(page::fetch(limit))
    .fetch_all(&mut *reader)
    .await
    .during(OPERATION)?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    let mut page =
        Page::cut(items, limit, "webhook_deliveries", |delivery: &Delivery| delivery.sequence.to_string());
    let (Some(newest), Some(oldest)) = (page.items.first(), page.items.last()) else { return Ok(page) };
    let rows = sqlx::query(
        "SELECT sequence, attempt, at, outcome, status, answer, took_ms FROM webhook_attempts \
         WHERE endpoint = $1 AND sequence BETWEEN $2 AND $3 ORDER BY sequence, attempt",
    )
    .bind(id.to_string())
    .bind(oldest.sequence)
    .bind(newest.sequence)
    .fetch_all(&mut *reader)
    .await
    .during(OPERATION)?;
    let mut attempts = BTreeMap::<i64, Vec<Attempt>>::new();
    for row in &rows {
        let fields = Fields::new(row, "webhook_attempts", "sequence")?;
        attempts.entry(fields.int("sequence")?).or_default().push(Attempt {
            attempt: fields.number("attempt")?,
            at: fields.time("at")?,
            outcome: fields.text("outcome")?,
            status: fields.number_opt("status")?,
            answer: fields.text_opt("answer")?,
            took_ms: fields.number("took_ms")?,
        });
    }
    for delivery in &mut page.items {
        delivery.attempts = attempts.remove(&delivery.sequence).unwrap_or_default();
    }
    Ok(page)
}

fn decode(row: &AnyRow) -> Result<Delivery, StoreError> {
    let fields = Fields::new(row, "webhook_deliveries", "sequence")?;
    Ok(Delivery {
        sequence: fields.int("sequence")?,
        kind: fields.text("kind")?,
        state: fields.parse("state")?,
        next_try: fields.time_opt("next_try")?,
        updated_at: fields.time("updated_at")?,
        attempts: Vec::new(),
    })
}
