//! Nudges: one row for each transfer that wants looking at. It says "look at this one", never what to do; losing every
//! row costs time, never money.
//!
//! A claim leases a row. The lease's token is a number that no other claim ever gets, so a worker whose lease ran out and
//! was taken over can neither renew nor settle it. A nudge that arrives while the job runs raises `wanted`, and the job runs
//! again at once when it settles.

use crate::{Store, StoreError, WriteTx, error::During, events, row::Fields};
use bursar_domain::{ids::TransferId, time::Timestamp};
use sqlx::AssertSqlSafe;
use std::time::Duration;

/// A leased nudge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub transfer: TransferId,
    /// Fencing token: every claim has its own, later ones larger.
    pub token: i64,
    /// How often it had been nudged when it was claimed.
    pub wanted: i64,
    /// Failures in a row before this run.
    pub attempt: u32,
    /// A worker that cannot sign left it to one that can.
    pub for_signer: bool,
}

/// Which nudges a worker takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    All,
    /// It reaches too few co-signers: what was left to a signer it takes only when nobody has for this long.
    NotForSigner(Duration),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to do until something happens.
    Done,
    /// Look again then; not a failure.
    Again(Timestamp),
    /// A worker that can sign is to look at once.
    ForSigner,
    /// Try again then. It is never dropped.
    Failed { at: Timestamp, error: String },
}

/// Has the transfer looked at, at `due` or earlier.
pub async fn nudge(tx: &mut WriteTx, transfer: TransferId, due: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO jobs (transfer, due_at, wanted, token, lease_until, attempt) VALUES ($1, $2, 1, 0, 0, 0) \
         ON CONFLICT (transfer) DO UPDATE SET wanted = jobs.wanted + 1, \
         due_at = CASE WHEN excluded.due_at < jobs.due_at THEN excluded.due_at ELSE jobs.due_at END",
    )
    .bind(transfer.to_string())
    .bind(due.micros())
    .execute(tx.connection())
    .await
    .during("jobs.nudge")?;
    tx.will_wake_jobs();
    Ok(())
}

pub(crate) const DUE: &str = "SELECT transfer, wanted, attempt, for_signer FROM jobs \
     WHERE due_at <= $1 AND lease_until <= $1 AND (for_signer = 0 OR due_at <= $3) ORDER BY due_at LIMIT $2";

/// Leases up to `limit` due nudges, oldest first. Nobody else gets them until `now + lease` or they are settled.
pub async fn claim(
    store: &Store,
    now: Timestamp,
    lease: Duration,
    limit: u32,
) -> Result<Vec<Claim>, StoreError> {
    claim_of(store, now, lease, limit, Takes::All).await
}

/// As [`claim`], of those that this worker takes.
pub async fn claim_of(
    store: &Store,
    now: Timestamp,
    lease: Duration,
    limit: u32,
    takes: Takes,
) -> Result<Vec<Claim>, StoreError> {
    const OPERATION: &str = "jobs.claim";
    let for_signer_since = match takes {
        Takes::All => now.micros(),
        Takes::NotForSigner(left) => {
            now.micros().saturating_sub(i64::try_from(left.as_micros()).unwrap_or(i64::MAX))
        }
    };
    // An idle worker must not take the write lock just to find nothing.
    let any = sqlx::query(DUE).bind(now.micros()).bind(1_i64).bind(for_signer_since);
    let any = any.fetch_optional(&mut *store.reader().await?).await.during(OPERATION)?;
    if any.is_none() || limit == 0 {
        return Ok(Vec::new());
    }
    let mut tx = store.write_jobs().await?;
    let rows = sqlx::query(AssertSqlSafe(format!("{DUE} {}", store.dialect().skip_locked())))
        .bind(now.micros())
        .bind(i64::from(limit))
        .bind(for_signer_since)
        .fetch_all(tx.connection())
        .await
        .during(OPERATION)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let count = rows.len() as i64;
    let first = events::take(tx.connection(), "job_tokens", count).await? - count + 1;
    let mut claims = Vec::with_capacity(rows.len());
    for (row, token) in rows.iter().zip(first..) {
        let fields = Fields::new(row, "jobs", "transfer")?;
        let claim = Claim {
            transfer: fields.parse("transfer")?,
            token,
            wanted: fields.int("wanted")?,
            attempt: fields.number("attempt")?,
            // One who can sign has it now; where it goes from here is to be seen.
            for_signer: takes != Takes::All && fields.flag("for_signer")?,
        };
        sqlx::query("UPDATE jobs SET token = $1, lease_until = $2, for_signer = $3 WHERE transfer = $4")
            .bind(token)
            .bind(now.plus(lease).micros())
            .bind(i64::from(claim.for_signer))
            .bind(claim.transfer.to_string())
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
        claims.push(claim);
    }
    tx.commit().await?;
    Ok(claims)
}

/// Extends a lease. `false`: it was taken over or settled; stop.
pub async fn renew(store: &Store, claim: &Claim, until: Timestamp) -> Result<bool, StoreError> {
    let mut tx = store.write_jobs().await?;
    let renewed = sqlx::query("UPDATE jobs SET lease_until = $1 WHERE transfer = $2 AND token = $3")
        .bind(until.micros())
        .bind(claim.transfer.to_string())
        .bind(claim.token)
        .execute(tx.connection())
        .await
        .during("jobs.renew")?
        .rows_affected();
    tx.commit().await?;
    Ok(renewed == 1)
}

/// How often the transfer was nudged so far, by the job that is leased; `None` when the lease was taken over or settled. Whoever looks
/// at the transfer after reading it serves all of these.
pub async fn wanted(store: &Store, claim: &Claim) -> Result<Option<i64>, StoreError> {
    const OPERATION: &str = "jobs.wanted";
    let row = sqlx::query("SELECT transfer, wanted FROM jobs WHERE transfer = $1 AND token = $2")
        .bind(claim.transfer.to_string())
        .bind(claim.token)
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during(OPERATION)?;
    row.map(|row| Fields::new(&row, "jobs", "transfer")?.int("wanted")).transpose()
}

/// Ends a lease. `false`: it was taken over or settled before, and nothing was changed.
pub async fn settle(
    store: &Store,
    claim: &Claim,
    now: Timestamp,
    outcome: Outcome,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "jobs.settle";
    let mut tx = store.write_jobs().await?;
    let for_signer = match outcome {
        Outcome::ForSigner => true,
        // No signer came for it, and it may be at the same point still.
        Outcome::Again(_) | Outcome::Failed { .. } => claim.for_signer,
        Outcome::Done => false,
    };
    let (due, attempt, error) = match outcome {
        Outcome::Done => {
            let deleted = sqlx::query("DELETE FROM jobs WHERE transfer = $1 AND token = $2 AND wanted = $3")
                .bind(claim.transfer.to_string())
                .bind(claim.token)
                .bind(claim.wanted)
                .execute(tx.connection())
                .await
                .during(OPERATION)?
                .rows_affected();
            if deleted == 1 {
                tx.commit().await?;
                return Ok(true);
            }
            (now, 0, None)
        }
        Outcome::Again(at) => (at, 0, None),
        Outcome::ForSigner => (now, 0, None),
        Outcome::Failed { at, error } => (at, i64::from(claim.attempt) + 1, Some(error)),
    };
    // Token 0 belongs to nobody, so a claim settles once.
    let row = sqlx::query(
        "UPDATE jobs SET due_at = CASE WHEN wanted = $1 OR $2 < $3 THEN $2 ELSE $3 END, attempt = $4, error = $5, \
         lease_until = 0, token = 0, for_signer = $8 WHERE transfer = $6 AND token = $7 RETURNING transfer, due_at",
    )
    .bind(claim.wanted)
    .bind(due.micros())
    .bind(now.micros())
    .bind(attempt)
    .bind(error)
    .bind(claim.transfer.to_string())
    .bind(claim.token)
    .bind(i64::from(for_signer))
    .fetch_optional(tx.connection())
    .await
    .during(OPERATION)?;
    let settled = row.is_some();
    if let Some(row) = row {
        // What is due at once must not wait for the next poll.
        if Fields::new(&row, "jobs", "transfer")?.time("due_at")? <= now {
            tx.will_wake_jobs();
        }
    }
    tx.commit().await?;
    Ok(settled)
}

pub(crate) const FAR_OFF: &str = "SELECT transfer FROM jobs WHERE due_at > $1 OR lease_until > $1 LIMIT 1";

/// Brings back what a clock that ran ahead has put off or leased: nothing is due, and no lease ends, later than `at_most` from now.
/// Its old owner can still settle it, as long as nobody else has claimed it.
pub async fn rein_in(store: &Store, now: Timestamp, at_most: Duration) -> Result<u64, StoreError> {
    const OPERATION: &str = "jobs.rein_in";
    let limit = now.plus(at_most).micros();
    let any = sqlx::query(FAR_OFF).bind(limit);
    if any.fetch_optional(&mut *store.reader().await?).await.during(OPERATION)?.is_none() {
        return Ok(0);
    }
    let mut tx = store.write_jobs().await?;
    let changed = sqlx::query(
        "UPDATE jobs SET due_at = CASE WHEN due_at > $1 THEN $2 ELSE due_at END, \
         lease_until = CASE WHEN lease_until > $1 THEN 0 ELSE lease_until END WHERE due_at > $1 OR lease_until > $1",
    )
    .bind(limit)
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?
    .rows_affected();
    tx.will_wake_jobs();
    tx.commit().await?;
    Ok(changed)
}

/// When the next nudge can be claimed, if there is one: its due time, or the end of its lease when that is later.
pub async fn next_due(store: &Store) -> Result<Option<Timestamp>, StoreError> {
    let row = sqlx::query(
        "SELECT 'next_due' AS name, MIN(CASE WHEN lease_until > due_at THEN lease_until ELSE due_at END) AS due_at FROM jobs",
    )
    .fetch_one(&mut *store.reader().await?)
    .await
    .during("jobs.next_due")?;
    Fields::new(&row, "jobs", "name")?.time_opt("due_at")
}

/// How many nudges are due (leased ones included), and how many there are.
pub async fn depth(store: &Store, now: Timestamp) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query(
        "SELECT 'depth' AS name, (SELECT COUNT(*) FROM jobs WHERE due_at <= $1) AS due, (SELECT COUNT(*) FROM jobs) AS total",
    )
    .bind(now.micros())
    .fetch_one(&mut *store.reader().await?)
    .await
    .during("jobs.depth")?;
    let fields = Fields::new(&row, "jobs", "name")?;
    Ok((fields.number("due")?, fields.number("total")?))
}
