//! The governance log as it was signed, and the changes that still collect signatures.
//!
//! What an entry means is not decided here but by replay (`bursar_domain::governance`). This keeps the chain: an entry is appended at
//! its place only, once, and is never changed.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_int, to_json},
};
use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest, Head},
        signature::Signature,
    },
    lifecycle::Status,
    time::Timestamp,
};
use sqlx::{AnyConnection, any::AnyRow};
use std::{fmt, str::FromStr};

/// An entry with what it is called and when it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    pub seq: u64,
    /// As it was computed when the entry was appended. Whoever relies on it computes it again.
    pub digest: EntryDigest,
    pub entry: Entry,
    /// When this installation first had it.
    pub seen_at: Timestamp,
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    Applied,
    /// This very entry is there.
    Already,
    /// It does not follow the last entry, which is this one; `None`: the log is empty.
    NotNext(Option<Head>),
}

/// A change that somebody signed, and who else has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRequest {
    pub digest: EntryDigest,
    /// The place in the log that it is for.
    pub seq: u64,
    pub entry: Entry,
    pub outcome: Outcome,
    pub received_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It waits for signatures.
    Open,
    /// It is in the log.
    Appended,
    /// Another entry took its place: it has to be proposed and signed again.
    Overtaken,
}

impl Outcome {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Open, "OPEN"), (Self::Appended, "APPENDED"), (Self::Overtaken, "OVERTAKEN")];
}
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(outcome, _)| outcome == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown outcome")]
pub struct InvalidOutcome;
impl FromStr for Outcome {
    type Err = InvalidOutcome;
    fn from_str(text: &str) -> Result<Self, InvalidOutcome> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(outcome, _)| *outcome).ok_or(InvalidOutcome)
    }
}

/// The last entry; `None`: the log is empty.
pub async fn head(store: &Store) -> Result<Option<Head>, StoreError> {
    head_on(&mut *store.reader().await?).await
}

/// As [`head`], within a transaction.
pub async fn head_in(tx: &mut WriteTx) -> Result<Option<Head>, StoreError> {
    head_on(tx.connection()).await
}

async fn head_on(connection: &mut AnyConnection) -> Result<Option<Head>, StoreError> {
    let row = sqlx::query("SELECT seq, digest FROM governance_entries ORDER BY seq DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .during("governance_entries.head")?;
    let decode = |row: &AnyRow| {
        let fields = Fields::new(row, "governance_entries", "seq")?;
        Ok(Head { seq: fields.number("seq")?, digest: digest(&fields, "digest")? })
    };
    row.as_ref().map(decode).transpose()
}

const ENTRIES: &str = "SELECT seq, digest, document, signatures, seen_at FROM governance_entries WHERE seq >= $1 ORDER BY seq LIMIT $2";

/// Entries from `seq` on, in order.
pub async fn entries(store: &Store, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
    entries_on(&mut *store.reader().await?, from, limit).await
}

/// As [`entries`], within a transaction.
pub async fn entries_in(tx: &mut WriteTx, from: u64, limit: u32) -> Result<Vec<StoredEntry>, StoreError> {
    entries_on(tx.connection(), from, limit).await
}

async fn entries_on(
    connection: &mut AnyConnection,
    from: u64,
    limit: u32,
) -> Result<Vec<StoredEntry>, StoreError> {
    const OPERATION: &str = "governance_entries.list";
    let rows = sqlx::query(ENTRIES)
        .bind(to_int(OPERATION, from)?)
        .bind(i64::from(limit))
        .fetch_all(connection)
        .await
        .during(OPERATION)?;
    let decode = |row| {
        let fields = Fields::new(row, "governance_entries", "seq")?;
        Ok(StoredEntry {
            seq: fields.number("seq")?,
            digest: digest(&fields, "digest")?,
            entry: entry(&fields)?,
            seen_at: fields.time("seen_at")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// Appends `entry` as `head`, if it follows what is there: compare-and-set on its place. The changes that wait for the same place are
/// then closed: APPENDED if it was this one, OVERTAKEN otherwise.
///
/// `previous`: what the entry names as the one before it. The caller has read the entry, and verified it by replay.
pub async fn append(
    tx: &mut WriteTx,
    head: Head,
    previous: EntryDigest,
    entry: &Entry,
    seen_at: Timestamp,
) -> Result<Appended, StoreError> {
    const OPERATION: &str = "governance_entries.append";
    let last = head_in(tx).await?;
    let follows = match last {
        None => head.seq == 0 && previous == EntryDigest::NONE,
        Some(last) => last.seq.checked_add(1) == Some(head.seq) && previous == last.digest,
    };
    if !follows {
        let there = entries_in(tx, head.seq, 1).await?;
        let same = there.first().is_some_and(|there| there.seq == head.seq && there.digest == head.digest);
        return Ok(if same { Appended::Already } else { Appended::NotNext(last) });
    }
    sqlx::query(
        "INSERT INTO governance_entries (seq, digest, document, signatures, seen_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(to_int(OPERATION, head.seq)?)
    .bind(head.digest.to_string())
    .bind(entry.document.clone())
    .bind(to_json(&entry.signatures))
    .bind(seen_at.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    for (outcome, test) in [(Outcome::Appended, "digest = $3"), (Outcome::Overtaken, "digest <> $3")] {
        let sql = format!(
            "UPDATE governance_changes SET outcome = $1, updated_at = $2 WHERE outcome = 'OPEN' AND {test}"
        );
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(outcome.to_string())
            .bind(seen_at.micros())
            .bind(head.digest.to_string())
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
    }
    Ok(Appended::Applied)
}

/// Lets every transfer that has no signature yet be looked at: what it waited for may have come, or be gone. One statement, however many
/// they are; each has its job raised as [`jobs::nudge`](crate::jobs::nudge) does it.
pub async fn nudge_unsigned(tx: &mut WriteTx, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO jobs (transfer, due_at, wanted, token, lease_until, attempt) \
         SELECT id, CAST($1 AS BIGINT), 1, 0, 0, 0 FROM transfers WHERE status IN ($2, $3, $4) \
         ON CONFLICT (transfer) DO UPDATE SET wanted = jobs.wanted + 1, \
         due_at = CASE WHEN excluded.due_at < jobs.due_at THEN excluded.due_at ELSE jobs.due_at END",
    )
    .bind(now.micros())
    .bind(Status::PendingAuthorization.to_string())
    .bind(Status::Queued.to_string())
    .bind(Status::PendingSignature.to_string())
    .execute(tx.connection())
    .await
    .during("governance_entries.nudge")?;
    tx.will_wake_jobs();
    Ok(())
}

/// Notes a change that waits for signatures. `false`: it is there already, and is not changed.
pub async fn insert_change(tx: &mut WriteTx, change: &ChangeRequest) -> Result<bool, StoreError> {
    const OPERATION: &str = "governance_changes.insert";
    let inserted = sqlx::query(
        "INSERT INTO governance_changes (digest, seq, outcome, document, signatures, received_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (digest) DO NOTHING",
    )
    .bind(change.digest.to_string())
    .bind(to_int(OPERATION, change.seq)?)
    .bind(change.outcome.to_string())
    .bind(change.entry.document.clone())
    .bind(to_json(&change.entry.signatures))
    .bind(change.received_at.micros())
    .bind(change.updated_at.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    Ok(inserted.rows_affected() == 1)
}

/// Replaces the signatures of a change that is open. `false`: there is none such.
pub async fn set_signatures(
    tx: &mut WriteTx,
    digest: EntryDigest,
    signatures: &[Signature],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let updated = sqlx::query(
        "UPDATE governance_changes SET signatures = $1, updated_at = $2 WHERE digest = $3 AND outcome = 'OPEN'",
    )
    .bind(to_json(&signatures))
    .bind(now.micros())
    .bind(digest.to_string())
    .execute(tx.connection())
    .await
    .during("governance_changes.sign")?;
    Ok(updated.rows_affected() == 1)
}

const CHANGE: &str =
    "SELECT digest, seq, outcome, document, signatures, received_at, updated_at FROM governance_changes";

pub async fn change(store: &Store, digest: EntryDigest) -> Result<Option<ChangeRequest>, StoreError> {
    change_on(&mut *store.reader().await?, digest).await
}

/// As [`change`], within a transaction.
pub async fn change_in(tx: &mut WriteTx, digest: EntryDigest) -> Result<Option<ChangeRequest>, StoreError> {
    change_on(tx.connection(), digest).await
}

async fn change_on(
    connection: &mut AnyConnection,
    digest: EntryDigest,
) -> Result<Option<ChangeRequest>, StoreError> {
    let row = sqlx::query(sqlx::AssertSqlSafe(format!("{CHANGE} WHERE digest = $1")))
        .bind(digest.to_string())
        .fetch_optional(connection)
        .await
        .during("governance_changes.get")?;
    row.as_ref().map(decode_change).transpose()
}

/// Changes with this outcome, newest first.
pub async fn changes(store: &Store, outcome: Outcome, limit: u32) -> Result<Vec<ChangeRequest>, StoreError> {
    let sql = format!("{CHANGE} WHERE outcome = $1 ORDER BY received_at DESC, digest DESC LIMIT $2");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(outcome.to_string())
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("governance_changes.list")?;
    rows.iter().map(decode_change).collect()
}

/// How many changes wait for signatures.
pub async fn open_changes(tx: &mut WriteTx) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "SELECT 'OPEN' AS outcome, COUNT(*) AS waiting FROM governance_changes WHERE outcome = 'OPEN'",
    )
    .fetch_one(tx.connection())
    .await
    .during("governance_changes.count")?;
    Fields::new(&row, "governance_changes", "outcome")?.number("waiting")
}

fn decode_change(row: &AnyRow) -> Result<ChangeRequest, StoreError> {
    let fields = Fields::new(row, "governance_changes", "digest")?;
    Ok(ChangeRequest {
        digest: digest(&fields, "digest")?,
        seq: fields.number("seq")?,
        entry: entry(&fields)?,
        outcome: fields.parse("outcome")?,
        received_at: fields.time("received_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

fn entry(fields: &Fields<'_>) -> Result<Entry, StoreError> {
    Ok(Entry { document: fields.text("document")?, signatures: fields.json("signatures")? })
}

pub(crate) fn digest(fields: &Fields<'_>, column: &str) -> Result<EntryDigest, StoreError> {
    let text = fields.text(column)?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(&text, &mut bytes)
        .map_err(|_| fields.corrupt(column, format_args!("{text:?} is no digest of 64 hex digits")))?;
    Ok(EntryDigest(bytes))
}
