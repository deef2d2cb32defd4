//! How far the travel rule is with a transfer, and what is told to the other end, encrypted.
//!
//! This crate has no key: it takes and gives ciphertext. What is written in plain text names no person.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain, to_json},
};
use bursar_domain::{ids::TransferId, time::Timestamp, travel_rule::NoExchange};
use sqlx::{AnyConnection, any::AnyRow};

/// Data of a transfer, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// ASCII.
    pub ciphertext: String,
    /// Which key opens it.
    pub key_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Data came, and has to be assessed.
    Submitted,
    NotRequired {
        reason: String,
    },
    /// Needed, and what the reason names is missing.
    DataMissing {
        reason: String,
    },
    /// To be asked (again) at `next_try`.
    Pending {
        /// The exchange's, if it has begun.
        reference: Option<String>,
        /// Why the last attempt gave no answer.
        failure: Option<NoExchange>,
        next_try: Timestamp,
    },
    Accepted {
        reference: String,
    },
    Rejected {
        reason: String,
    },
    /// No answer will be waited for any longer.
    Unavailable {
        reason: String,
    },
}

impl Progress {
    pub const fn state(&self) -> &'static str {
        match self {
            Self::Submitted => "SUBMITTED",
            Self::NotRequired { .. } => "NOT_REQUIRED",
            Self::DataMissing { .. } => "DATA_MISSING",
            Self::Pending { .. } => "PENDING",
            Self::Accepted { .. } => "ACCEPTED",
            Self::Rejected { .. } => "REJECTED",
            Self::Unavailable { .. } => "UNAVAILABLE",
        }
    }

    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::NotRequired { reason }
            | Self::DataMissing { reason }
            | Self::Rejected { reason }
            | Self::Unavailable { reason } => Some(reason),
            Self::Submitted | Self::Pending { .. } | Self::Accepted { .. } => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub transfer: TransferId,
    /// Of the data that is there; 0: none came yet.
    pub round: u32,
    pub sealed: Option<Sealed>,
    pub progress: Progress,
    /// How often the exchange was asked in vain in this round.
    pub attempts: u32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

const GET: &str = "SELECT transfer, state, reason, round, payload, key_name, reference, failure, attempts, next_try_at, created_at, \
     updated_at FROM travel_rule WHERE transfer = $1";

pub async fn get(store: &Store, transfer: TransferId) -> Result<Option<Record>, StoreError> {
    get_on(&mut *store.reader().await?, transfer).await
}

/// As [`get`], within a transaction.
pub async fn get_in(tx: &mut WriteTx, transfer: TransferId) -> Result<Option<Record>, StoreError> {
    get_on(tx.connection(), transfer).await
}

async fn get_on(connection: &mut AnyConnection, transfer: TransferId) -> Result<Option<Record>, StoreError> {
    let row = sqlx::query(GET).bind(transfer.to_string()).fetch_optional(connection).await;
    row.during("travel_rule.get")?.as_ref().map(decode).transpose()
}

/// Keeps data in place of what was there, as the next round, to be assessed. Gives that round.
pub async fn submit(
    tx: &mut WriteTx,
    transfer: TransferId,
    sealed: &Sealed,
    now: Timestamp,
) -> Result<u32, StoreError> {
    let round = get_in(tx, transfer).await?.map_or(0, |record| record.round).saturating_add(1);
    write(tx, transfer, round, Some(sealed), &Progress::Submitted, 0, now).await?;
    Ok(round)
}

/// Notes how far it is, if it still is of this round; 0 where there is no record. `false`: there is newer data, and nothing was
/// written.
pub async fn put(
    tx: &mut WriteTx,
    transfer: TransferId,
    round: u32,
    attempts: u32,
    progress: &Progress,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let there = get_in(tx, transfer).await?;
    if there.as_ref().map_or(0, |record| record.round) != round {
        return Ok(false);
    }
    let sealed = there.and_then(|record| record.sealed);
    write(tx, transfer, round, sealed.as_ref(), progress, attempts, now).await?;
    Ok(true)
}

async fn write(
    tx: &mut WriteTx,
    transfer: TransferId,
    round: u32,
    sealed: Option<&Sealed>,
    progress: &Progress,
    attempts: u32,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (reference, failure, next_try) = match progress {
        Progress::Pending { reference, failure, next_try } => {
            (reference.as_deref(), failure.as_ref(), Some(*next_try))
        }
        Progress::Accepted { reference } => (Some(reference.as_str()), None, None),
        _ => (None, None, None),
    };
    sqlx::query(
        "INSERT INTO travel_rule (transfer, state, reason, round, payload, key_name, reference, failure, attempts, next_try_at, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11) \
         ON CONFLICT (transfer) DO UPDATE SET state = excluded.state, reason = excluded.reason, round = excluded.round, \
         payload = excluded.payload, key_name = excluded.key_name, reference = excluded.reference, failure = excluded.failure, \
         attempts = excluded.attempts, next_try_at = excluded.next_try_at, updated_at = excluded.updated_at",
    )
    .bind(transfer.to_string())
    .bind(progress.state().to_owned())
    .bind(progress.reason().map(plain))
    .bind(i64::from(round))
    .bind(sealed.map(|sealed| sealed.ciphertext.clone()))
    .bind(sealed.map(|sealed| sealed.key_name.clone()))
    .bind(reference.map(plain))
    .bind(failure.map(to_json))
    .bind(i64::from(attempts))
    .bind(next_try.map(|at| at.micros()))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("travel_rule.put")
    .map(|_| ())
}

fn decode(row: &AnyRow) -> Result<Record, StoreError> {
    let fields = Fields::new(row, "travel_rule", "transfer")?;
    let reason = || fields.text("reason");
    let progress = match fields.text("state")?.as_str() {
        "SUBMITTED" => Progress::Submitted,
        "NOT_REQUIRED" => Progress::NotRequired { reason: reason()? },
        "DATA_MISSING" => Progress::DataMissing { reason: reason()? },
        "PENDING" => Progress::Pending {
            reference: fields.text_opt("reference")?,
            failure: fields.json_opt("failure")?,
            next_try: fields.time("next_try_at")?,
        },
        "ACCEPTED" => Progress::Accepted { reference: fields.text("reference")? },
        "REJECTED" => Progress::Rejected { reason: reason()? },
        "UNAVAILABLE" => Progress::Unavailable { reason: reason()? },
        other => return Err(fields.corrupt("state", format_args!("{other:?} is unknown"))),
    };
    let sealed = match (fields.text_opt("payload")?, fields.text_opt("key_name")?) {
        (Some(ciphertext), Some(key_name)) => Some(Sealed { ciphertext, key_name }),
        (None, None) => None,
        _ => return Err(fields.corrupt("payload", "does not go with its key")),
    };
    Ok(Record {
        transfer: fields.parse("transfer")?,
        round: fields.number("round")?,
        sealed,
        progress,
        attempts: fields.number("attempts")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
