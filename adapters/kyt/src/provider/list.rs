//! A list of addresses in a file of the desk's own. Read again when it changes; while it cannot be read, nothing is screened.

use super::{About, Level, Mark, Provider, RawAlert, RawPage, Reply, Report, Subject};
use crate::text::short;
use async_trait::async_trait;
use bursar_domain::{
    network::{Chain, Network},
    screening::{RiskBand, Screened, Unanswered},
    time::Timestamp,
};
use serde::Deserialize;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

const MAX_FILE: u64 = 64 * 1024 * 1024;
/// What a clear word of the list's rests on, for who has to explain it later.
const REFERENCE: &str = "list";

pub struct List {
    path: PathBuf,
    loaded: Mutex<Option<Loaded>>,
}

struct Loaded {
    /// How the file looked: when it was written, and how long it is.
    seen: (Option<SystemTime>, u64),
    table: Arc<Table>,
}

/// The file, checked.
#[derive(Debug)]
struct Table {
    default: Option<Screened>,
    /// By the address as it is compared.
    entries: HashMap<String, Vec<Entry>>,
    alerts: Vec<ListedAlert>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What an address that is not in the list gets; without it, no answer.
    #[serde(default)]
    default: Option<Screened>,
    #[serde(default)]
    entries: Vec<Entry>,
    #[serde(default)]
    alerts: Vec<ListedAlert>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    address: String,
    /// On every network without it.
    #[serde(default)]
    network: Option<Network>,
    risk: RiskBand,
    /// What the risk leads to, without it. Never makes milder.
    #[serde(default)]
    outcome: Option<Screened>,
    #[serde(default)]
    sanctions: bool,
    #[serde(default)]
    category: String,
    #[serde(default)]
    finding: String,
}

/// Raised when it is added.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedAlert {
    id: String,
    #[serde(default)]
    network: Option<Network>,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    tx_id: Option<String>,
    risk: RiskBand,
    #[serde(default)]
    sanctions: bool,
    #[serde(default)]
    category: String,
    #[serde(default)]
    description: String,
}

#[derive(Debug, thiserror::Error)]
pub enum InvalidList {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: larger than 64 MiB")]
    TooLarge { path: PathBuf },
    #[error("{path}: {source}")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: entries: {address} is there twice for the same network")]
    Twice { path: PathBuf, address: String },
    #[error("{path}: {what}: must be 1 to 100 characters without spaces")]
    Address { path: PathBuf, what: &'static str },
    #[error("{path}: alerts: {id}: give an address with its network, or a tx_id")]
    Alert { path: PathBuf, id: String },
}

impl List {
    /// # Errors
    /// A file that is not there or makes no sense.
    pub fn open(path: &Path) -> Result<Self, InvalidList> {
        let list = Self { path: path.to_owned(), loaded: Mutex::new(None) };
        list.table()?;
        Ok(list)
    }

    /// The file as it is now.
    fn table(&self) -> Result<Arc<Table>, InvalidList> {
        let io = |source| InvalidList::Io { path: self.path.clone(), source };
        let meta = std::fs::metadata(&self.path).map_err(io)?;
        let seen = (meta.modified().ok(), meta.len());
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = loaded.as_ref()
            && loaded.seen == seen
        {
            return Ok(loaded.table.clone());
        }
        if meta.len() > MAX_FILE {
            return Err(InvalidList::TooLarge { path: self.path.clone() });
        }
        let text = std::fs::read_to_string(&self.path).map_err(io)?;
        let table = Arc::new(Table::parse(&self.path, &text)?);
        *loaded = Some(Loaded { seen, table: table.clone() });
        Ok(table)
    }

    /// The file as it is now, off the threads that must not wait.
    async fn current(self: &Arc<Self>) -> Result<Arc<Table>, Unanswered> {
        let list = self.clone();
        let read = tokio::task::spawn_blocking(move || list.table()).await;
        match read {
            Ok(Ok(table)) => Ok(table),
            Ok(Err(error)) => {
                tracing::error!(%error, "the list cannot be read: nothing is screened until it can");
                Err(Unanswered::Unavailable("the list cannot be read".into()))
            }
            Err(_) => Err(Unanswered::Unavailable("the list could not be read".into())),
        }
    }
}

/// The provider of a [`List`].
pub struct ListProvider(pub Arc<List>);

#[async_trait]
impl Provider for ListProvider {
    fn name(&self) -> &'static str {
        "list"
    }

    async fn screen(&self, _id: &str, subject: &Subject, _now: Timestamp) -> Result<Reply, Unanswered> {
        let table = self.0.current().await?;
        let network = subject.network();
        let asked: Vec<&str> = match subject {
            Subject::Deposit { from, .. } => from.iter().map(String::as_str).collect(),
            other => vec![other.address()],
        };
        let mut findings = Vec::new();
        let mut outcome = None;
        let mut unlisted = asked.is_empty();
        for address in asked {
            match table.find(network, address) {
                Some(entry) => {
                    outcome = outcome.max(entry.outcome);
                    findings.push(entry.mark());
                }
                None => unlisted = true,
            }
        }
        // An alert about it stands until it is taken out of the file: asking again does not lift it.
        if let Subject::Deposit { tx_id, .. } | Subject::Broadcast { tx_id, .. } = subject {
            let about = |alert: &&ListedAlert| {
                let of_tx = alert.tx_id.as_deref().is_some_and(|id| id.eq_ignore_ascii_case(tx_id));
                of_tx && alert.network.is_none_or(|of| of == network)
            };
            findings.extend(table.alerts.iter().filter(about).map(ListedAlert::mark));
        }
        let mut level = Level::Band(RiskBand::Low);
        if unlisted {
            let default = table.default.ok_or_else(|| {
                Unanswered::Unknown("an address is not in the list, which has no default".into())
            })?;
            if default != Screened::Clear {
                level = Level::Band(RiskBand::Unknown);
            }
            outcome = outcome.max(Some(default));
        }
        Ok(Reply::Report(Report {
            reference: REFERENCE.to_owned(),
            level,
            sanctions: false,
            outcome,
            findings,
            expires_at: None,
        }))
    }

    /// All of them, each time: who was told before knows by their ids.
    async fn alerts(&self, _cursor: Option<&str>) -> Result<RawPage, Unanswered> {
        let table = self.0.current().await?;
        let alerts = table.alerts.iter().map(ListedAlert::raw).collect();
        Ok(RawPage { alerts, next: None, more: false })
    }
}

impl Table {
    fn parse(path: &Path, text: &str) -> Result<Self, InvalidList> {
        let file: File = toml::from_str(text)
            .map_err(|source| InvalidList::Toml { path: path.to_owned(), source: Box::new(source) })?;
        let valid = |address: &str| {
            (1..=100).contains(&address.len())
                && !address.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        let mut entries: HashMap<String, Vec<Entry>> = HashMap::with_capacity(file.entries.len());
        for entry in file.entries {
            if !valid(&entry.address) {
                return Err(InvalidList::Address { path: path.to_owned(), what: "entries.address" });
            }
            let same = entries.entry(compared(&entry.address)).or_default();
            if same.iter().any(|other| other.network == entry.network) {
                return Err(InvalidList::Twice { path: path.to_owned(), address: entry.address });
            }
            same.push(entry);
        }
        for alert in &file.alerts {
            let by_address = alert.address.as_deref().is_some_and(valid) && alert.network.is_some();
            if !by_address && alert.tx_id.is_none() {
                return Err(InvalidList::Alert { path: path.to_owned(), id: short(&alert.id, 100) });
            }
        }
        Ok(Self { default: file.default, entries, alerts: file.alerts })
    }

    /// The entry for this network, or the one for every network.
    fn find(&self, network: Network, address: &str) -> Option<&Entry> {
        let all = self.entries.get(&compared(address))?;
        // What differs only by case is another address, but on Ethereum and in bech32.
        let same = |entry: &&Entry| {
            entry.address == address
                || network.chain() == Chain::Ethereum
                || (network.chain() == Chain::Bitcoin && is_bech32(address))
        };
        let named = all.iter().filter(same).find(|entry| entry.network == Some(network));
        named.or_else(|| all.iter().filter(same).find(|entry| entry.network.is_none()))
    }
}

/// As addresses are looked up.
fn compared(address: &str) -> String {
    address.to_ascii_lowercase()
}

fn is_bech32(address: &str) -> bool {
    let address = address.to_ascii_lowercase();
    ["bc1", "tb1", "bcrt1"].iter().any(|prefix| address.starts_with(prefix))
}

impl Entry {
    fn mark(&self) -> Mark {
        let category = if self.category.is_empty() { "listed" } else { &self.category };
        Mark {
            category: category.to_owned(),
            level: Level::Band(self.risk),
            sanctions: self.sanctions,
            description: self.finding.clone(),
        }
    }
}

impl ListedAlert {
    fn mark(&self) -> Mark {
        Mark {
            category: if self.category.is_empty() { "alert".to_owned() } else { self.category.clone() },
            level: Level::Band(self.risk),
            sanctions: self.sanctions,
            description: self.description.clone(),
        }
    }

    fn raw(&self) -> RawAlert {
        RawAlert {
            id: self.id.clone(),
            about: About {
                id: None,
                tx_id: self.tx_id.clone(),
                network: self.network,
                address: self.address.clone(),
            },
            category: self.category.clone(),
            level: Level::Band(self.risk),
            sanctions: self.sanctions,
            description: self.description.clone(),
            raised_at: None,
        }
    }
}
