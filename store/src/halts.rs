//! Halts: accounts, or whole networks, for which nothing new is prepared or signed until a person says so.
//!
//! What was signed before goes on: it is valid whatever we do, and is broadcast and confirmed. A halt is written together with what
//! gave cause for it, and ends by [`lift`] or [`lift_by_two`] only.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events, jobs,
    page::{self, Page},
    row::{Fields, plain},
    transfers,
};
use bursar_domain::{lifecycle::Status, network::Network, time::Timestamp, wallet::WalletDescriptor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::{fmt, num::ParseIntError, str::FromStr};

/// The sequence of the event `account.halted` that told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HaltId(i64);

impl fmt::Display for HaltId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl FromStr for HaltId {
    type Err = ParseIntError;
    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

/// What gave cause for a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum HaltCode {
    /// A transaction that is not ours used an output, nonce or Sequence of the account.
    ForeignSpend,
    /// `bursar reconcile` found that chain and store disagree.
    ReconcileBreak,
    /// A person said so.
    Operator,
}

impl HaltCode {
    const ALL: [(Self, &'static str); 3] = [
        (Self::ForeignSpend, "FOREIGN_SPEND"),
        (Self::ReconcileBreak, "RECONCILE_BREAK"),
        (Self::Operator, "OPERATOR"),
    ];
}
impl fmt::Display for HaltCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(code, _)| code == self).map_or("", |(_, name)| name))
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown halt code")]
pub struct InvalidHaltCode;
impl FromStr for HaltCode {
    type Err = InvalidHaltCode;
    fn from_str(text: &str) -> Result<Self, InvalidHaltCode> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(code, _)| *code).ok_or(InvalidHaltCode)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halt {
    pub id: HaltId,
    pub network: Network,
    /// An address, or a wallet's descriptor (which covers all of its addresses); `None`: the whole network.
    pub account: Option<String>,
    pub code: HaltCode,
    pub reason: String,
    pub since: Timestamp,
    pub end: Option<End>,
}

/// How far its end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// One person says that it may end; another has to, too.
    Asked {
        by: String,
        because: String,
    },
    Lifted(Lifted),
}

/// Who ended a halt, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifted {
    pub at: Timestamp,
    pub by: String,
    pub because: String,
}

impl Halt {
    pub const fn lifted(&self) -> Option<&Lifted> {
        match &self.end {
            Some(End::Lifted(lifted)) => Some(lifted),
            Some(End::Asked { .. }) | None => None,
        }
    }

    /// Whether it keeps these addresses of the wallet from sending.
    pub fn covers(&self, wallet: &WalletDescriptor, addresses: &[String]) -> bool {
        self.network == wallet.network
            && self
                .account
                .as_ref()
                .is_none_or(|account| *account == wallet.to_string() || addresses.contains(account))
    }
}
impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.account.as_deref().unwrap_or("the whole network");
        write!(f, "halt {} on {} ({who}), {}: {}", self.id, self.network, self.code, self.reason)
    }
}

/// What became of a halt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Halted {
    New(HaltId),
    /// One for the same account and cause stands already.
    Already(HaltId),
}

impl Halted {
    pub const fn id(self) -> HaltId {
        match self {
            Self::New(id) | Self::Already(id) => id,
        }
    }
}

const COLUMNS: &str = "id, network, account, code, reason, since, lifted_at, lifted_by, lifted_because";

/// Halts an account, or with `None` the whole network, with the event `account.halted`. A second time, for the same cause, changes
/// nothing.
pub async fn halt(
    tx: &mut WriteTx,
    network: Network,
    account: Option<&str>,
    code: HaltCode,
    reason: &str,
    now: Timestamp,
) -> Result<Halted, StoreError> {
    const OPERATION: &str = "halts.halt";
    let stands = sqlx::query(
        "SELECT id FROM halts WHERE network = $1 AND account = $2 AND code = $3 AND lifted_at IS NULL",
    )
    .bind(network.to_string())
    .bind(account.unwrap_or_default().to_owned())
    .bind(code.to_string())
    .fetch_optional(tx.connection())
    .await
    .during(OPERATION)?;
    if let Some(row) = stands {
        return Ok(Halted::Already(HaltId(Fields::new(&row, "halts", "id")?.int("id")?)));
    }
    let payload = json!({ "network": network, "account": account, "code": code, "reason": reason });
    let id = events::append_numbered(tx, "account.halted", None, now, &payload).await?;
    sqlx::query(
        "INSERT INTO halts (id, network, account, code, reason, since) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(id)
    .bind(network.to_string())
    .bind(account.unwrap_or_default().to_owned())
    .bind(code.to_string())
    .bind(plain(reason))
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    Ok(Halted::New(HaltId(id)))
}

/// Ends a halt, with the event `account.resumed`, and nudges what may have waited for that. Gives the halt as it is now; `None`: there
/// is none of this id. Lifting twice is lifting once: the first reason stays.
pub async fn lift(
    tx: &mut WriteTx,
    id: HaltId,
    by: &str,
    because: &str,
    now: Timestamp,
) -> Result<Option<Halt>, StoreError> {
    const OPERATION: &str = "halts.lift";
    let done = sqlx::query(
        "UPDATE halts SET lifted_at = $1, lifted_by = $2, lifted_because = $3 WHERE id = $4 AND lifted_at IS NULL",
    )
    .bind(now.micros())
    .bind(plain(by))
    .bind(plain(because))
    .bind(id.0)
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    let Some(halt) = get_in(tx, id).await? else { return Ok(None) };
    if done.rows_affected() == 1 {
        events::append(tx, "account.resumed", None, now, &said(&halt, by, because)).await?;
        for status in [Status::Queued, Status::PendingSignature] {
            for transfer in transfers::in_status_on(tx.connection(), halt.network, status).await? {
                jobs::nudge(tx, transfer, now).await?;
            }
        }
    }
    Ok(Some(halt))
}

/// As [`lift`], where it takes two. The first word is kept, with the event `account.resume_asked`; that of anybody else lifts it, as long as
/// the first one's `counts`. Who says it again only replaces the reason.
pub async fn lift_by_two(
    tx: &mut WriteTx,
    id: HaltId,
    by: &str,
    because: &str,
    counts: impl Fn(&str) -> bool,
    now: Timestamp,
) -> Result<Option<Halt>, StoreError> {
    let Some(halt) = get_in(tx, id).await? else { return Ok(None) };
    match &halt.end {
        Some(End::Lifted(_)) => return Ok(Some(halt)),
        Some(End::Asked { by: first, because: before }) if *first == plain(by) => {
            if *before == plain(because) {
                return Ok(Some(halt));
            }
        }
        Some(End::Asked { by: first, .. }) if counts(first) => {
            return lift(tx, id, &format!("{first} and {by}"), because, now).await;
        }
        Some(End::Asked { .. }) | None => {}
    }
    sqlx::query("UPDATE halts SET lifted_by = $1, lifted_because = $2 WHERE id = $3 AND lifted_at IS NULL")
        .bind(plain(by))
        .bind(plain(because))
        .bind(id.0)
        .execute(tx.connection())
        .await
        .during("halts.ask")?;
    events::append(tx, "account.resume_asked", None, now, &said(&halt, by, because)).await?;
    get_in(tx, id).await
}

/// That somebody wants it to end, and why.
fn said(halt: &Halt, by: &str, because: &str) -> Value {
    json!({
        "haltId": halt.id,
        "network": halt.network,
        "account": halt.account,
        "code": halt.code,
        "by": by,
        "reason": because,
    })
}

async fn get_in(tx: &mut WriteTx, id: HaltId) -> Result<Option<Halt>, StoreError> {
    let halt = sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM halts WHERE id = $1")))
        .bind(id.0)
        .fetch_optional(tx.connection())
        .await
        .during("halts.get")?;
    halt.as_ref().map(decode).transpose()
}

pub(crate) const STANDING: &str = "SELECT id, network, account, code, reason, since, lifted_at, lifted_by, lifted_because FROM halts \
     WHERE network = $1 AND lifted_at IS NULL";

/// What stands on a network now; [`Halt::covers`] says for whom.
pub async fn standing(store: &Store, network: Network) -> Result<Vec<Halt>, StoreError> {
    standing_on(&mut *store.reader().await?, network).await
}

/// As [`standing`], within a transaction.
pub async fn standing_in(tx: &mut WriteTx, network: Network) -> Result<Vec<Halt>, StoreError> {
    standing_on(tx.connection(), network).await
}

async fn standing_on(connection: &mut AnyConnection, network: Network) -> Result<Vec<Halt>, StoreError> {
    let rows = sqlx::query(STANDING)
        .bind(network.to_string())
        .fetch_all(connection)
        .await
        .during("halts.standing")?;
    rows.iter().map(decode).collect()
}

/// Newest first; with `all`, also those that were lifted.
pub async fn list(
    store: &Store,
    all: bool,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Page<Halt>, StoreError> {
    let before = cursor.map_or(Ok(i64::MAX), |cursor| page::decode("halts", cursor))?;
    let standing = if all { "" } else { "AND lifted_at IS NULL" };
    let sql = format!("SELECT {COLUMNS} FROM halts WHERE id < $1 {standing} ORDER BY id DESC LIMIT $2");
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(before)
        .bind(page::fetch(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("halts.list")?;
    let items = rows.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::cut(items, limit, "halts", |halt| halt.id.to_string()))
}

fn decode(row: &AnyRow) -> Result<Halt, StoreError> {
    let fields = Fields::new(row, "halts", "id")?;
    let end = match (
        fields.time_opt("lifted_at")?,
        fields.text_opt("lifted_by")?,
        fields.text_opt("lifted_because")?,
    ) {
        (Some(at), Some(by), Some(because)) => Some(End::Lifted(Lifted { at, by, because })),
        (None, Some(by), Some(because)) => Some(End::Asked { by, because }),
        (None, None, None) => None,
        _ => return Err(fields.corrupt("lifted_at", "half a lifting")),
    };
    Ok(Halt {
        id: HaltId(fields.int("id")?),
        network: fields.parse("network")?,
        account: Some(fields.text("account")?).filter(|account| !account.is_empty()),
        code: fields.parse("code")?,
        reason: fields.text("reason")?,
        since: fields.time("since")?,
        end,
    })
}
