//! Endpoints that the event log is sent on to, and how far each of them is.
//!
//! An endpoint has a position in the log, as any reader has. What lies before it was decided: an event that it is told has a row among
//! [`deliveries`], which waits, was delivered, or was given up. So nothing is skipped however long an endpoint is away, and what waits is
//! bounded: past a limit, its position stands still.

pub mod deliveries;
mod prune;
mod resend;

#[cfg(test)]
pub(crate) use prune::BY_AGE;
pub use prune::{Keep, prune};
pub use resend::{Asked, resend};

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    row::{Fields, plain, to_json},
};
use bursar_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{
    Any, AnyConnection, AssertSqlSafe,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// The most endpoints at once.
pub const MAX_ENDPOINTS: usize = 100;

/// Names an endpoint: a UUID, or its name in the governance log. 1 to 64 of `a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointId(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a webhook id: 1 to 64 characters of a-z 0-9 . _ -")]
pub struct InvalidEndpointId;

impl EndpointId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl TryFrom<String> for EndpointId {
    type Error = InvalidEndpointId;
    fn try_from(text: String) -> Result<Self, InvalidEndpointId> {
        text.parse()
    }
}
impl From<EndpointId> for String {
    fn from(id: EndpointId) -> Self {
        id.0
    }
}
impl FromStr for EndpointId {
    type Err = InvalidEndpointId;
    fn from_str(text: &str) -> Result<Self, InvalidEndpointId> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.to_owned())).ok_or(InvalidEndpointId)
    }
}
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where to, and what is told there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: String,
    /// Kinds of events, each with all that begin with it and a dot; `*` is every kind.
    pub events: BTreeSet<String>,
    /// Whether it may be at one of the private addresses that the configuration allows.
    pub allow_private: bool,
    /// The entry of the governance log that put it there; `None`: made by the API.
    pub entry: Option<u64>,
    /// What the configuration calls the secret that messages are authenticated with, instead of one of its own.
    pub shared_secret: Option<String>,
    /// The Ed25519 key, in hex, that it expects; nothing is sent that would be signed with another.
    pub public_key: Option<String>,
}

impl Target {
    /// Whether it is told of events of this kind.
    pub fn wants(&self, kind: &str) -> bool {
        let covers = |named: &String| {
            let rest = kind.strip_prefix(named.as_str());
            named == "*" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.events.iter().any(covers)
    }
}

/// Which secret an endpoint's messages are authenticated with: it follows from a key file and these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretOf {
    /// The key file's fingerprint.
    pub key_name: String,
    /// From 1; each rotation is one more.
    pub generation: u32,
    /// Until when messages are authenticated with the one before, too.
    pub previous_until: Option<Timestamp>,
}

/// An endpoint, and how it is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub id: EndpointId,
    pub target: Target,
    /// Why nothing is sent to it for now; `None`: it is enabled.
    pub disabled: Option<String>,
    pub secret: SecretOf,
    /// Up to which event of the log it was decided whether it is told.
    pub position: i64,
    /// Tries in a row that failed.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Timestamp>,
    /// Nothing is begun before.
    pub rests_until: Timestamp,
    /// When it took something last.
    pub delivered_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

impl Endpoint {
    /// One that was never tried.
    pub fn new(
        id: EndpointId,
        target: Target,
        key_name: String,
        position: i64,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            target,
            disabled: None,
            secret: SecretOf { key_name, generation: 1, previous_until: None },
            position,
            failures: 0,
            failing_since: None,
            rests_until: created_at,
            delivered_at: None,
            created_at,
        }
    }
}

const COLUMNS: &str = "id, url, events, allow_private, entry, shared_secret, public_key, state, reason, key_name, generation, \
     previous_until, position, failures, failing_since, rests_until, delivered_at, created_at";

/// All endpoints, by id. There are few.
pub async fn list(store: &Store) -> Result<Vec<Endpoint>, StoreError> {
    list_on(&mut *store.reader().await?).await
}

/// As [`list`], within a transaction.
pub async fn list_in(tx: &mut WriteTx) -> Result<Vec<Endpoint>, StoreError> {
    list_on(tx.connection()).await
}

async fn list_on(connection: &mut AnyConnection) -> Result<Vec<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE state <> 'REMOVED' ORDER BY id");
    let rows =
        sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.during("webhook_endpoints.list")?;
    rows.iter().map(decode).collect()
}

pub async fn get(store: &Store, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    get_on(&mut *store.reader().await?, id).await
}

/// As [`get`], within a transaction.
pub async fn get_in(tx: &mut WriteTx, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    get_on(tx.connection(), id).await
}

async fn get_on(connection: &mut AnyConnection, id: &EndpointId) -> Result<Option<Endpoint>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM webhook_endpoints WHERE id = $1 AND state <> 'REMOVED'");
    let row = sqlx::query(AssertSqlSafe(sql))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("webhook_endpoints.get")?;
    row.as_ref().map(decode).transpose()
}

/// Adds an endpoint, with the event `webhook.created`. One that was removed under the same id comes back as another: with a secret of
/// a later generation, and nothing of what waited.
///
/// # Errors
/// [`StoreError::Conflict`] if there is one of this id, or [`MAX_ENDPOINTS`] are enabled: what is disabled keeps nobody out.
pub async fn insert(tx: &mut WriteTx, endpoint: &Endpoint, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "webhook_endpoints.insert";
    if list_in(tx).await?.iter().filter(|one| one.disabled.is_none()).count() >= MAX_ENDPOINTS {
        let reason = format!("there are {MAX_ENDPOINTS} already; delete one");
        return Err(StoreError::Conflict { operation: OPERATION, reason });
    }
    let Endpoint { id, target, secret, .. } = endpoint;
    let query = sqlx::query(
        "INSERT INTO webhook_endpoints (url, events, allow_private, entry, shared_secret, public_key, id, state, key_name, generation, \
         position, failures, rests_until, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 'ENABLED', $8, $9, $10, 0, $11, $11) \
         ON CONFLICT (id) DO UPDATE SET url = excluded.url, events = excluded.events, allow_private = excluded.allow_private, \
         entry = excluded.entry, shared_secret = excluded.shared_secret, public_key = excluded.public_key, state = 'ENABLED', \
         reason = NULL, key_name = excluded.key_name, generation = webhook_endpoints.generation + 1, previous_until = NULL, \
         position = excluded.position, failures = 0, failing_since = NULL, rests_until = excluded.rests_until, \
         delivered_at = NULL, created_at = excluded.created_at WHERE webhook_endpoints.state = 'REMOVED'",
    );
    let inserted = bind(query, target)
        .bind(id.to_string())
        .bind(secret.key_name.clone())
        .bind(i64::from(secret.generation))
        .bind(endpoint.position)
        .bind(endpoint.created_at.micros())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    if inserted.rows_affected() == 0 {
        let reason = format!("there is an endpoint {id} already");
        return Err(StoreError::Conflict { operation: OPERATION, reason });
    }
    events::append(tx, "webhook.created", None, now, &told(id, target)).await
}

/// Replaces what an endpoint is by what the governance log says now, with the event `webhook.changed`. With another URL it is another
/// endpoint: it is told nothing of what waited. One that is disabled goes on only if that `enables` it.
pub async fn retarget(
    tx: &mut WriteTx,
    id: &EndpointId,
    target: &Target,
    enables: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "webhook_endpoints.retarget";
    let Some(before) = get_in(tx, id).await? else {
        return Err(StoreError::NotFound { table: "webhook_endpoints", key: id.to_string() });
    };
    if before.target.url != target.url {
        deliveries::give_up_all(tx, id, now).await?;
    }
    let query = sqlx::query(
        "UPDATE webhook_endpoints SET url = $1, events = $2, allow_private = $3, entry = $4, shared_secret = $5, public_key = $6 \
         WHERE id = $7",
    );
    bind(query, target).bind(id.to_string()).execute(tx.connection()).await.during(OPERATION)?;
    events::append(tx, "webhook.changed", None, now, &told(id, target)).await?;
    match (enables, &before.disabled) {
        (true, Some(_)) => enable(tx, id, now).await.map(|_| ()),
        (true, None) => forgive(tx, id, now).await,
        (false, _) => Ok(()),
    }
}

/// Forgets that tries of an enabled endpoint failed.
async fn forgive(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_endpoints SET failures = 0, failing_since = NULL, rests_until = $1 WHERE id = $2",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.forgive")
    .map(|_| ())
}

/// Binds the columns of a target to `$1` up to `$6`: url, events, allow_private, entry, shared_secret, public_key.
fn bind<'q>(query: Query<'q, Any, AnyArguments>, target: &Target) -> Query<'q, Any, AnyArguments> {
    query
        .bind(target.url.clone())
        .bind(to_json(&target.events))
        .bind(i64::from(target.allow_private))
        .bind(target.entry.and_then(|entry| i64::try_from(entry).ok()))
        .bind(target.shared_secret.clone())
        .bind(target.public_key.clone())
}

/// What the event log is told of an endpoint that is there, or is another now.
fn told(id: &EndpointId, target: &Target) -> Value {
    json!({ "webhookId": id.as_str(), "url": target.url, "events": target.events })
}

/// Sends nothing more to it, with the event `webhook.disabled`, which is an alarm. `false`: it was disabled before, or there is none.
pub async fn disable(
    tx: &mut WriteTx,
    id: &EndpointId,
    reason: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let disabled = sqlx::query(
        "UPDATE webhook_endpoints SET state = 'DISABLED', reason = $1 WHERE id = $2 AND state = 'ENABLED'",
    )
    .bind(plain(reason))
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.disable")?;
    if disabled.rows_affected() == 0 {
        return Ok(false);
    }
    let payload = json!({ "webhookId": id.as_str(), "reason": reason });
    events::append(tx, "webhook.disabled", None, now, &payload).await?;
    Ok(true)
}

/// Goes on with it from where it stood, with the event `webhook.enabled`; what waits is tried at once. `false`: it was enabled before, or
/// there is none.
pub async fn enable(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<bool, StoreError> {
    let enabled = sqlx::query(
        "UPDATE webhook_endpoints SET state = 'ENABLED', reason = NULL, failures = 0, failing_since = NULL, rests_until = $1 \
         WHERE id = $2 AND state = 'DISABLED'",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.enable")?;
    if enabled.rows_affected() == 0 {
        return Ok(false);
    }
    deliveries::try_all_now(tx, id, now).await?;
    events::append(tx, "webhook.enabled", None, now, &json!({ "webhookId": id.as_str() })).await?;
    Ok(true)
}

/// Forgets an endpoint, with the event `webhook.deleted`; [`prune`] takes away what it was sent. `false`: there is none.
pub async fn remove(tx: &mut WriteTx, id: &EndpointId, now: Timestamp) -> Result<bool, StoreError> {
    let removed =
        sqlx::query("UPDATE webhook_endpoints SET state = 'REMOVED' WHERE id = $1 AND state <> 'REMOVED'")
            .bind(id.to_string())
            .execute(tx.connection())
            .await
            .during("webhook_endpoints.remove")?;
    if removed.rows_affected() == 0 {
        return Ok(false);
    }
    deliveries::give_up_all(tx, id, now).await?;
    events::append(tx, "webhook.deleted", None, now, &json!({ "webhookId": id.as_str() })).await?;
    Ok(true)
}

/// The next generation of its secret, from the key file `key_name`, with the event `webhook.secret_rotated`. Messages are authenticated with
/// the one before, too, until `previous_until`, if that followed from the same file.
pub async fn rotate(
    tx: &mut WriteTx,
    id: &EndpointId,
    key_name: &str,
    previous_until: Timestamp,
    now: Timestamp,
) -> Result<Option<SecretOf>, StoreError> {
    let Some(Endpoint { secret, .. }) = get_in(tx, id).await? else { return Ok(None) };
    let previous_until = Some(previous_until).filter(|_| secret.key_name == key_name);
    let generation = secret.generation + 1;
    sqlx::query(
        "UPDATE webhook_endpoints SET key_name = $1, generation = $2, previous_until = $3 WHERE id = $4",
    )
    .bind(key_name.to_owned())
    .bind(i64::from(generation))
    .bind(previous_until.map(Timestamp::micros))
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during("webhook_endpoints.rotate")?;
    let payload = json!({ "webhookId": id.as_str(), "generation": generation });
    events::append(tx, "webhook.secret_rotated", None, now, &payload).await?;
    Ok(Some(SecretOf { key_name: key_name.to_owned(), generation, previous_until }))
}

fn decode(row: &AnyRow) -> Result<Endpoint, StoreError> {
    let fields = Fields::new(row, "webhook_endpoints", "id")?;
    let disabled = match fields.text("state")?.as_str() {
        "ENABLED" => None,
        "DISABLED" => Some(fields.text("reason")?),
        other => return Err(fields.corrupt("state", format_args!("{other:?} is not one"))),
    };
    Ok(Endpoint {
        id: fields.parse("id")?,
        target: Target {
            url: fields.text("url")?,
            events: fields.json("events")?,
            allow_private: fields.flag("allow_private")?,
            entry: fields.number_opt("entry")?,
            shared_secret: fields.text_opt("shared_secret")?,
            public_key: fields.text_opt("public_key")?,
        },
        disabled,
        secret: SecretOf {
            key_name: fields.text("key_name")?,
            generation: fields.number("generation")?,
            previous_until: fields.time_opt("previous_until")?,
        },
        position: fields.int("position")?,
        failures: fields.number("failures")?,
        failing_since: fields.time_opt("failing_since")?,
        rests_until: fields.time("rests_until")?,
        delivered_at: fields.time_opt("delivered_at")?,
        created_at: fields.time("created_at")?,
    })
}
