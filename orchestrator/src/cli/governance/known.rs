//! The desk's log as this machine has verified it.
//!
//! Whoever signs on their own machine must not take the head of the log, the policy and who is who from the server that asks for the
//! signature. So each command that signs fetches the log's entries, replays them here by the same code as every co-signer, and keeps
//! them: a server that later shows an older log, or another one, is told from an honest one and gets no signature.
//!
//! Delays are not held here: the times at which entries came are the server's. Every co-signer holds them by its own clock. What counts
//! here is that each entry is signed by those whom the entries before it permit.

use super::{
    NotSigned,
    files::{Exported, ExportedEntry, Page},
    keys::parse_digest,
};
use crate::{
    cli::Connection,
    client::{Client, ClientError},
};
use anyhow::Context as _;
use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest, Head},
        state::State,
    },
    time::Timestamp,
};
use clap::Args;
use reqwest::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

// How the desk's log is known here. (Not a doc comment: see `Connection`.)
#[derive(Debug, Args)]
pub struct Known {
    /// The digest of the log's first entry, as the parties told it to each other. Without it, what a server shows the first time is
    /// believed, and held against it from then on.
    #[arg(long = "genesis", value_name = "DIGEST", env = "BURSAR_GENESIS")]
    pinned: Option<String>,
    /// Where this machine keeps the log that it has verified. [default: $XDG_STATE_HOME/bursar or ~/.local/state/bursar]
    #[arg(long = "state", value_name = "DIR", env = "BURSAR_STATE")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    genesis: EntryDigest,
    head: Head,
}

/// Which log each server showed.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Servers {
    genesis_of: BTreeMap<String, EntryDigest>,
}

impl Known {
    /// The log up to where the server's ends, verified here.
    ///
    /// # Errors
    /// [`NotSigned`] if the server shows another log than the one that is pinned or known, an older one, or one that replay refuses.
    pub async fn verified(&self, connection: &Connection, client: &Client) -> anyhow::Result<State> {
        let told: Told = client.get("/v1/governance", &[]).await?;
        self.follow(connection, client, told).await
    }

    /// The same; `None` where the server says that it has no log, and this machine knows of none.
    ///
    /// # Errors
    /// Also [`NotSigned`] if the server says so although a log is pinned, or was shown before.
    pub async fn verified_if_governed(
        &self,
        connection: &Connection,
        client: &Client,
    ) -> anyhow::Result<Option<State>> {
        let problem = match client.get("/v1/governance", &[]).await {
            Ok(told) => return self.follow(connection, client, told).await.map(Some),
            Err(problem) => problem,
        };
        let none =
            matches!(&problem, ClientError::Refused { status, .. } if *status == StatusCode::NOT_FOUND);
        if !none {
            return Err(problem.into());
        }
        if self.pinned.is_some() || self.was_governed(connection)? {
            let reason = format!(
                "{} says that it has no governance log, and this desk has one: an order without its terms would be worth nothing here, and \
                 something elsewhere",
                connection.url
            );
            return Err(refused(reason));
        }
        Ok(None)
    }

    /// Whether this server showed a log before. Makes no folder.
    fn was_governed(&self, connection: &Connection) -> anyhow::Result<bool> {
        let folder = self.folder()?;
        if !folder.is_dir() {
            return Ok(false);
        }
        let servers: Option<Servers> = Kept::open(&folder)?.read("servers.json")?;
        Ok(servers.is_some_and(|servers| servers.genesis_of.contains_key(&connection.url)))
    }

    async fn follow(&self, connection: &Connection, client: &Client, told: Told) -> anyhow::Result<State> {
        let folder = self.folder()?;
        let kept = Kept::open(&folder)?;
        let mut servers: Servers = kept.read("servers.json")?.unwrap_or_default();
        let before = servers.genesis_of.get(&connection.url).copied();
        let pinned = match &self.pinned {
            Some(text) => Some(parse_digest("--genesis", text)?),
            None => before,
        };
        let genesis = pinned.unwrap_or(told.genesis);
        if genesis != told.genesis {
            return Err(refused(format!(
                "{} shows the log that begins with {}, and the one of this desk begins with {genesis}; if the desk has begun a new log, \
                 compare its digest with the other parties and give it as --genesis",
                connection.url, told.genesis
            )));
        }
        let file = format!("log-{genesis}.json");
        let mut log = kept.read(&file)?.unwrap_or(Exported { genesis, entries: Vec::new() });
        let known = log.entries.len();
        let state = follow(client, &mut log, told.head).await?;
        if log.entries.len() > known {
            kept.replace(&file, &log)?;
        }
        if before != Some(genesis) {
            if pinned.is_none() && known == 0 {
                eprintln!(
                    "{} is asked for the first time: its log begins with\n  {genesis}\ncompare this digest with the other parties",
                    connection.url
                );
            }
            servers.genesis_of.insert(connection.url.clone(), genesis);
            kept.replace("servers.json", &servers)?;
        }
        Ok(state)
    }

    fn folder(&self) -> anyhow::Result<PathBuf> {
        if let Some(folder) = &self.folder {
            return Ok(folder.clone());
        }
        let absolute = |folder: std::ffi::OsString| Some(PathBuf::from(folder)).filter(|it| it.is_absolute());
        let home = || Some(std::env::home_dir()?.join(".local/state"));
        let base = std::env::var_os("XDG_STATE_HOME").and_then(absolute).or_else(home);
        Ok(base
            .context("there is no home directory: say with --state where to keep the verified log")?
            .join("bursar"))
    }
}

/// Replays what is known, and on top of it what the server has after that, which is added to `log`.
async fn follow(client: &Client, log: &mut Exported, told: Head) -> anyhow::Result<State> {
    let mut state = match log.entries.is_empty() {
        true => None,
        false => Some(replay(log).map_err(|why| {
            refused(format!("the verified log that this machine keeps is damaged: {why}; remove the file to fetch it again"))
        })?),
    };
    if let Some(state) = &state {
        agrees(state.head(), told)?;
    }
    while state.as_ref().is_none_or(|state| state.head().seq < told.seq) {
        let after = state.as_ref().map(|state| ("after", state.head().seq.to_string()));
        let query: Vec<_> = after.into_iter().chain([("limit", "200".to_owned())]).collect();
        let page: Page = client.get("/v1/governance/entries", &query).await?;
        if page.items.is_empty() {
            let reason = format!("the server says that its log ends with {told}, and does not show it");
            return Err(refused(reason));
        }
        for item in page.items {
            let seen_at = Timestamp(item.seen_at_micros);
            let entry = Entry { document: item.document, signatures: item.signatures };
            let next = match state {
                None => State::genesis(&entry, log.genesis),
                Some(mut state) => state.append(&entry, seen_at).map(|_| state),
            };
            let next = next.map_err(|refused_by| {
                refused(format!(
                    "the server's log does not follow from what this machine has verified: {refused_by}"
                ))
            })?;
            if next.head().seq == told.seq {
                agrees(next.head(), told)?;
            }
            state = Some(next);
            log.entries.push(ExportedEntry { entry, seen_at });
        }
    }
    state.context("a log has a first entry")
}

fn replay(log: &Exported) -> Result<State, String> {
    State::replay(log.genesis, log.entries.iter().map(|it| (&it.entry, it.seen_at)))
        .map_err(|(place, refused)| format!("entry {place}: {refused}"))
}

/// Whether a server that is at `told` can have shown `known` before.
fn agrees(known: Head, told: Head) -> anyhow::Result<()> {
    if told.seq < known.seq {
        return Err(refused(format!(
            "the server's log ends with {told}, and this machine has verified it up to {known}: it withholds what came after, or was \
             restored from an old copy"
        )));
    }
    if told.seq == known.seq && told.digest != known.digest {
        return Err(refused(format!(
            "the server's log has {told} where this machine has verified {known}: there are two logs, and one was made to deceive"
        )));
    }
    Ok(())
}

fn refused(reason: String) -> anyhow::Error {
    NotSigned(reason).into()
}

/// This machine's folder, for this command alone until it is dropped.
struct Kept<'a> {
    folder: &'a Path,
    _lock: fs::File,
}

impl<'a> Kept<'a> {
    fn open(folder: &'a Path) -> anyhow::Result<Self> {
        let told = || format!("cannot use {} to keep the verified log", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(told)?;
        let mut lock = fs::OpenOptions::new();
        let lock = lock.write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"));
        let lock = lock.with_context(told)?;
        lock.lock().with_context(told)?;
        Ok(Self { folder, _lock: lock })
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> anyhow::Result<Option<T>> {
        let file = self.folder.join(name);
        let text = match fs::read(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let value = serde_json::from_slice(&text);
        value
            .map(Some)
            .with_context(|| format!("{} is damaged: remove it to fetch the log again", file.display()))
    }

    /// All of it or nothing, readable by its owner only.
    fn replace(&self, name: &str, value: &impl Serialize) -> anyhow::Result<()> {
        let (file, beside) = (self.folder.join(name), self.folder.join(format!("{name}.new")));
        let told = || format!("cannot write {}", file.display());
        let text = serde_json::to_vec(value).context("cannot write JSON")?;
        let mut out = fs::OpenOptions::new();
        let out = out.write(true).create(true).truncate(true).mode(0o600).open(&beside);
        let mut out = out.with_context(told)?;
        out.write_all(&text).and_then(|()| out.sync_all()).with_context(told)?;
        fs::rename(&beside, &file).with_context(told)?;
        fs::File::open(self.folder).and_then(|folder| folder.sync_all()).with_context(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn head(seq: u64, byte: u8) -> Head {
        Head { seq, digest: EntryDigest([byte; 32]) }
    }

    #[test]
    fn an_older_log_and_another_one_are_told_from_the_same() {
        assert!(agrees(head(4, 1), head(4, 1)).is_ok());
        assert!(agrees(head(4, 1), head(9, 2)).is_ok(), "what comes in between is replayed");
        assert!(agrees(head(4, 1), head(3, 1)).unwrap_err().to_string().contains("withholds"));
        assert!(agrees(head(4, 1), head(4, 2)).unwrap_err().to_string().contains("two logs"));
    }

    #[test]
    fn what_is_kept_is_the_owners_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let kept = Kept::open(&folder).unwrap();
        assert_eq!(kept.read::<Servers>("servers.json").unwrap(), None);
        let mut servers = Servers::default();
        for n in 0..3 {
            servers.genesis_of.insert(format!("http://{n}"), EntryDigest([n; 32]));
            kept.replace("servers.json", &servers).unwrap();
            assert_eq!(kept.read("servers.json").unwrap().as_ref(), Some(&servers));
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("servers.json"))), (0o700, 0o600));
        fs::write(folder.join("servers.json"), "{").unwrap();
        assert!(kept.read::<Servers>("servers.json").unwrap_err().to_string().contains("damaged"));
    }
}
