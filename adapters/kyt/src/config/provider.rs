//! `[provider]`: which one, where, and with which credentials.

use super::{ConfigError, secret};
use crate::{
    provider::{
        Coverage, NetworkNames, Provider, Token,
        call::{Limits, Server},
        chainalysis::{self, Chainalysis},
        elliptic::{self, Elliptic},
        http::Hook,
        list::{List, ListProvider},
        trm::{self, Trm},
    },
    secret::{Secret, SecretSource},
};
use bursar_domain::time::Clock;
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum ProviderConfig {
    Chainalysis {
        #[serde(default = "chainalysis_url")]
        url: String,
        api_key: SecretSource,
        /// As whom everything is registered there.
        #[serde(default = "default_user")]
        user: String,
        #[serde(default = "chainalysis_alerts")]
        alerts_path: String,
        #[serde(default)]
        networks: Option<BTreeMap<String, String>>,
        #[serde(default)]
        tokens: Vec<Token>,
    },
    Elliptic {
        #[serde(default = "elliptic_url")]
        url: String,
        api_key: SecretSource,
        /// In base64, as Elliptic gives it.
        secret: SecretSource,
        /// What Elliptic posts alerts with; without it none are taken.
        #[serde(default)]
        callback_token: Option<SecretSource>,
        #[serde(default)]
        networks: Option<BTreeMap<String, String>>,
        #[serde(default)]
        tokens: Vec<Token>,
    },
    Trm {
        #[serde(default = "trm_url")]
        url: String,
        api_key: SecretSource,
        #[serde(default = "default_user")]
        account: String,
        /// What TRM signs alerts with; without it none are taken.
        #[serde(default)]
        callback_secret: Option<SecretSource>,
        #[serde(default)]
        networks: Option<BTreeMap<String, String>>,
        #[serde(default)]
        tokens: Vec<Token>,
    },
    Http {
        url: String,
        #[serde(default)]
        token: Option<SecretSource>,
        /// Signs questions, and verifies alerts; without it neither.
        #[serde(default)]
        signing_secret: Option<SecretSource>,
    },
    List {
        file: PathBuf,
    },
}

fn default_user() -> String {
    "bursar".into()
}
fn chainalysis_url() -> String {
    "https://api.chainalysis.com".into()
}
fn chainalysis_alerts() -> String {
    "/api/kyt/v1/alerts".into()
}
fn elliptic_url() -> String {
    "https://aml-api.elliptic.co".into()
}
fn trm_url() -> String {
    "https://api.trmlabs.com".into()
}

fn wrong(field: &'static str, must: impl ToString) -> ConfigError {
    ConfigError::Field { field, must: must.to_string() }
}

fn server(url: &str, limits: Limits) -> Result<Server, ConfigError> {
    Server::new(url, limits).map_err(|error| wrong("provider.url", error))
}

fn coverage(
    names: NetworkNames,
    networks: Option<&BTreeMap<String, String>>,
    tokens: &[Token],
) -> Result<Coverage, ConfigError> {
    Coverage::new(names, networks, tokens).map_err(|error| wrong("provider", error))
}

fn optional(field: &'static str, source: Option<&SecretSource>) -> Result<Option<Secret>, ConfigError> {
    source.map(|source| secret(field, source)).transpose()
}

fn named<'a>(field: &'static str, name: &'a str) -> Result<&'a str, ConfigError> {
    let valid = (1..=100).contains(&name.len()) && name.chars().all(|c| c.is_ascii_graphic());
    if valid { Ok(name) } else { Err(wrong(field, "must be 1 to 100 visible characters")) }
}

impl ProviderConfig {
    /// # Errors
    /// The first thing that is wrong.
    pub fn build(&self, limits: Limits, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Provider>, ConfigError> {
        let key = |source| secret("provider.api_key", source);
        Ok(match self {
            Self::Chainalysis { url, api_key, user, alerts_path, networks, tokens } => {
                let coverage = coverage(chainalysis::NETWORKS, networks.as_ref(), tokens)?;
                let plain = alerts_path.starts_with('/') && !alerts_path.contains(['?', '#']);
                if !plain {
                    return Err(wrong("provider.alerts_path", "must begin with / and have no query"));
                }
                let user = named("provider.user", user)?.to_owned();
                let (server, alerts) = (server(url, limits)?, alerts_path.clone());
                Arc::new(Chainalysis::new(server, key(api_key)?, user, coverage, alerts, clock.clone()))
            }
            Self::Elliptic { url, api_key, secret: signing, callback_token, networks, tokens } => {
                let coverage = coverage(elliptic::NETWORKS, networks.as_ref(), tokens)?;
                let signing = secret("provider.secret", signing)?;
                let callback = optional("provider.callback_token", callback_token.as_ref())?;
                let server = server(url, limits)?;
                let made = Elliptic::new(server, key(api_key)?, &signing, coverage, callback, clock.clone());
                Arc::new(made.map_err(|error| wrong("provider.secret", error))?)
            }
            Self::Trm { url, api_key, account, callback_secret, networks, tokens } => {
                let coverage = coverage(trm::NETWORKS, networks.as_ref(), tokens)?;
                let callback = optional("provider.callback_secret", callback_secret.as_ref())?;
                let account = named("provider.account", account)?.to_owned();
                Arc::new(Trm::new(server(url, limits)?, key(api_key)?, account, coverage, callback))
            }
            Self::Http { url, token, signing_secret } => {
                let token = optional("provider.token", token.as_ref())?;
                let signing = optional("provider.signing_secret", signing_secret.as_ref())?;
                let made = Hook::new(server(url, limits)?, token, signing.as_ref(), clock.clone());
                Arc::new(made.map_err(|error| wrong("provider.signing_secret", error))?)
            }
            Self::List { file } => {
                let list = List::open(file).map_err(|error| wrong("provider.file", error))?;
                Arc::new(ListProvider(Arc::new(list)))
            }
        })
    }
}
