//! `screener.toml`. What is wrong is named by its field, with what it must be.

#[cfg(test)]
mod documented;
mod provider;

pub use provider::ProviderConfig;

use crate::{
    key::{KeyError, ServiceKey},
    mapping::{InvalidMapping, Mapping, MappingConfig},
    provider::{Provider, call::Limits},
    secret::{Secret, SecretError, SecretSource},
    service::{Book, BookError, InvalidPush, Push, Screener, Settings},
};
use bursar_domain::{
    governance::{
        directory::{KeyId, UserId},
        log::EntryDigest,
    },
    time::Clock,
};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where it listens. This machine only unless said otherwise.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// The folder of `screener.redb`.
    pub data: PathBuf,
    /// What callers must have.
    pub token: SecretSource,
    /// The first entry of the desk's governance log, under which verdicts count. Without it they count under none.
    #[serde(default)]
    pub genesis: Option<EntryDigest>,
    #[serde(default = "default_validity")]
    pub validity_seconds: u64,
    #[serde(default = "default_patience")]
    pub patience_seconds: u64,
    #[serde(default = "default_concurrent")]
    pub max_concurrent: usize,
    #[serde(default = "default_cached")]
    pub max_cached: usize,
    #[serde(default = "default_poll")]
    pub poll_seconds: u64,
    pub key: KeyConfig,
    pub provider: ProviderConfig,
    #[serde(default)]
    pub http: Limits,
    #[serde(default)]
    pub mapping: MappingConfig,
    /// Where alerts are brought; without it they are only served.
    #[serde(default)]
    pub orchestrator: Option<Orchestrator>,
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// As `bursar-screener keygen` made it.
    pub file: PathBuf,
    /// The INTEGRATION_SERVICE of the governance log.
    pub user: UserId,
    /// The id of this key there.
    pub id: KeyId,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Orchestrator {
    pub alerts_url: String,
    #[serde(default)]
    pub token: Option<SecretSource>,
}

fn default_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7460))
}
const fn default_validity() -> u64 {
    3600
}
const fn default_patience() -> u64 {
    15
}
const fn default_concurrent() -> usize {
    32
}
const fn default_cached() -> usize {
    100_000
}
const fn default_poll() -> u64 {
    30
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{field}: {must}")]
    Field { field: &'static str, must: String },
    #[error("{field}: {source}")]
    Secret { field: &'static str, source: SecretError },
    #[error("key: {0}")]
    Key(#[from] KeyError),
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    #[error(transparent)]
    Push(#[from] InvalidPush),
    #[error("data: {0}")]
    Book(#[from] BookError),
}

/// A screener, ready to be served, and what runs beside it.
pub struct Composed {
    pub screener: Arc<Screener>,
    pub token: Secret,
    pub push: Option<Push>,
    pub poll: Duration,
}

impl Config {
    /// # Errors
    /// A file that cannot be read or makes no sense.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Io { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|source| ConfigError::Toml { path: path.to_owned(), source: Box::new(source) })
    }

    /// # Errors
    /// Text that makes no sense.
    pub fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Bounds of the numbers.
    fn check(&self) -> Result<(), ConfigError> {
        let bounds: [(&'static str, u64, u64, u64); 5] = [
            ("validity_seconds", self.validity_seconds, 1, 30 * 24 * 3600),
            ("patience_seconds", self.patience_seconds, 1, 100),
            ("max_concurrent", self.max_concurrent as u64, 1, 1000),
            ("max_cached", self.max_cached as u64, 1, 10_000_000),
            ("poll_seconds", self.poll_seconds, 1, 24 * 3600),
        ];
        for (field, value, min, max) in bounds {
            if !(min..=max).contains(&value) {
                return Err(ConfigError::Field { field, must: format!("must be {min} to {max}") });
            }
        }
        self.http.check().map_err(|must| ConfigError::Field { field: "http", must })
    }

    /// # Errors
    /// The first thing that is wrong.
    pub fn mapping(&self) -> Result<Mapping, ConfigError> {
        Ok(Mapping::new(self.mapping.clone())?)
    }

    /// # Errors
    /// The first thing that is wrong.
    pub fn key(&self) -> Result<ServiceKey, ConfigError> {
        let KeyConfig { file, user, id } = &self.key;
        let genesis = self.genesis.unwrap_or(EntryDigest::NONE);
        Ok(ServiceKey::load(file, user.clone(), id.clone(), genesis)?)
    }

    /// # Errors
    /// The first thing that is wrong.
    pub fn provider(&self, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Provider>, ConfigError> {
        self.provider.build(self.http, clock)
    }

    /// Everything but the store: what `check-config` looks at.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self, clock: &Arc<dyn Clock>) -> Result<ServiceKey, ConfigError> {
        self.check()?;
        self.mapping()?;
        self.provider(clock)?;
        self.push()?;
        secret("token", &self.token)?;
        if !self.data.is_dir() {
            let must = format!("{}: must be a folder; create it", self.data.display());
            return Err(ConfigError::Field { field: "data", must });
        }
        self.key()
    }

    fn push(&self) -> Result<Option<Push>, ConfigError> {
        let Some(Orchestrator { alerts_url, token }) = &self.orchestrator else { return Ok(None) };
        let token = token.as_ref().map(|source| secret("orchestrator.token", source)).transpose()?;
        Ok(Some(Push::new(alerts_url, token)?))
    }

    /// Opens the store and puts everything together.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn compose(&self, clock: Arc<dyn Clock>) -> Result<Composed, ConfigError> {
        let key = self.validate(&clock)?;
        let settings = Settings {
            validity: Duration::from_secs(self.validity_seconds),
            patience: Duration::from_secs(self.patience_seconds),
            max_concurrent: self.max_concurrent,
            max_cached: self.max_cached,
        };
        let book = Arc::new(Book::open(&self.data.join("screener.redb"), crate::service::Keep::default())?);
        let (provider, mapping) = (self.provider(&clock)?, self.mapping()?);
        let screener = Arc::new(Screener::new(provider, key, mapping, settings, clock, book));
        let (token, push) = (secret("token", &self.token)?, self.push()?);
        Ok(Composed { screener, token, push, poll: Duration::from_secs(self.poll_seconds) })
    }
}

pub(crate) fn secret(field: &'static str, source: &SecretSource) -> Result<Secret, ConfigError> {
    source.read().map_err(|source| ConfigError::Secret { field, source })
}

#[cfg(test)]
mod tests;
