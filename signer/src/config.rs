//! `signer.toml`: who this party is, who the others are, and which relays it dials.

use crate::confirm::Confirm;
use bursar_domain::signing::{PartyIndex, PartyRole};
use bursar_signer_client::PublicIdentity;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub index: PartyIndex,
    pub name: String,
    pub role: PartyRole,
    /// t. More than half of the parties, or two disjoint quorums could each sign a transaction for one intent.
    pub threshold: u16,
    #[serde(default = "default_session_seconds")]
    pub session_seconds: u64,
    /// Who must confirm a payment at this party, besides its rules.
    #[serde(default, skip_serializing_if = "Confirm::is_none")]
    pub confirm: Confirm,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relays: Vec<RelayAddress>,
    /// Every other party.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<Peer>,
}

const fn default_session_seconds() -> u64 {
    120
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayAddress {
    /// `host:port`.
    pub address: String,
    pub public_key: PublicIdentity,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub index: PartyIndex,
    pub name: String,
    /// Whose it is. Without it this one is nobody whose co-signer a policy can require.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<PartyRole>,
    pub public_key: PublicIdentity,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{path}: {problems}")]
    Invalid { path: PathBuf, problems: Problems },
}

/// Everything that is wrong at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<String>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl Config {
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        let config: Self = toml::from_str(&text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })?;
        config.check().map_err(|problems| ConfigError::Invalid { path: path.to_owned(), problems })?;
        Ok(config)
    }

    pub fn check(&self) -> Result<(), Problems> {
        let mut problems = Vec::new();
        if self.relays.is_empty() {
            problems.push("relays: at least one is needed".to_owned());
        }
        let mut indexes: BTreeSet<u16> = self.peers.iter().map(|peer| peer.index.0).collect();
        indexes.insert(self.index.0);
        if indexes.len() != self.peers.len() + 1
            || !indexes.iter().map(|index| usize::from(*index)).eq(0..indexes.len())
        {
            problems.push(format!(
                "peers: together with this party's index, indexes must be 0 to {}, each once",
                self.peers.len()
            ));
        }
        let keys: BTreeSet<PublicIdentity> = self.peers.iter().map(|peer| peer.public_key).collect();
        if keys.len() != self.peers.len() {
            problems.push("peers: two have the same public_key".to_owned());
        }
        let parties = self.parties();
        if self.threshold < 2 || self.threshold > parties || self.threshold * 2 <= parties {
            problems.push(format!(
                "threshold: must be more than half of the {parties} parties, at least 2, and at most {parties}"
            ));
        }
        if !(1..=3600).contains(&self.session_seconds) {
            problems.push("session_seconds: must be 1 to 3600".to_owned());
        }
        if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
    }

    /// n.
    pub fn parties(&self) -> u16 {
        u16::try_from(self.peers.len()).map_or(u16::MAX, |peers| peers.saturating_add(1))
    }

    pub fn peer(&self, index: PartyIndex) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.index == index)
    }

    /// The role of a party, by this one's own configuration.
    pub fn role_of(&self, index: PartyIndex) -> Option<PartyRole> {
        if index == self.index { Some(self.role) } else { self.peer(index)?.role }
    }

    pub const fn session_deadline(&self) -> Duration {
        Duration::from_secs(self.session_seconds)
    }
}
