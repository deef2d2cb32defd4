//! Which orders the institution at the other end must be told of, and how.

use crate::{api::state::Assets, travel_rule::HttpExchange};
use anyhow::Context as _;
use bursar_domain::{
    amount::Amount,
    governance::directory::CounterpartyId,
    travel_rule::{Manual, Thresholds, TravelRuleExchange},
};
use bursar_kyt::secret::SecretSource;
use bursar_workers::travel_rule::{
    TravelRule, TravelRuleSettings,
    vault::{Vault, VaultKey},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeKind {
    /// People tell the other side, and a compliance officer notes what it said.
    Manual,
    /// A service of one's own, over HTTPS (docs/travel-rule.md).
    Http,
}

/// Without this section nobody is told anything, and what a policy wants told waits.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TravelRuleConfig {
    /// Made by `bursar travel-rule key`; what is handed in is encrypted for it.
    pub key_file: PathBuf,
    /// The one before: what was encrypted for it is still opened.
    pub previous_key_file: Option<PathBuf>,
    pub exchange: ExchangeKind,
    /// For `http`: https, or http on this machine.
    pub url: Option<String>,
    /// For `http`: the token that it wants, in a file that only its owner may read.
    pub token_file: Option<PathBuf>,
    /// From which amount on, by asset, in whole units (`BTC = "0.02"`), unless the published policy has a `travelRule`. An asset without one: always.
    #[serde(default)]
    pub thresholds: BTreeMap<String, String>,
    /// Counterparties of the address book behind which there is no institution, unless the published policy has a `travelRule`.
    #[serde(default)]
    pub self_hosted: BTreeSet<String>,
    /// For one question, 1 to 120.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
    /// How often silence and outages are asked again before people have to look: 0 to 20.
    #[serde(default = "retries")]
    pub retries: u32,
}

const fn timeout() -> u64 {
    20
}
const fn retries() -> u32 {
    5
}

impl TravelRuleConfig {
    pub(super) fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=120).contains(&self.timeout_seconds) {
            problems.push("travel_rule.timeout_seconds: from 1 to 120".to_owned());
        }
        if self.retries > 20 {
            problems.push("travel_rule.retries: from 0 to 20".to_owned());
        }
        let http = self.exchange == ExchangeKind::Http;
        for (name, given) in [("url", self.url.is_some()), ("token_file", self.token_file.is_some())] {
            if given != http {
                let must = if http { "is missing" } else { "is only for exchange = \"http\"" };
                problems.push(format!("travel_rule.{name}: {must}"));
            }
        }
        for name in self.self_hosted.iter().filter(|name| name.parse::<CounterpartyId>().is_err()) {
            problems.push(format!("travel_rule.self_hosted: {name:?} names no counterparty"));
        }
        problems
    }

    pub(super) fn resolve(&mut self, base: &Path) {
        self.key_file = base.join(&self.key_file);
        for file in self.previous_key_file.iter_mut().chain(&mut self.token_file) {
            *file = base.join(&*file);
        }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// A file, an address or a threshold that cannot be used.
    pub fn open(&self, assets: &Assets) -> anyhow::Result<TravelRule> {
        let vault = Vault::new(
            VaultKey::load(&self.key_file)?,
            self.previous_key_file.as_deref().map(VaultKey::load).transpose()?,
        );
        let thresholds = self.thresholds.iter().map(|(name, amount)| {
            let info = assets.find(name);
            let info = info.with_context(|| format!("thresholds.{name}: no asset of this installation"))?;
            let amount = Amount::parse_decimal(amount, info.decimals);
            Ok::<_, anyhow::Error>((info.asset, amount.with_context(|| format!("thresholds.{name}"))?))
        });
        let thresholds = Thresholds {
            from: thresholds.collect::<anyhow::Result<_>>()?,
            self_hosted: self.self_hosted.iter().filter_map(|name| name.parse().ok()).collect(),
        };
        let timeout = Duration::from_secs(self.timeout_seconds);
        let exchange: Arc<dyn TravelRuleExchange> = match (&self.url, &self.token_file) {
            (Some(url), Some(file)) => {
                let token = SecretSource::File { file: file.clone() }.read().context("token_file")?;
                Arc::new(HttpExchange::new(url, token, timeout)?)
            }
            _ => Arc::new(Manual),
        };
        let settings = TravelRuleSettings {
            manual: self.exchange == ExchangeKind::Manual,
            // The client's own limit comes first, and says more.
            timeout: timeout + Duration::from_secs(1),
            retries: self.retries,
            retry: Duration::from_secs(2),
        };
        Ok(TravelRule::new(thresholds, vault, exchange, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::asset::AssetInfo;

    fn read(text: &str) -> TravelRuleConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        assert!(read("key_file = \"k\"\nexchange = \"manual\"").check().is_empty());
        let wrong = read(
            "key_file = \"k\"\nexchange = \"http\"\ntimeout_seconds = 0\nretries = 21\nself_hosted = [\"No Such\"]",
        );
        let problems = wrong.check().join("\n");
        for field in ["timeout_seconds", "retries", "url", "token_file", "self_hosted"] {
            assert!(problems.contains(&format!("travel_rule.{field}: ")), "{problems}");
        }
        assert!(!read("key_file = \"k\"\nexchange = \"manual\"\nurl = \"https://x\"").check().is_empty());
    }

    #[test]
    fn thresholds_are_of_known_assets() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = read("key_file = \"k\"\nexchange = \"manual\"\nthresholds = { BTC = \"0.02\" }");
        config.resolve(folder.path());
        let assets = Assets::new(AssetInfo::natives().into());
        assert!(config.open(&assets).is_err(), "there is no key file");
        VaultKey::create(&config.key_file).unwrap();
        assert!(config.open(&assets).is_ok());
        config.thresholds.insert("DOGE".into(), "1".into());
        assert!(config.open(&assets).is_err_and(|error| format!("{error:#}").contains("thresholds.DOGE")));
    }
}
