//! What a screening service was asked, in rounds, and what it answered.
//!
//! A round is written down before the service is asked, and asked with its number however often it takes: a process that dies in between
//! asks the same again. A round is settled once; whoever asks anew begins the next.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, plain, to_json},
};
use bursar_domain::{
    governance::{log::EntryDigest, verdict::SignedVerdict},
    ids::{DepositId, TransactionId, TransferId},
    intent::IntentDigest,
    screening::{Assessment, Unanswered},
    time::Timestamp,
};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::{fmt, str::FromStr};

/// What is screened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An order, before it is signed.
    Transfer(TransferId),
    /// A transaction that pays, registered after it was sent.
    Broadcast(TransactionId),
    Deposit(DepositId),
    /// What a change proposes for the address book, by the change's digest.
    Address(EntryDigest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectKind {
    Transfer,
    Broadcast,
    Deposit,
    Address,
}

impl Subject {
    pub const fn kind(&self) -> SubjectKind {
        match self {
            Self::Transfer(_) => SubjectKind::Transfer,
            Self::Broadcast(_) => SubjectKind::Broadcast,
            Self::Deposit(_) => SubjectKind::Deposit,
            Self::Address(_) => SubjectKind::Address,
        }
    }
}
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer(id) => id.fmt(f),
            Self::Broadcast(id) => id.fmt(f),
            Self::Deposit(id) => id.fmt(f),
            Self::Address(change) => change.fmt(f),
        }
    }
}

impl SubjectKind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Transfer, "TRANSFER"),
        (Self::Broadcast, "BROADCAST"),
        (Self::Deposit, "DEPOSIT"),
        (Self::Address, "ADDRESS"),
    ];
}
impl fmt::Display for SubjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(kind, _)| kind == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be TRANSFER, BROADCAST, DEPOSIT or ADDRESS")]
pub struct InvalidSubjectKind;
impl FromStr for SubjectKind {
    type Err = InvalidSubjectKind;
    fn from_str(text: &str) -> Result<Self, InvalidSubjectKind> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(kind, _)| *kind).ok_or(InvalidSubjectKind)
    }
}

/// What a new round is about.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub subject: Subject,
    pub round: u32,
    /// Whose order, and its digest: alerts name it by that.
    pub order: Option<(TransferId, IntentDigest)>,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screening {
    pub subject: Subject,
    pub round: u32,
    pub transfer: Option<TransferId>,
    /// How often the service was asked in vain.
    pub attempts: u32,
    pub progress: Progress,
    pub begun_at: Timestamp,
    pub updated_at: Timestamp,
}

/// How far a round is.
#[allow(clippy::large_enum_variant, reason = "one at a time, on its way to or from a row")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// To be asked (again) at `next_try`.
    Pending {
        /// The provider's, if it has begun.
        reference: Option<String>,
        /// Why the last attempt gave no answer.
        failure: Option<Unanswered>,
        next_try: Timestamp,
    },
    Complete {
        assessment: Assessment,
        verdict: Option<SignedVerdict>,
    },
    /// No answer will be waited for any longer.
    Failed(Unanswered),
}

impl Screening {
    pub const fn is_pending(&self) -> bool {
        matches!(self.progress, Progress::Pending { .. })
    }
}

const COLUMNS: &str = "subject_kind, subject, round, transfer, state, reference, assessment, verdict, failure, attempts, \
                       next_try_at, expires_at, begun_at, updated_at";

/// Writes a round down, to be asked at once. `false`: it is there already.
pub async fn begin(tx: &mut WriteTx, begun: Begun, now: Timestamp) -> Result<bool, StoreError> {
    let Begun { subject, round, order } = begun;
    let inserted = sqlx::query(
        "INSERT INTO screenings (subject_kind, subject, round, transfer, about, state, attempts, next_try_at, begun_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, 'PENDING', 0, $6, $7, $8) ON CONFLICT (subject_kind, subject, round) DO NOTHING",
    )
    .bind(subject.kind().to_string())
    .bind(subject.to_string())
    .bind(i64::from(round))
    .bind(order.map(|(transfer, _)| transfer.to_string()))
    .bind(order.map(|(_, digest)| digest.to_string()))
    .bind(now.micros())
    .bind(now.micros())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("screenings.begin")?;
    Ok(inserted.rows_affected() == 1)
}

/// Notes what became of a round that is pending. `false`: it was settled meanwhile, and nothing was written.
pub async fn put(
    tx: &mut WriteTx,
    subject: Subject,
    round: u32,
    attempts: u32,
    progress: &Progress,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (state, reference, next_try) = match progress {
        Progress::Pending { reference, next_try, .. } => ("PENDING", reference.clone(), *next_try),
        Progress::Complete { assessment, .. } => ("COMPLETE", Some(assessment.reference.clone()), now),
        Progress::Failed(_) => ("FAILED", None, now),
    };
    let (assessment, verdict) = match progress {
        Progress::Complete { assessment, verdict } => (Some(assessment), verdict.as_ref()),
        _ => (None, None),
    };
    let failure = match progress {
        Progress::Pending { failure, .. } => failure.as_ref(),
        Progress::Failed(failure) => Some(failure),
        Progress::Complete { .. } => None,
    };
    let updated = sqlx::query(
        "UPDATE screenings SET state = $1, reference = $2, assessment = $3, verdict = $4, failure = $5, attempts = $6, \
         next_try_at = $7, expires_at = $8, updated_at = $9 \
         WHERE subject_kind = $10 AND subject = $11 AND round = $12 AND state = 'PENDING'",
    )
    .bind(state.to_owned())
    .bind(reference.as_deref().map(plain))
    .bind(assessment.map(to_json))
    .bind(verdict.map(to_json))
    .bind(failure.map(to_json))
    .bind(i64::from(attempts))
    .bind(next_try.micros())
    .bind(assessment.map(|assessment| assessment.expires_at.micros()))
    .bind(now.micros())
    .bind(subject.kind().to_string())
    .bind(subject.to_string())
    .bind(i64::from(round))
    .execute(tx.connection())
    .await
    .during("screenings.put")?;
    Ok(updated.rows_affected() == 1)
}

pub(crate) const NEWEST: &str = "SELECT subject_kind, subject, round, transfer, state, reference, assessment, verdict, failure, \
     attempts, next_try_at, expires_at, begun_at, updated_at FROM screenings WHERE subject_kind = $1 AND subject = $2 \
     ORDER BY round DESC LIMIT 1";

/// The last round.
pub async fn newest(store: &Store, subject: Subject) -> Result<Option<Screening>, StoreError> {
    newest_on(&mut *store.reader().await?, subject, NEWEST).await
}

/// As [`newest`], within a transaction.
pub async fn newest_in(tx: &mut WriteTx, subject: Subject) -> Result<Option<Screening>, StoreError> {
    newest_on(tx.connection(), subject, NEWEST).await
}

const SETTLED: &str = "SELECT subject_kind, subject, round, transfer, state, reference, assessment, verdict, failure, \
     attempts, next_try_at, expires_at, begun_at, updated_at FROM screenings WHERE subject_kind = $1 AND subject = $2 \
     AND state <> 'PENDING' ORDER BY round DESC LIMIT 1";

/// The last round that is not pending: what counts until the next is settled.
pub async fn settled(store: &Store, subject: Subject) -> Result<Option<Screening>, StoreError> {
    newest_on(&mut *store.reader().await?, subject, SETTLED).await
}

/// As [`settled`], within a transaction.
pub async fn settled_in(tx: &mut WriteTx, subject: Subject) -> Result<Option<Screening>, StoreError> {
    newest_on(tx.connection(), subject, SETTLED).await
}

async fn newest_on(
    connection: &mut AnyConnection,
    subject: Subject,
    sql: &'static str,
) -> Result<Option<Screening>, StoreError> {
    let row = sqlx::query(sql)
        .bind(subject.kind().to_string())
        .bind(subject.to_string())
        .fetch_optional(connection)
        .await
        .during("screenings.newest")?;
    row.as_ref().map(decode).transpose()
}

/// The last round that has an answer, within a transaction: later ones may have failed.
pub async fn answered_in(tx: &mut WriteTx, subject: Subject) -> Result<Option<Screening>, StoreError> {
    newest_on(tx.connection(), subject, ANSWERED).await
}

const ANSWERED: &str = "SELECT subject_kind, subject, round, transfer, state, reference, assessment, verdict, failure, \
     attempts, next_try_at, expires_at, begun_at, updated_at FROM screenings WHERE subject_kind = $1 AND subject = $2 \
     AND state = 'COMPLETE' ORDER BY round DESC LIMIT 1";

/// Every round, in order.
pub async fn rounds(store: &Store, subject: Subject) -> Result<Vec<Screening>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM screenings WHERE subject_kind = $1 AND subject = $2 ORDER BY round LIMIT 1000"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(subject.kind().to_string())
        .bind(subject.to_string())
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("screenings.rounds")?;
    rows.iter().map(decode).collect()
}

pub(crate) const DUE: &str = "SELECT subject_kind, subject, round, transfer, state, reference, assessment, verdict, failure, \
     attempts, next_try_at, expires_at, begun_at, updated_at FROM screenings \
     WHERE subject_kind = $1 AND state = 'PENDING' AND next_try_at <= $2 ORDER BY next_try_at LIMIT $3";

/// Pending rounds of a kind that are to be asked now, longest due first.
pub async fn due(
    store: &Store,
    kind: SubjectKind,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Screening>, StoreError> {
    let rows = sqlx::query(DUE)
        .bind(kind.to_string())
        .bind(now.micros())
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("screenings.due")?;
    rows.iter().map(decode).collect()
}

/// The transfer of this order, if it was ever screened or registered.
pub async fn transfer_of(store: &Store, order: IntentDigest) -> Result<Option<TransferId>, StoreError> {
    let row = sqlx::query(
        "SELECT subject, transfer FROM screenings WHERE about = $1 AND transfer IS NOT NULL LIMIT 1",
    )
    .bind(order.to_string())
    .fetch_optional(&mut *store.reader().await?)
    .await
    .during("screenings.transfer_of")?;
    row.as_ref().map(|row| Fields::new(row, "screenings", "subject")?.parse("transfer")).transpose()
}

/// How far something was read.
pub async fn cursor(store: &Store, name: &str) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT name, value FROM screening_cursors WHERE name = $1")
        .bind(name.to_owned())
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during("screening_cursors.get")?;
    row.as_ref().map(|row| Fields::new(row, "screening_cursors", "name")?.text("value")).transpose()
}

pub async fn set_cursor(tx: &mut WriteTx, name: &str, value: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO screening_cursors (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name.to_owned())
    .bind(plain(value))
    .execute(tx.connection())
    .await
    .during("screening_cursors.put")
    .map(|_| ())
}

fn decode(row: &AnyRow) -> Result<Screening, StoreError> {
    let fields = Fields::new(row, "screenings", "subject")?;
    let subject = match fields.parse("subject_kind")? {
        SubjectKind::Transfer => Subject::Transfer(fields.parse("subject")?),
        SubjectKind::Broadcast => Subject::Broadcast(fields.parse("subject")?),
        SubjectKind::Deposit => Subject::Deposit(fields.parse("subject")?),
        SubjectKind::Address => Subject::Address(crate::governance::digest(&fields, "subject")?),
    };
    let (assessment, verdict): (Option<Assessment>, Option<SignedVerdict>) =
        (fields.json_opt("assessment")?, fields.json_opt("verdict")?);
    if fields.time_opt("expires_at")? != assessment.as_ref().map(|assessment| assessment.expires_at) {
        return Err(fields.corrupt("expires_at", "differs from the assessment"));
    }
    let progress = match (fields.text("state")?.as_str(), assessment) {
        ("PENDING", None) => Progress::Pending {
            reference: fields.text_opt("reference")?,
            failure: fields.json_opt("failure")?,
            next_try: fields.time("next_try_at")?,
        },
        ("COMPLETE", Some(assessment)) => Progress::Complete { assessment, verdict },
        ("FAILED", None) => Progress::Failed(fields.json("failure")?),
        (other, _) => {
            return Err(fields.corrupt("state", format_args!("{other:?} does not go with its assessment")));
        }
    };
    Ok(Screening {
        subject,
        round: fields.number("round")?,
        transfer: fields.parse_opt("transfer")?,
        attempts: fields.number("attempts")?,
        progress,
        begun_at: fields.time("begun_at")?,
        updated_at: fields.time("updated_at")?,
    })
}
