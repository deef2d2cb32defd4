//! What authorized transfers add to the sums that policy limits.
//!
//! A transfer is authorized, and its part of each sum reserved, in one transaction in which the sum was read. Writers take turns, so
//! no two transfers can each be the last that fits. What is reserved is given back when the transfer ends without paying (see
//! [`transfers::save`](crate::transfers::save)), and taken again if a reorganisation opens it once more.

use crate::{Store, StoreError, WriteTx, error::During, row::Fields};
use bursar_domain::{
    amount::Amount,
    governance::policy::{Currency, Fact, Gap, Measure, Unit, VelocityQuery},
    ids::TransferId,
    lifecycle::{FundsMoved, State, Status},
    time::Timestamp,
};
use sqlx::{AnyConnection, AssertSqlSafe};
use std::time::Duration;

/// Under what a query's sum is kept: the same for every window, so that a new rule over a longer one knows what was reserved before.
pub fn name(query: &VelocityQuery, currency: Currency) -> String {
    match query.of {
        Measure::Sum(Unit::Fiat) => format!("FIAT {currency} {}", query.group),
        of => format!("{of} {}", query.group),
    }
}

/// What one transfer adds to one sum; `None` where that has no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub amount: Option<Amount>,
}

/// Asks for what other transfers have added within the window that ends at `now`.
#[derive(Debug, Clone, Copy)]
pub struct Sum<'a> {
    pub name: &'a str,
    pub window_seconds: u64,
    pub now: Timestamp,
    /// Not counted. Nor is what was reserved after it, if it holds its own place already.
    pub except: TransferId,
}

pub(crate) const SUMMED: &str = "SELECT transfer, amount FROM velocity_reservations WHERE of_group = $1 \
     AND reserved_at > $2 AND reserved_at <= $3 AND released = 0";

/// The sum. [`Gap::Unpriceable`], which is above every limit, if it has no number.
pub async fn sum(store: &Store, asked: Sum<'_>) -> Result<Fact<Amount>, StoreError> {
    sum_on(&mut *store.reader().await?, asked).await
}

/// As [`sum`], within a transaction.
pub async fn sum_in(tx: &mut WriteTx, asked: Sum<'_>) -> Result<Fact<Amount>, StoreError> {
    sum_on(tx.connection(), asked).await
}

async fn sum_on(connection: &mut AnyConnection, asked: Sum<'_>) -> Result<Fact<Amount>, StoreError> {
    const OPERATION: &str = "velocity_reservations.sum";
    let Sum { name, window_seconds, now, except } = asked;
    let own = sqlx::query(
        "SELECT transfer, reserved_at FROM velocity_reservations WHERE transfer = $1 AND of_group = $2 AND released = 0",
    )
    .bind(except.to_string())
    .bind(name)
    .fetch_optional(&mut *connection)
    .await
    .during(OPERATION)?;
    let own = own.map(|row| Fields::new(&row, "velocity_reservations", "transfer")?.time("reserved_at"));
    // What lies in the future of a clock that was set back counts.
    let until = own.transpose()?.map_or(i64::MAX, Timestamp::micros);
    let window = i64::try_from(Duration::from_secs(window_seconds).as_micros()).unwrap_or(i64::MAX);
    let rows = sqlx::query(SUMMED)
        .bind(name)
        .bind(now.micros().saturating_sub(window))
        .bind(until)
        .fetch_all(connection)
        .await
        .during(OPERATION)?;
    let mut sum = Amount::ZERO;
    let except = except.to_string();
    for row in &rows {
        let fields = Fields::new(row, "velocity_reservations", "transfer")?;
        if fields.text("transfer")? == except {
            continue;
        }
        let added = fields.parse_opt::<Amount>("amount")?.and_then(|amount| sum.checked_add(amount));
        let Some(added) = added else { return Ok(Err(Gap::Unpriceable)) };
        sum = added;
    }
    Ok(Ok(sum))
}

/// How many parts are written at once.
const ROWS: usize = 100;

/// Reserves, of a transfer that has not ended. What it has reserved before stays as it is, and keeps its place in time; but what had no
/// number then, for want of a price, has this one from now on.
pub async fn reserve(
    tx: &mut WriteTx,
    transfer: TransferId,
    parts: &[Part],
    now: Timestamp,
) -> Result<(), StoreError> {
    // Some databases are far away, and a batch has many destinations.
    for parts in parts.chunks(ROWS) {
        let row = |place: usize| format!("($1, ${}, ${}, $2, 0)", 2 * place + 3, 2 * place + 4);
        let rows = (0..parts.len()).map(row).collect::<Vec<_>>().join(", ");
        let sql = format!(
            "INSERT INTO velocity_reservations (transfer, of_group, amount, reserved_at, released) VALUES {rows} \
             ON CONFLICT (transfer, of_group) DO UPDATE SET amount = excluded.amount WHERE velocity_reservations.amount IS NULL"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(transfer.to_string()).bind(now.micros());
        for Part { name, amount } in parts {
            query = query.bind(name.clone()).bind(amount.map(|amount| amount.to_string()));
        }
        query.execute(tx.connection()).await.during("velocity_reservations.reserve")?;
    }
    Ok(())
}

/// Gives back, or takes again, what the transfer holds, as its transition from `from` to `to` asks for.
pub(crate) async fn follow(
    tx: &mut WriteTx,
    transfer: TransferId,
    from: Status,
    to: &State,
) -> Result<(), StoreError> {
    let released = match (from.is_terminal(), to.status().is_terminal()) {
        (false, true) if pays_nobody(to) => true,
        (true, false) => false,
        _ => return Ok(()),
    };
    sqlx::query("UPDATE velocity_reservations SET released = $1 WHERE transfer = $2")
        .bind(i64::from(released))
        .bind(transfer.to_string())
        .execute(tx.connection())
        .await
        .during("velocity_reservations.follow")?;
    Ok(())
}

/// Whether the transfer has ended, and is known to have paid nobody.
fn pays_nobody(state: &State) -> bool {
    match state {
        State::Failed { funds_moved, .. } => *funds_moved != FundsMoved::Unknown,
        State::Completed { .. } => false,
        state => state.status().is_terminal(),
    }
}
