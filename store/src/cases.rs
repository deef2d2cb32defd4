//! Cases: what compliance looks into, and what was noted about it. Also the alerts that opened them, each kept once as it was signed.
//!
//! A case does nothing by itself. What holds a transfer is in the transfer; what lets it go is in [`crate::reviews`].

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    page::{self, Page},
    row::{Fields, plain, to_json},
};
use bursar_domain::{
    ids::{CaseId, DepositId, TransferId},
    network::Network,
    screening::SignedAlert,
    time::Timestamp,
};
use serde_json::json;
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::{fmt, str::FromStr};

/// What opened a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The screening service raised an alert.
    Alert,
    /// What a screening found is for people to decide.
    Review,
    /// No answer of the screening was to be had, or none that could be used.
    Outage,
}

impl Cause {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Alert, "ALERT"), (Self::Review, "REVIEW"), (Self::Outage, "OUTAGE")];
}
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(cause, _)| cause == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be ALERT, REVIEW or OUTAGE")]
pub struct InvalidCause;
impl FromStr for Cause {
    type Err = InvalidCause;
    fn from_str(text: &str) -> Result<Self, InvalidCause> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(cause, _)| *cause).ok_or(InvalidCause)
    }
}

/// What a case is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaseSubject {
    Transfer(TransferId),
    Deposit(DepositId),
    Address {
        network: Network,
        address: String,
    },
    /// An order that this installation does not know, by its digest.
    Order(String),
}

impl CaseSubject {
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Transfer(_) => "TRANSFER",
            Self::Deposit(_) => "DEPOSIT",
            Self::Address { .. } => "ADDRESS",
            Self::Order(_) => "ORDER",
        }
    }
    pub const fn transfer(&self) -> Option<TransferId> {
        match self {
            Self::Transfer(id) => Some(*id),
            _ => None,
        }
    }
}
impl fmt::Display for CaseSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer(id) => id.fmt(f),
            Self::Deposit(id) => id.fmt(f),
            Self::Address { network, address } => write!(f, "{network} {address}"),
            Self::Order(digest) => f.write_str(digest),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    pub id: CaseId,
    pub cause: Cause,
    pub subject: CaseSubject,
    pub reason: String,
    pub opened_at: Timestamp,
    /// When the last alert about it came.
    pub alerted_at: Option<Timestamp>,
    pub closed: Option<Closed>,
}

/// Who closed a case, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub at: Timestamp,
    pub by: String,
    pub because: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Of the event that told it.
    pub sequence: i64,
    pub at: Timestamp,
    pub by: String,
    pub text: String,
}

/// What became of opening a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    New(CaseId),
    /// One about the same, for the same cause, is open: the reason was noted in it.
    Already(CaseId),
}

impl Opened {
    pub const fn id(self) -> CaseId {
        match self {
            Self::New(id) | Self::Already(id) => id,
        }
    }
}

/// Which cases to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filter {
    /// Also those that are closed.
    pub closed: bool,
    pub cause: Option<Cause>,
}

const COLUMNS: &str =
    "id, cause, subject_kind, subject, reason, opened_at, alerted_at, closed_at, closed_by, closed_because";

/// Who opens, notes and closes what nobody did by hand.
pub const BURSAR: &str = "bursar";

/// Opens a case, with the event `case.opened`; where one about the same is open for the same cause, the reason is noted in it, unless it is
/// what the case says already.
pub async fn open(
    tx: &mut WriteTx,
    id: CaseId,
    cause: Cause,
    subject: &CaseSubject,
    reason: &str,
    now: Timestamp,
) -> Result<Opened, StoreError> {
    const OPERATION: &str = "cases.open";
    let alerted = (cause == Cause::Alert).then_some(now.micros());
    if let Some(there) = open_about(tx, subject, cause).await? {
        if alerted.is_some() {
            sqlx::query("UPDATE cases SET alerted_at = $1 WHERE id = $2")
                .bind(alerted)
                .bind(there.id.to_string())
                .execute(tx.connection())
                .await
                .during(OPERATION)?;
        }
        if alerted.is_some() || there.reason != plain(reason) {
            note(tx, there.id, BURSAR, reason, now).await?;
        }
        return Ok(Opened::Already(there.id));
    }
    sqlx::query(
        "INSERT INTO cases (id, cause, subject_kind, subject, reason, opened_at, alerted_at) VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id.to_string())
    .bind(cause.to_string())
    .bind(subject.kind().to_owned())
    .bind(subject.to_string())
    .bind(plain(reason))
    .bind(now.micros())
    .bind(alerted)
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    let payload = json!({
        "caseId": id,
        "cause": cause.to_string(),
        "subject": { "kind": subject.kind(), "of": subject.to_string() },
        "transferId": subject.transfer(),
        "reason": reason,
    });
    events::append(tx, "case.opened", subject.transfer(), now, &payload).await?;
    Ok(Opened::New(id))
}

/// The open case about this, for this cause.
pub async fn open_about(
    tx: &mut WriteTx,
    subject: &CaseSubject,
    cause: Cause,
) -> Result<Option<Case>, StoreError> {
    Ok(open_on(tx.connection(), subject).await?.into_iter().find(|case| case.cause == cause))
}

/// The open cases about this.
pub async fn open_of(store: &Store, subject: &CaseSubject) -> Result<Vec<Case>, StoreError> {
    open_on(&mut *store.reader().await?, subject).await
}

async fn open_on(connection: &mut AnyConnection, subject: &CaseSubject) -> Result<Vec<Case>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM cases WHERE subject_kind = $1 AND subject = $2 AND closed_at IS NULL ORDER BY id"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(subject.kind().to_owned())
        .bind(subject.to_string())
        .fetch_all(connection)
        .await
        .during("cases.open_of")?;
    rows.iter().map(decode).collect()
}

/// Adds a note, with the event `case.noted`. The caller knows that the case is there.
pub async fn note(
    tx: &mut WriteTx,
    id: CaseId,
    by: &str,
    text: &str,
    now: Timestamp,
) -> Result<Note, StoreError> {
    let payload = json!({ "caseId": id, "by": by, "note": text });
    let sequence = events::append_numbered(tx, "case.noted", None, now, &payload).await?;
    let (by, text) = (plain(by), plain(text));
    sqlx::query(
        "INSERT INTO case_notes (case_id, sequence, author, note, noted_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(id.to_string())
    .bind(sequence)
    .bind(by.clone())
    .bind(text.clone())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("case_notes.insert")?;
    Ok(Note { sequence, at: now, by, text })
}

/// Closes a case, with the event `case.closed`. Gives it as it is now; `None`: there is none of this id. Closing twice is closing once:
/// the first reason stays.
pub async fn close(
    tx: &mut WriteTx,
    id: CaseId,
    by: &str,
    because: &str,
    now: Timestamp,
) -> Result<Option<Case>, StoreError> {
    let closed = sqlx::query(
        "UPDATE cases SET closed_at = $1, closed_by = $2, closed_because = $3 WHERE id = $4 AND closed_at IS NULL",
    )
    .bind(now.micros())
    .bind(plain(by))
    .bind(plain(because))
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("cases.close")?;
    let Some(case) = get_in(tx, id).await? else { return Ok(None) };
    if closed.rows_affected() == 1 {
        let payload =
            json!({ "caseId": id, "by": by, "reason": because, "transferId": case.subject.transfer() });
        events::append(tx, "case.closed", case.subject.transfer(), now, &payload).await?;
    }
    Ok(Some(case))
}

/// Closes whatever is open about this for one of these causes.
pub async fn close_about(
    tx: &mut WriteTx,
    subject: &CaseSubject,
    causes: &[Cause],
    by: &str,
    because: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    for case in open_on(tx.connection(), subject).await? {
        if causes.contains(&case.cause) {
            close(tx, case.id, by, because, now).await?;
        }
    }
    Ok(())
}

pub async fn get(store: &Store, id: CaseId) -> Result<Option<Case>, StoreError> {
    get_on(&mut *store.reader().await?, id).await
}

/// As [`get`], within a transaction.
pub async fn get_in(tx: &mut WriteTx, id: CaseId) -> Result<Option<Case>, StoreError> {
    get_on(tx.connection(), id).await
}

async fn get_on(connection: &mut AnyConnection, id: CaseId) -> Result<Option<Case>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM cases WHERE id = $1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("cases.get")?;
    row.as_ref().map(decode).transpose()
}

/// What was noted about a case, in order; the first thousand.
pub async fn notes(store: &Store, id: CaseId) -> Result<Vec<Note>, StoreError> {
    let rows = sqlx::query(
        "SELECT case_id, sequence, author, note, noted_at FROM case_notes WHERE case_id = $1 ORDER BY sequence LIMIT 1000",
    )
    .bind(id.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("case_notes.of")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "case_notes", "case_id")?;
            Ok(Note {
                sequence: fields.int("sequence")?,
                at: fields.time("noted_at")?,
                by: fields.text("author")?,
                text: fields.text("note")?,
            })
        })
        .collect()
}

/// Newest first.
pub async fn list(
    store: &Store,
    filter: Filter,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Case>, StoreError> {
    let before = cursor.map(|cursor| page::decode::<CaseId>("cases", cursor)).transpose()?;
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    if let Some(before) = before {
        values.push(before.to_string());
        conditions.push(format!("id < ${}", values.len()));
    }
    if let Some(cause) = filter.cause {
        values.push(cause.to_string());
        conditions.push(format!("cause = ${}", values.len()));
    }
    if !filter.closed {
        conditions.push("closed_at IS NULL".into());
    }
    let condition =
        if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
    let end = values.len() + 1;
    let sql = format!("SELECT {COLUMNS} FROM cases {condition} ORDER BY id DESC LIMIT ${end}");
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for value in values {
        query = query.bind(value);
    }
    let rows =
        query.bind(page::fetch(limit)).fetch_all(&mut *store.reader().await?).await.during("cases.list")?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(items, limit, "cases", |case| case.id.to_string()))
}

fn decode(row: &AnyRow) -> Result<Case, StoreError> {
    let fields = Fields::new(row, "cases", "id")?;
    let subject = match fields.text("subject_kind")?.as_str() {
        "TRANSFER" => CaseSubject::Transfer(fields.parse("subject")?),
        "DEPOSIT" => CaseSubject::Deposit(fields.parse("subject")?),
        "ORDER" => CaseSubject::Order(fields.text("subject")?),
        "ADDRESS" => {
            let text = fields.text("subject")?;
            let parts = text.split_once(' ').and_then(|(network, address)| {
                Some(CaseSubject::Address { network: network.parse().ok()?, address: address.to_owned() })
            });
            parts.ok_or_else(|| fields.corrupt("subject", "not a network and an address"))?
        }
        other => return Err(fields.corrupt("subject_kind", format_args!("{other:?} is unknown"))),
    };
    let closed = match (
        fields.time_opt("closed_at")?,
        fields.text_opt("closed_by")?,
        fields.text_opt("closed_because")?,
    ) {
        (Some(at), Some(by), Some(because)) => Some(Closed { at, by, because }),
        (None, None, None) => None,
        _ => return Err(fields.corrupt("closed_at", "half a closing")),
    };
    Ok(Case {
        id: fields.parse("id")?,
        cause: fields.parse("cause")?,
        subject,
        reason: fields.text("reason")?,
        opened_at: fields.time("opened_at")?,
        alerted_at: fields.time_opt("alerted_at")?,
        closed,
    })
}

/// What is known of an alert's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KnownAlert {
    /// This very alert, which opened or joined this case.
    Same(CaseId),
    /// The service gave the same id to another alert.
    Other,
}

/// The case of an alert that came before.
pub async fn known_alert(tx: &mut WriteTx, signed: &SignedAlert) -> Result<Option<KnownAlert>, StoreError> {
    let row = sqlx::query("SELECT id, alert, case_id FROM screening_alerts WHERE screener = $1 AND id = $2")
        .bind(signed.signature.user.to_string())
        .bind(signed.alert.id.clone())
        .fetch_optional(tx.connection())
        .await
        .during("screening_alerts.get")?;
    let Some(row) = row else { return Ok(None) };
    let fields = Fields::new(&row, "screening_alerts", "id")?;
    let there: SignedAlert = fields.json("alert")?;
    let same = there.alert == signed.alert;
    Ok(Some(if same { KnownAlert::Same(fields.parse("case_id")?) } else { KnownAlert::Other }))
}

/// Keeps an alert whose signature the caller has verified.
pub async fn keep_alert(
    tx: &mut WriteTx,
    signed: &SignedAlert,
    case: CaseId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO screening_alerts (screener, id, alert, case_id, received_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(signed.signature.user.to_string())
    .bind(signed.alert.id.clone())
    .bind(to_json(signed))
    .bind(case.to_string())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("screening_alerts.insert")
    .map(|_| ())
}

/// All alerts that are about this, by name, each with when it came.
pub async fn alerts_about(
    tx: &mut WriteTx,
    subject: &CaseSubject,
) -> Result<Vec<(SignedAlert, Timestamp)>, StoreError> {
    let rows = sqlx::query(
        "SELECT a.id, a.alert, a.received_at FROM cases c JOIN screening_alerts a ON a.case_id = c.id \
         WHERE c.subject_kind = $1 AND c.subject = $2 ORDER BY a.received_at, a.id",
    )
    .bind(subject.kind().to_owned())
    .bind(subject.to_string())
    .fetch_all(tx.connection())
    .await
    .during("screening_alerts.about")?;
    let alert = |row: &AnyRow| {
        let fields = Fields::new(row, "screening_alerts", "id")?;
        Ok((fields.json("alert")?, fields.time("received_at")?))
    };
    rows.iter().map(alert).collect()
}
