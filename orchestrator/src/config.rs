//! Configuration: a TOML file, overridden by the environment (`BURSAR_STORE__URL`, `BURSAR_API__LISTEN`, …), checked at the start
//! with all errors at once.

mod api;
mod audit;
mod chains;
mod governance;
mod networks;
mod nodes;
mod reconcile;
mod replacement;
mod screening;
mod signer;
mod travel_rule;
mod webhooks;

pub use api::{ApiConfig, LimitsConfig, Network as CidrConfig, SessionsConfig};
pub use audit::AuditConfig;
pub use chains::{BitcoinConfig, BitcoinLogin, EthereumConfig, Hidden, TokenConfig, TracesConfig, XrpConfig};
pub use governance::GovernanceConfig;
pub use reconcile::ReconcileConfig;
pub use replacement::ReplacementConfig;
pub use screening::ScreeningConfig;
pub use signer::SignerConfig;
pub use travel_rule::TravelRuleConfig;
pub use webhooks::WebhooksConfig;

use bursar_domain::{network::Network, signing::PartyRole};
use bursar_signer_client::PublicIdentity;
use figment::{
    Figment,
    providers::{Env, Format, Toml},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
};

#[derive(Debug)]
pub struct Config {
    pub store: StoreConfig,
    pub api: ApiConfig,
    pub worker: WorkerConfig,
    /// Where co-signers dial in; without it this process cannot sign.
    pub relay: Option<RelayConfig>,
    pub signer: Option<SignerConfig>,
    pub engine: EngineConfig,
    pub bitcoin: Option<BitcoinConfig>,
    pub ethereum: Option<EthereumConfig>,
    pub xrp: Option<XrpConfig>,
    pub reconcile: ReconcileConfig,
    pub governance: GovernanceConfig,
    /// Who screens orders; without it they pass marked NOT_SCREENED.
    pub screening: Option<ScreeningConfig>,
    /// Which orders the institution at the other end is told of first, and how; without it none.
    pub travel_rule: Option<TravelRuleConfig>,
    pub audit: AuditConfig,
    pub webhooks: WebhooksConfig,
    pub log: LogConfig,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// `sqlite:///absolute/path.db`, or `postgres://user:password@host/database` for several machines.
    pub url: Hidden,
}

/// Of `bursar worker`, which has no API.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Where `/health`, `/ready` and `/metrics` are served, without a key; keep it on loopback. Nowhere when absent.
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayConfig {
    pub listen: SocketAddr,
    /// X25519 key file, made by `bursar relay-identity`. Co-signers pin its public half.
    pub identity_file: PathBuf,
    pub parties: Vec<PartyConfig>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartyConfig {
    /// 0 to n − 1, the same at every co-signer.
    pub index: u16,
    pub name: String,
    /// `CLIENT`, `WEALTH_MANAGER` or `CUSTODY_PLATFORM`
    pub role: PartyRole,
    /// Printed by `bursar-signer init`.
    pub public_key: PublicIdentity,
}

/// Intervals of the engine, in milliseconds; see `bursar_workers::Settings`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    pub concurrency: Option<usize>,
    pub signing: Option<usize>,
    pub lease_ms: Option<u64>,
    pub queue_poll_ms: Option<u64>,
    pub retry_ms: Option<u64>,
    pub rebroadcast_ms: Option<u64>,
    pub package_lifetime_ms: Option<u64>,
    pub sweep_ms: Option<u64>,
    pub stalled_sweeps: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `tracing` filter, such as `info,bursar_workers=debug`.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info,sqlx=warn".into(), json: false }
    }
}

/// Everything that is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has {} problem(s):\n{}", .0.len(), .0.iter().map(|p| format!("  - {p}")).collect::<Vec<_>>().join("\n"))]
pub struct InvalidConfig(pub Vec<String>);

const SECTIONS: [&str; 16] = [
    "store",
    "api",
    "worker",
    "relay",
    "signer",
    "engine",
    "bitcoin",
    "ethereum",
    "xrp",
    "reconcile",
    "governance",
    "screening",
    "travel_rule",
    "audit",
    "webhooks",
    "log",
];

impl Config {
    /// Reads `path` and the environment.
    pub fn load(path: &Path) -> Result<Self, InvalidConfig> {
        if !path.is_file() {
            let remedy = "write one (README.md has an example), or name it with --config";
            return Err(InvalidConfig(vec![format!("{}: no such file: {remedy}", path.display())]));
        }
        let own = |key: &figment::value::UncasedStr| {
            SECTIONS.iter().any(|section| key.as_str().to_lowercase().starts_with(&format!("{section}__")))
        };
        let environment = Env::prefixed("BURSAR_").filter(own).split("__");
        let mut config = Self::read(&Figment::new().merge(Toml::file(path)).merge(environment))?;
        config.resolve(path.parent().unwrap_or(Path::new(".")));
        Ok(config)
    }

    fn read(figment: &Figment) -> Result<Self, InvalidConfig> {
        let mut problems = Vec::new();
        match figment.extract::<toml::Table>() {
            Ok(table) => {
                for unknown in table.keys().filter(|key| !SECTIONS.contains(&key.as_str())) {
                    problems.push(format!("[{unknown}]: unknown section; known are {}", SECTIONS.join(", ")));
                }
            }
            Err(error) => {
                return Err(InvalidConfig(error.into_iter().map(|error| error.to_string()).collect()));
            }
        }
        let config = (
            required(figment, "store", &mut problems),
            required(figment, "api", &mut problems),
            optional::<WorkerConfig>(figment, "worker", &mut problems),
            optional(figment, "relay", &mut problems),
            optional::<SignerConfig>(figment, "signer", &mut problems),
            optional(figment, "engine", &mut problems),
            optional(figment, "bitcoin", &mut problems),
            optional(figment, "ethereum", &mut problems),
            optional(figment, "xrp", &mut problems),
            optional(figment, "reconcile", &mut problems),
            optional(figment, "governance", &mut problems),
            optional(figment, "log", &mut problems),
        );
        let (store, api, worker, relay, signer, engine, bitcoin, ethereum, xrp, reconcile, governance, log) =
            config;
        let screening = optional::<ScreeningConfig>(figment, "screening", &mut problems);
        problems.extend(screening.iter().flat_map(ScreeningConfig::check));
        let travel_rule = optional::<TravelRuleConfig>(figment, "travel_rule", &mut problems);
        problems.extend(travel_rule.iter().flat_map(TravelRuleConfig::check));
        let webhooks = optional::<WebhooksConfig>(figment, "webhooks", &mut problems);
        let audit = optional::<AuditConfig>(figment, "audit", &mut problems);
        problems.extend(audit.iter().flat_map(AuditConfig::check));
        problems.extend(webhooks.iter().flat_map(WebhooksConfig::check));
        if ["bitcoin", "ethereum", "xrp"].iter().all(|chain| figment.find_value(chain).is_err()) {
            problems.push("no chain: add at least one of [bitcoin], [ethereum], [xrp]".into());
        }
        problems.extend(store.as_ref().and_then(StoreConfig::check));
        problems.extend(api.as_ref().into_iter().flat_map(ApiConfig::check));
        let chains = [
            bitcoin.as_ref().map(BitcoinConfig::check),
            ethereum.as_ref().map(EthereumConfig::check),
            xrp.as_ref().map(XrpConfig::check),
            relay.as_ref().map(RelayConfig::check),
            engine.as_ref().map(EngineConfig::check),
        ];
        problems.extend(chains.into_iter().flatten().flatten());
        let networks = [
            bitcoin.as_ref().map(|bitcoin| ("bitcoin.network", Network::Bitcoin(bitcoin.network))),
            ethereum.as_ref().map(|ethereum| ("ethereum.chain_id", Network::Ethereum(ethereum.chain_id))),
            xrp.as_ref().map(|xrp| ("xrp.network_id", Network::Xrp(xrp.network_id))),
        ];
        let networks: Vec<_> = networks.into_iter().flatten().collect();
        problems.extend(signer.iter().flat_map(|signer| signer.check(relay.is_some(), &networks)));
        match (store, api) {
            (Some(store), Some(api)) if problems.is_empty() => Ok(Self {
                store,
                api,
                worker: worker.unwrap_or_default(),
                relay,
                signer,
                engine: engine.unwrap_or_default(),
                bitcoin,
                ethereum,
                xrp,
                reconcile: reconcile.unwrap_or_default(),
                governance: governance.unwrap_or_default(),
                screening,
                travel_rule,
                audit: audit.unwrap_or_default(),
                webhooks: webhooks.unwrap_or_default(),
                log: log.unwrap_or_default(),
            }),
            _ => Err(InvalidConfig(problems)),
        }
    }

    /// The file of the development signer's seed, when that signs.
    pub fn development_single_key(&self) -> Option<&Path> {
        let signer = self.signer.as_ref().filter(|signer| signer.development_single_key)?;
        Some(&signer.seed_file)
    }

    /// Paths in the file are relative to it.
    fn resolve(&mut self, base: &Path) {
        if let Some(relay) = &mut self.relay {
            relay.identity_file = base.join(&relay.identity_file);
        }
        if let Some(signer) = &mut self.signer {
            signer.seed_file = base.join(&signer.seed_file);
        }
        self.webhooks.resolve(base);
        if let Some(screening) = &mut self.screening {
            screening.resolve(base);
        }
        if let Some(travel_rule) = &mut self.travel_rule {
            travel_rule.resolve(base);
        }
        if let Some(bitcoin) = &mut self.bitcoin {
            bitcoin.resolve(base);
        }
    }
}

fn required<T: DeserializeOwned>(figment: &Figment, section: &str, problems: &mut Vec<String>) -> Option<T> {
    if figment.find_value(section).is_err() {
        problems.push(format!("[{section}]: this section is missing"));
        return None;
    }
    optional(figment, section, problems)
}

/// Reads a section. Every wrong value in it is told, and the first that is missing: a wrong one is taken out and the rest read
/// again.
fn optional<T: DeserializeOwned>(figment: &Figment, section: &str, problems: &mut Vec<String>) -> Option<T> {
    figment.find_value(section).ok()?;
    let mut table: toml::Table = match figment.extract_inner(section) {
        Ok(table) => table,
        Err(_) => {
            problems.push(format!("{section}: must be a section: [{section}]"));
            return None;
        }
    };
    let mut wrong = BTreeSet::new();
    loop {
        let error = match serde_path_to_error::deserialize(toml::Value::Table(table.clone())) {
            Ok(value) => return wrong.is_empty().then_some(value),
            Err(error) => error,
        };
        let path = error.path().to_string();
        let key = path.split(['.', '[']).next().unwrap_or_default().to_owned();
        let reason = error.inner().message().trim().to_owned();
        let removed = table.remove(&key).is_some();
        // What is missing now because it was wrong before has been told.
        if !wrong.iter().any(|key: &String| reason.contains(&format!("`{key}`"))) {
            let place = if removed { format!("{section}.{path}") } else { section.to_owned() };
            problems.push(format!("{place}: {reason}"));
        }
        if !removed {
            return None;
        }
        wrong.insert(key);
    }
}

impl StoreConfig {
    /// The value is not shown: it may hold a password.
    fn check(&self) -> Option<String> {
        let known = ["sqlite:", "postgres://", "postgresql://"];
        (!known.iter().any(|scheme| self.url.reveal().starts_with(scheme))).then(|| {
            "store.url: must begin with sqlite: or postgres://, such as sqlite:///var/lib/bursar/bursar.db".into()
        })
    }
}

impl RelayConfig {
    fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let indexes: BTreeSet<u16> = self.parties.iter().map(|party| party.index).collect();
        let expected: BTreeSet<u16> = (0u16..).take(self.parties.len()).collect();
        if self.parties.len() < 2 || indexes != expected {
            problems.push("relay.parties: at least two, with the indexes 0, 1, 2, … once each".into());
        }
        let keys: BTreeSet<_> = self.parties.iter().map(|party| party.public_key).collect();
        if keys.len() != self.parties.len() {
            problems.push("relay.parties: two parties have the same public_key".into());
        }
        problems
    }
}

impl EngineConfig {
    fn check(&self) -> Vec<String> {
        let intervals = [
            ("lease_ms", self.lease_ms),
            ("queue_poll_ms", self.queue_poll_ms),
            ("retry_ms", self.retry_ms),
            ("rebroadcast_ms", self.rebroadcast_ms),
            ("package_lifetime_ms", self.package_lifetime_ms),
            ("sweep_ms", self.sweep_ms),
        ];
        let bad = |(name, value): &(&str, Option<u64>)| {
            value
                .is_some_and(|ms| !(10..=86_400_000).contains(&ms))
                .then(|| format!("engine.{name}: from 10 to 86400000"))
        };
        let counts = [("concurrency", self.concurrency), ("signing", self.signing)];
        let out = |(name, count): &(&str, Option<usize>)| {
            count.is_some_and(|n| !(1..=1024).contains(&n)).then(|| format!("engine.{name}: from 1 to 1024"))
        };
        intervals.iter().filter_map(bad).chain(counts.iter().filter_map(out)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, InvalidConfig> {
        Config::read(&Figment::new().merge(Toml::string(text)))
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let problems = read(
            r#"
            [api]
            listen = "nowhere"
            [bitcoin]
            network = "moonnet"
            url = "http://127.0.0.1:8332"
            confirmations = "six"
            [engine]
            lease_ms = 0
            [xrp]
            network_id = 0
            url = "http://127.0.0.1:5005"
            fee_floor_drops = 20
            fee_cap_drops = 10
            [colour]
            "#,
        )
        .unwrap_err()
        .0
        .join("\n");
        for expected in [
            "[colour]",
            "[store]",
            "api.listen",
            "bitcoin.network",
            "bitcoin.confirmations",
            "xrp: fee_floor_drops",
            "engine.lease_ms",
        ] {
            assert!(problems.contains(expected), "{expected} not in:\n{problems}");
        }
    }

    #[test]
    fn a_small_configuration_is_enough() {
        let config = read(
            r#"
            [store]
            url = "sqlite:///var/lib/bursar/bursar.db"
            [api]
            listen = "127.0.0.1:7700"
            [ethereum]
            chain_id = 1
            url = "http://127.0.0.1:8545"
            [[ethereum.tokens]]
            symbol = "USDC"
            contract = "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48"
            decimals = 6
            "#,
        )
        .unwrap();
        assert!(config.relay.is_none());
        assert!(config.development_single_key().is_none());
        assert_eq!(config.ethereum.unwrap().tokens[0].symbol, "USDC");
    }

    const THROW_AWAY: &str = r#"
        [store]
        url = "sqlite:///tmp/bursar.db"
        [api]
        listen = "127.0.0.1:7700"
        [signer]
        development_single_key = true
        [ethereum]
        chain_id = 31337
        url = "http://127.0.0.1:8545"
        [xrp]
        network_id = 63456
        url = "http://127.0.0.1:5005"
    "#;

    #[test]
    fn the_development_signer_is_for_throw_away_networks_only() {
        let config = read(THROW_AWAY).unwrap();
        assert_eq!(config.development_single_key(), Some(Path::new("development-single-key.seed")));
        for (field, throw_away, real) in [
            ("ethereum.chain_id", "31337", "1"),
            ("ethereum.chain_id", "31337", "11155111"),
            ("xrp.network_id", "63456", "0"),
            ("xrp.network_id", "63456", "1"),
        ] {
            let problems = read(&THROW_AWAY.replace(throw_away, real)).unwrap_err().0;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with("signer.development_single_key: "), "{problems:?}");
            assert!(problems[0].contains(field) && problems[0].contains("[relay]"), "{problems:?}");
        }
        for network in ["mainnet", "testnet4", "signet"] {
            let bitcoin = format!(
                "{THROW_AWAY}\n[bitcoin]\nnetwork = \"{network}\"\nurl = \"http://127.0.0.1:8332\"\n\
                 user = \"u\"\npassword = \"p\"\n"
            );
            let problems = read(&bitcoin).unwrap_err().0;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("bitcoin.network"), "{problems:?}");
        }
    }

    #[test]
    fn the_development_signer_does_not_stand_beside_co_signers() {
        let party = |index, key: &str| {
            format!(
                "[[relay.parties]]\nindex = {index}\nname = \"p{index}\"\nrole = \"CLIENT\"\n\
                 public_key = \"{}\"\n",
                key.repeat(64)
            )
        };
        let relay = "[relay]\nlisten = \"127.0.0.1:7701\"\nidentity_file = \"relay.key\"\n";
        let both = format!("{THROW_AWAY}\n{relay}{}{}", party(0, "1"), party(1, "2"));
        let problems = read(&both).unwrap_err().0;
        assert!(problems.len() == 1 && problems[0].contains("remove one"), "{problems:?}");
        assert!(read(&both.replace("= true", "= false")).unwrap().development_single_key().is_none());
    }
}
