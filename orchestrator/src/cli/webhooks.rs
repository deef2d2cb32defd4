//! Endpoints that events are sent on to.

use super::{Connection, admin::KeyFile, output::Output, wallets::Paging};
use anyhow::Context as _;
use bursar_workers::webhooks::keys;
use clap::{ArgGroup, Args, Subcommand};
use serde_json::{Value, json};

#[derive(Debug, Subcommand)]
pub enum Webhooks {
    /// Make the file that messages are signed with (webhooks.key_file); needs no API.
    Key(KeyFile),
    /// All endpoints.
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// One endpoint, and how it is doing.
    Get(One),
    /// Have events sent on to an endpoint, and show its secret, once.
    Create {
        /// Where to: https://…
        url: String,
        /// A kind of events with all below it, such as transfer or deposit.detected; repeat for more. All when absent.
        #[arg(long = "event")]
        events: Vec<String>,
        /// Begin after this event of the log; from now on when absent.
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Forget an endpoint.
    Delete(One),
    /// Go on sending, from where it stopped. Where something is governed, propose it again with a higher `renewed` instead.
    Enable(One),
    /// Stop sending until it is enabled again.
    Disable {
        id: String,
        /// For whoever wonders later.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a new secret and show it, once; the former one is valid for a while. Where something is governed, show the present one.
    Rotate {
        id: String,
        /// How long it is, 0 to 168 hours.
        #[arg(long, default_value_t = 24)]
        previous_valid_hours: u64,
        #[command(flatten)]
        connection: Connection,
    },
    /// What it was or is to be told, newest event first.
    Deliveries {
        id: String,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        connection: Connection,
    },
    Resend(Resend),
    /// Send a message that tells of nothing, and say what came of it. Exit code 3 if it was not taken.
    Test(One),
}

#[derive(Debug, Args)]
pub struct One {
    /// See `bursar webhooks list`.
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// Tell an endpoint events again.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["event", "transfer", "deposit", "from"])))]
pub struct Resend {
    /// See `bursar webhooks list`.
    id: String,
    /// One event, by its place in the log.
    #[arg(long)]
    event: Option<i64>,
    /// All of a transfer.
    #[arg(long)]
    transfer: Option<String>,
    /// All of a deposit.
    #[arg(long)]
    deposit: Option<String>,
    /// All from this time on, such as 2026-11-21T12:00:00Z.
    #[arg(long, requires = "until")]
    from: Option<String>,
    /// And before this one.
    #[arg(long, requires = "from")]
    until: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// The endpoint did not take the test message.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint did not take it: {0}")]
pub struct NotTaken(String);

pub async fn run(command: Webhooks, output: Output) -> anyhow::Result<()> {
    match command {
        Webhooks::Key(file) => return make_key(&file, output),
        Webhooks::List { connection } => {
            let page: Value = connection.client()?.get("/v1/webhooks", &[]).await?;
            output.table(&page, &["id", "state", "url", "events", "pending", "failures", "disabledBecause"]);
        }
        Webhooks::Get(one) => output.value(&one.connection.client()?.get(&one.path(""), &[]).await?),
        Webhooks::Create { url, events, cursor, connection } => {
            let events = (!events.is_empty()).then_some(events);
            let request = json!({ "url": url, "events": events, "cursor": cursor });
            output.value(&connection.client()?.post("/v1/webhooks", &request).await?);
        }
        Webhooks::Delete(one) => {
            one.connection.client()?.delete(&one.path("")).await?;
            output.note("the webhook is gone");
        }
        Webhooks::Enable(one) => {
            let changed = json!({ "enabled": true });
            output.value(&one.connection.client()?.patch(&one.path(""), &changed).await?);
        }
        Webhooks::Disable { id, reason, connection } => {
            let changed = json!({ "enabled": false, "reason": reason });
            output.value(&connection.client()?.patch(&path(&id, ""), &changed).await?);
        }
        Webhooks::Rotate { id, previous_valid_hours, connection } => {
            let request = json!({ "previousValidHours": previous_valid_hours });
            output.value(&connection.client()?.post(&path(&id, "/secret"), &request).await?);
        }
        Webhooks::Deliveries { id, paging, connection } => {
            let page: Value = connection.client()?.get(&path(&id, "/deliveries"), &paging.query()).await?;
            output.table(
                &page,
                &[
                    "sequence",
                    "type",
                    "state",
                    "updatedAt",
                    "nextTryAt",
                    "attempts.0.outcome",
                    "attempts.0.status",
                ],
            );
        }
        Webhooks::Resend(resend) => {
            let Resend { id, event, transfer, deposit, from, until, connection } = resend;
            let request = json!({ "sequence": event, "transferId": transfer, "depositId": deposit, "from": from, "until": until });
            output.value(&connection.client()?.post(&path(&id, "/resend"), &request).await?);
        }
        Webhooks::Test(one) => {
            let tested: Value = one.connection.client()?.post(&one.path("/test"), &json!({})).await?;
            output.value(&tested);
            if tested["outcome"] != "DELIVERED" {
                return Err(NotTaken(tested["outcome"].as_str().unwrap_or_default().to_owned()).into());
            }
        }
    }
    Ok(())
}

impl One {
    fn path(&self, rest: &str) -> String {
        path(&self.id, rest)
    }
}

/// What is not an id must not become another path.
fn path(id: &str, rest: &str) -> String {
    let escaped: String = id
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect();
    format!("/v1/webhooks/{escaped}{rest}")
}

fn make_key(file: &KeyFile, output: Output) -> anyhow::Result<()> {
    let path = file.path();
    let key = keys::KeyFile::create(path, &mut rand::rngs::OsRng)
        .with_context(|| format!("cannot make {}", path.display()))?;
    let name = key.name().to_owned();
    let keys = keys::Keys::new(key, None, std::collections::BTreeMap::new());
    output
        .value(&json!({ "file": path.display().to_string(), "name": name, "publicKey": keys.public_key() }));
    Ok(())
}
