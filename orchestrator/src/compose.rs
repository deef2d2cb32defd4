//! Puts the parts together as the configuration says.

use crate::api::state::Assets;
use crate::crash;
use crate::config::{BitcoinConfig, Config, EngineConfig, EthereumConfig, XrpConfig};
use anyhow::Context as _;
use bursar_bitcoin::{BitcoinAdapter, BitcoinNode, BitcoinNodeConfig};
use bursar_domain::{
    amount::{Drops, Satoshi},
    asset::AssetInfo,
    ids::IdSource,
    network::Network,
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    time::{Clock, Timestamp},
};
use bursar_ethereum::{EthereumAdapter, EthereumNode, EthereumNodeConfig, Finality};
use bursar_store::Store;
use bursar_workers::{ChainPorts, Context, Settings};
use bursar_xrp::{FeeBounds, XrpAdapter, XrpNode, XrpNodeConfig};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The wall clock.
pub struct SystemClock;
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that owns the clock")]
    fn now(&self) -> Timestamp {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
    }
}

/// UUIDs, version 7.
pub struct SystemIds;
impl IdSource for SystemIds {
    #[expect(clippy::disallowed_methods, reason = "the one place that owns the source of ids")]
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::now_v7()
    }
}

/// In a process without the relay: knows no keys and signs nothing.
pub struct NoSigner;
#[async_trait::async_trait]
impl ThresholdSigner for NoSigner {
    fn keys(&self) -> Vec<GroupKey> {
        Vec::new()
    }
    fn online(&self, _: Scheme) -> u16 {
        0
    }
    async fn sign(
        &self,
        package: &SigningPackage,
        _: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        Err(SignError::NoKey(package.unsigned.wallet.scheme()))
    }
}

pub async fn context(config: &Config, signer: Arc<dyn ThresholdSigner>) -> anyhow::Result<Context> {
    // First of all: what is made below looks whether this process is armed.
    crash::arm_from_environment(networks(config))?;
    let store = Store::open(&config.store.url).await.context("cannot open the store")?;
    let mut chains = BTreeMap::new();
    if let Some(bitcoin) = &config.bitcoin {
        chains.insert(Network::Bitcoin(bitcoin.network), bitcoin_ports(bitcoin)?);
    }
    if let Some(ethereum) = &config.ethereum {
        chains.insert(Network::Ethereum(ethereum.chain_id), ethereum_ports(ethereum)?);
    }
    if let Some(xrp) = &config.xrp {
        chains.insert(Network::Xrp(xrp.network_id), xrp_ports(xrp)?);
    }
    Ok(Context {
        store,
        chains: Arc::new(chains),
        signer: bursar_workers::crash::signer(signer),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        settings: settings(&config.engine),
    })
}

fn networks(config: &Config) -> impl Iterator<Item = Network> {
    let bitcoin = config.bitcoin.iter().map(|bitcoin| Network::Bitcoin(bitcoin.network));
    let ethereum = config.ethereum.iter().map(|ethereum| Network::Ethereum(ethereum.chain_id));
    let xrp = config.xrp.iter().map(|xrp| Network::Xrp(xrp.network_id));
    bitcoin.chain(ethereum).chain(xrp)
}

pub fn assets(config: &Config) -> Assets {
    let configured = |info: &AssetInfo| match info.symbol.as_str() {
        "BTC" => config.bitcoin.is_some(),
        "ETH" => config.ethereum.is_some(),
        _ => config.xrp.is_some(),
    };
    let tokens = config.ethereum.iter().flat_map(|ethereum| ethereum.tokens.iter().map(|token| token.info()));
    Assets::new(AssetInfo::natives().into_iter().filter(configured).chain(tokens).collect())
}

fn settings(engine: &EngineConfig) -> Settings {
    let defaults = Settings::default();
    let or = |ms: Option<u64>, default: Duration| ms.map_or(default, Duration::from_millis);
    Settings {
        concurrency: engine.concurrency.unwrap_or(defaults.concurrency).max(1),
        lease: or(engine.lease_ms, defaults.lease),
        queue_poll: or(engine.queue_poll_ms, defaults.queue_poll),
        retry: or(engine.retry_ms, defaults.retry),
        rebroadcast: or(engine.rebroadcast_ms, defaults.rebroadcast),
        package_lifetime: or(engine.package_lifetime_ms, defaults.package_lifetime),
        sweep: or(engine.sweep_ms, defaults.sweep),
    }
}

fn bitcoin_ports(config: &BitcoinConfig) -> anyhow::Result<ChainPorts> {
    use bursar_bitcoin::{FeePolicy, NodeAuth, Password};
    let auth = match (&config.cookie_file, &config.user, &config.password) {
        (Some(cookie_file), ..) => NodeAuth::CookieFile { cookie_file: cookie_file.clone() },
        (None, Some(user), Some(password)) => NodeAuth::UserPassword {
            user: user.clone(),
            password: Password::from(password.reveal().to_owned()),
        },
        _ => anyhow::bail!("bitcoin: credentials are missing"),
    };
    let node = BitcoinNode::new(BitcoinNodeConfig {
        network: config.network,
        url: config.url.clone(),
        auth,
        fees: FeePolicy {
            floor: Satoshi(config.fee_floor),
            cap: Satoshi(config.fee_cap),
            fallback: Satoshi(config.fee_fallback),
            target_blocks: config.fee_target_blocks,
        },
        finality_depth: config.confirmations,
        timeout: Duration::from_millis(config.timeout_ms),
    })
    .context("[bitcoin]")?;
    Ok(ChainPorts::new(
        Arc::new(BitcoinAdapter),
        Arc::new(node),
        config.start_height,
        Duration::from_millis(config.poll_ms),
        BTreeSet::new(),
    ))
}

fn ethereum_ports(config: &EthereumConfig) -> anyhow::Result<ChainPorts> {
    const GWEI: u128 = 1_000_000_000;
    let node = EthereumNode::new(EthereumNodeConfig {
        chain_id: config.chain_id,
        url: config.url.reveal().to_owned(),
        fees: bursar_ethereum::FeePolicy {
            max_fee_cap_wei_per_gas: u128::from(config.max_fee_gwei) * GWEI,
            priority_cap_wei_per_gas: u128::from(config.max_tip_gwei) * GWEI,
            ..Default::default()
        },
        finality: config.confirmations.map_or(Finality::FinalizedTag, Finality::Depth),
        timeout: Duration::from_millis(config.timeout_ms),
    })
    .context("[ethereum]")?;
    Ok(ChainPorts::new(
        Arc::new(EthereumAdapter),
        Arc::new(node),
        config.start_height,
        Duration::from_millis(config.poll_ms),
        config.tokens.iter().map(|token| token.contract).collect(),
    ))
}

fn xrp_ports(config: &XrpConfig) -> anyhow::Result<ChainPorts> {
    let node = XrpNode::new(XrpNodeConfig {
        network_id: config.network_id,
        url: config.url.reveal().to_owned(),
        fees: FeeBounds { floor: Drops(config.fee_floor_drops), cap: Drops(config.fee_cap_drops) },
        ledger_window: config.ledger_window,
        timeout: Duration::from_millis(config.timeout_ms),
    })
    .context("[xrp]")?;
    Ok(ChainPorts::new(
        Arc::new(XrpAdapter),
        Arc::new(node),
        config.start_height,
        Duration::from_millis(config.poll_ms),
        BTreeSet::new(),
    ))
}
