//! What is read from files and written to them.

use super::{NotSigned, keys::parse_digest};
use crate::{
    api::audited,
    cli::{ConfigFile, output::Output},
    client::Client,
    compose::{SystemClock, open_store},
    config::Config,
};
use anyhow::{Context as _, bail};
use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest},
        state::State,
    },
    time::{Clock as _, Timestamp},
};
use bursar_store::{
    Store,
    governance::{self, Appended},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path};

/// A whole log in a file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exported {
    pub genesis: EntryDigest,
    pub entries: Vec<ExportedEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportedEntry {
    pub entry: Entry,
    /// When whoever exported it first had it.
    pub seen_at: Timestamp,
}

/// Reads JSON, or TOML from a file that is called so.
pub fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let is_toml = file.extension().is_some_and(|extension| extension == "toml");
    let read = match is_toml {
        true => toml::from_str(&text).map_err(|error| error.to_string()),
        false => serde_json::from_str(&text).map_err(|error| error.to_string()),
    };
    read.map_err(|error| NotSigned(format!("{}: {error}", file.display())).into())
}

pub fn create(file: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    let mut out =
        fs::OpenOptions::new().write(true).create_new(true).open(file).with_context(|| {
            format!("cannot create {} (an existing file is not overwritten)", file.display())
        })?;
    out.write_all(text.as_bytes())
        .and_then(|()| out.sync_all())
        .with_context(|| format!("cannot write {}", file.display()))
}

/// All of it or nothing.
pub fn replace(file: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    create(Path::new(&beside), value)?;
    fs::rename(&beside, file).with_context(|| format!("cannot replace {}", file.display()))
}

/// Puts a log into the database: all of the file, or nothing. What is there already stays.
pub async fn load(file: &Path, config: &ConfigFile, output: Output) -> anyhow::Result<()> {
    let config = Config::load(&config.config)?;
    let now = SystemClock.now();
    let value: Value = read(file)?;
    let exported: Exported = match value.get("entries") {
        Some(_) => serde_json::from_value(value).with_context(|| file.display().to_string())?,
        None => {
            let entry: Entry = serde_json::from_value(value).with_context(|| file.display().to_string())?;
            Exported { genesis: entry.digest(), entries: vec![ExportedEntry { entry, seen_at: now }] }
        }
    };
    let pinned = config.governance.genesis.unwrap_or(exported.genesis);
    // By a clock that is ahead of ours, changes would wait too long here. All are moved, so that none waited less than it did.
    let last = exported.entries.iter().map(|entry| entry.seen_at).max().unwrap_or(now);
    let ahead = last.since(now);
    let seen = |at: Timestamp| Timestamp(at.micros().saturating_sub(micros(ahead)));
    let entries = || exported.entries.iter().map(|entry| (&entry.entry, seen(entry.seen_at)));
    let state = State::replay(pinned, entries())
        .map_err(|(place, refused)| anyhow::anyhow!("{}: entry {place}: {refused}", file.display()))?;
    let store = open_store(&config).await?;
    let store = store.acting(audited::command("bursar governance load", now));
    let added = put(&store, entries()).await?;
    if config.governance.genesis.is_none() {
        eprintln!(
            "now compare this digest with the other parties, and set it in the configuration:\n\n[governance]\ngenesis = \"{pinned}\"\n"
        );
    }
    output.value(&json!({ "genesis": pinned, "head": state.head(), "entriesAdded": added }));
    Ok(())
}

fn micros(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

async fn put<'e>(
    store: &Store,
    entries: impl Iterator<Item = (&'e Entry, Timestamp)>,
) -> anyhow::Result<usize> {
    let mut tx = store.write().await?;
    let mut added = 0;
    for (entry, seen_at) in entries {
        let document = entry.read()?;
        let head = bursar_domain::governance::log::Head { seq: document.seq, digest: entry.digest() };
        match governance::append(&mut tx, head, document.previous, entry, seen_at).await? {
            Appended::Applied => added += 1,
            Appended::Already => {}
            Appended::NotNext(last) => bail!(
                "the database holds another log, which ends with {}; nothing was changed",
                last.map_or_else(|| "nothing".to_owned(), |head| head.to_string())
            ),
        }
    }
    tx.commit().await?;
    Ok(added)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub items: Vec<Item>,
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub document: String,
    pub signatures: Vec<bursar_domain::governance::signature::Signature>,
    pub seen_at_micros: i64,
}

/// Writes the log to a file, as far as replay takes it here.
pub async fn export(
    client: &Client,
    out: &Path,
    genesis: Option<&str>,
    output: Output,
) -> anyhow::Result<()> {
    let mut entries = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", "200".to_owned())];
        query.extend(after.map(|after| ("after", after)));
        let page: Page = client.get("/v1/governance/entries", &query).await?;
        entries.extend(page.items.into_iter().map(|item| ExportedEntry {
            entry: Entry { document: item.document, signatures: item.signatures },
            seen_at: Timestamp(item.seen_at_micros),
        }));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let found = entries.first().context("the server's log is empty")?.entry.digest();
    let genesis = genesis.map_or(Ok(found), |genesis| parse_digest("--genesis", genesis))?;
    let state = State::replay(genesis, entries.iter().map(|entry| (&entry.entry, entry.seen_at)))
        .map_err(|(place, refused)| anyhow::anyhow!("the server's log: entry {place}: {refused}"))?;
    let count = entries.len();
    create(out, &Exported { genesis, entries })?;
    output.value(&json!({ "file": out, "genesis": genesis, "head": state.head(), "entries": count }));
    Ok(())
}
