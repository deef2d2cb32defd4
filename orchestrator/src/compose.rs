//! Puts the parts together as the configuration says.

use crate::api::{audited, state::Assets};
use crate::config::{
    BitcoinConfig, BitcoinLogin, Config, EngineConfig, EthereumConfig, Hidden, TracesConfig, XrpConfig,
};
use crate::crash;
use anyhow::Context as _;
use bursar_bitcoin::{BitcoinAdapter, BitcoinNode, BitcoinNodeConfig};
use bursar_domain::{
    amount::{Drops, Satoshi},
    asset::{Asset, AssetInfo},
    ids::IdSource,
    network::{Chain, Network},
    ports::{DecodeTransaction, Node, PriceCap, ThresholdSigner},
    statement::ReadStatement,
    time::{Clock, Timestamp},
};
use bursar_ethereum::{EthereumAdapter, EthereumNode, EthereumNodeConfig, Finality, Traces};
use bursar_kyt::{client::RemoteScreening, secret::SecretSource};
use bursar_nodes::{InvalidNodeSet, NamedNode, NodeSet, NodeSetSettings};
use bursar_store::{Lack, Store};
use bursar_workers::{
    ChainPorts, Context, Settings, governance::Governance, screening::Screening, travel_rule::TravelRule,
};
use bursar_xrp::{FeeBounds, XrpAdapter, XrpNode, XrpNodeConfig};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The wall clock.
pub struct SystemClock;
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that owns the clock")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
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

/// The configured database; an error says what to do where that is known (docs/operations.md).
pub async fn open_store(config: &Config) -> anyhow::Result<Store> {
    Store::open(config.store.url.reveal()).await.map_err(|error| {
        let lacking = match error.lack() {
            Some(Lack::WriteAccess) => {
                "cannot open the store: it may only be read: correct its owner or mount, or promote the standby"
            }
            Some(Lack::Space) => {
                "cannot open the store: it cannot be written: make room, or lift the limit on file sizes"
            }
            Some(Lack::Turn) => "cannot open the store: it is busy, or cannot be reached: end what holds it",
            None => "cannot open the store",
        };
        anyhow::Error::from(error).context(lacking)
    })
}

pub async fn context(config: &Config, signer: Arc<dyn ThresholdSigner>) -> anyhow::Result<Context> {
    // First of all: what is made below looks whether this process is armed.
    crash::arm_from_environment(networks(config))?;
    let store = open_store(config).await?;
    let store = store.acting(audited::engine());
    let governance = governance(config, &store).await?;
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
    let settings = settings(&config.engine, store.is_shared());
    Ok(Context {
        store,
        chains: Arc::new(chains),
        signer: bursar_workers::crash::signer(signer),
        clock: Arc::new(SystemClock),
        ids: Arc::new(SystemIds),
        governance,
        screening: screening(config)?,
        travel_rule: travel_rule(config)?,
        settings,
    })
}

/// The log that the configuration pins, replayed. A process that goes on without the log that is there would ask nobody.
async fn governance(config: &Config, store: &Store) -> anyhow::Result<Option<Governance>> {
    if let Some(pinned) = config.governance.genesis {
        let governance = Governance::load(store, pinned).await.context("[governance]")?;
        let head = governance.state(store).await?.head();
        tracing::info!(genesis = %pinned, %head, "governed: the log was replayed");
        return Ok(Some(governance));
    }
    match bursar_store::governance::entries(store, 0, 1).await?.first() {
        None => Ok(None),
        Some(first) => anyhow::bail!(
            "[governance] genesis: is missing, and the database holds a governance log that begins with {}; compare this digest \
             with what the parties agreed on, and set it",
            first.entry.digest()
        ),
    }
}

/// The screener that the configuration names.
fn screening(config: &Config) -> anyhow::Result<Option<Screening>> {
    let Some(screening) = &config.screening else { return Ok(None) };
    let token = SecretSource::File { file: screening.token_file.clone() }.read();
    let token = token.context("screening.token_file")?;
    let service = RemoteScreening::new(&screening.url, token, screening.timeout()).context("[screening]")?;
    Ok(Some(Screening::new(Arc::new(service), screening.settings())))
}

/// What the configuration says about the travel rule.
fn travel_rule(config: &Config) -> anyhow::Result<Option<TravelRule>> {
    let Some(travel_rule) = &config.travel_rule else { return Ok(None) };
    travel_rule.open(&assets(config)).context("[travel_rule]").map(Some)
}

/// One node that can tell what a chain itself says of our accounts.
pub struct Witness {
    pub name: String,
    pub chain: Arc<dyn ReadStatement>,
    pub adapter: &'static dyn DecodeTransaction,
    /// What is held on this network.
    pub assets: Vec<Asset>,
}

/// Each node by itself, with nothing of the engine's in between.
pub fn witnesses(config: &Config) -> anyhow::Result<Vec<Witness>> {
    fn each<N: ReadStatement + 'static>(
        nodes: Vec<(String, Arc<N>)>,
        adapter: &'static dyn DecodeTransaction,
        assets: &[Asset],
    ) -> impl Iterator<Item = Witness> {
        nodes.into_iter().map(move |(name, node)| Witness {
            name,
            chain: node,
            adapter,
            assets: assets.to_vec(),
        })
    }
    let mut all = Vec::new();
    if let Some(bitcoin) = &config.bitcoin {
        all.extend(each(bitcoin_nodes(bitcoin)?, &BitcoinAdapter, &[Asset::Btc]));
    }
    if let Some(ethereum) = &config.ethereum {
        let tokens = ethereum.tokens.iter().map(|token| Asset::Erc20(token.contract));
        let assets: Vec<Asset> = [Asset::Eth].into_iter().chain(tokens).collect();
        all.extend(each(ethereum_nodes(ethereum)?, &EthereumAdapter, &assets));
    }
    if let Some(xrp) = &config.xrp {
        all.extend(each(xrp_nodes(xrp)?, &XrpAdapter, &[Asset::Xrp]));
    }
    Ok(all)
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

fn settings(engine: &EngineConfig, shared: bool) -> Settings {
    let defaults = Settings::default();
    let or = |ms: Option<u64>, default: Duration| ms.map_or(default, Duration::from_millis);
    let concurrency = engine.concurrency.unwrap_or(defaults.concurrency).max(1);
    Settings {
        concurrency,
        signing: engine.signing.unwrap_or(concurrency).max(1),
        lease: or(engine.lease_ms, defaults.lease),
        queue_poll: or(engine.queue_poll_ms, defaults.queue_poll),
        retry: or(engine.retry_ms, defaults.retry),
        rebroadcast: or(engine.rebroadcast_ms, defaults.rebroadcast),
        package_lifetime: or(engine.package_lifetime_ms, defaults.package_lifetime),
        sweep: or(engine.sweep_ms, defaults.sweep),
        stalled_sweeps: engine.stalled_sweeps.unwrap_or(defaults.stalled_sweeps).max(1),
        drain: defaults.drain,
        leave_signing: shared,
        together: defaults.together,
    }
}

/// Each node of the section, by name.
fn bitcoin_nodes(config: &BitcoinConfig) -> anyhow::Result<Vec<(String, Arc<BitcoinNode>)>> {
    use bursar_bitcoin::{FeePolicy, NodeAuth, Password};
    let connect = |(name, url, login): (String, String, BitcoinLogin)| {
        let auth = match login {
            BitcoinLogin::CookieFile(cookie_file) => NodeAuth::CookieFile { cookie_file },
            BitcoinLogin::Password { user, password } => {
                NodeAuth::UserPassword { user, password: Password::from(password.reveal().to_owned()) }
            }
        };
        let node = BitcoinNode::new(BitcoinNodeConfig {
            network: config.network,
            url,
            auth,
            fees: FeePolicy {
                floor: Satoshi(config.fee_floor),
                cap: Satoshi(config.fee_cap),
                fallback: Satoshi(config.fee_fallback),
                target_blocks: config.fee_target_blocks,
            },
            finality_depth: config.confirmations,
            timeout: Duration::from_millis(config.timeout_ms),
        });
        let node = node.with_context(|| format!("[bitcoin] {name}"))?;
        Ok((name, Arc::new(node)))
    };
    config.node_list().into_iter().map(connect).collect()
}

fn bitcoin_ports(config: &BitcoinConfig) -> anyhow::Result<ChainPorts> {
    Ok(ChainPorts::new(
        Arc::new(BitcoinAdapter),
        node_set(bitcoin_nodes(config)?, config.min_agree(), config.timeout_ms).context("[bitcoin]")?,
        config.start_height,
        Duration::from_millis(config.poll_ms),
        BTreeSet::new(),
    )
    .with_replacement(config.replacement.of(Chain::Bitcoin, PriceCap(config.fee_cap.into()))))
}

const GWEI: u128 = 1_000_000_000;

/// Each node of the section, by name.
fn ethereum_nodes(config: &EthereumConfig) -> anyhow::Result<Vec<(String, Arc<EthereumNode>)>> {
    let connect = |(name, url): (String, Hidden)| {
        let node = EthereumNode::new(EthereumNodeConfig {
            chain_id: config.chain_id,
            url: url.reveal().to_owned(),
            fees: bursar_ethereum::FeePolicy {
                max_fee_cap_wei_per_gas: u128::from(config.max_fee_gwei) * GWEI,
                priority_cap_wei_per_gas: u128::from(config.max_tip_gwei) * GWEI,
                ..Default::default()
            },
            finality: config.confirmations.map_or(Finality::FinalizedTag, Finality::Depth),
            timeout: Duration::from_millis(config.timeout_ms),
            traces: match config.traces {
                TracesConfig::Auto => Traces::Auto,
                TracesConfig::Off => Traces::Off,
                TracesConfig::Required => Traces::Required,
            },
        });
        let node = node.with_context(|| format!("[ethereum] {name}"))?;
        Ok((name, Arc::new(node)))
    };
    config.node_list().into_iter().map(connect).collect()
}

fn ethereum_ports(config: &EthereumConfig) -> anyhow::Result<ChainPorts> {
    Ok(ChainPorts::new(
        Arc::new(EthereumAdapter),
        node_set(ethereum_nodes(config)?, config.min_agree(), config.timeout_ms).context("[ethereum]")?,
        config.start_height,
        Duration::from_millis(config.poll_ms),
        config.tokens.iter().map(|token| token.contract).collect(),
    )
    .with_replacement(
        config.replacement.of(Chain::Ethereum, PriceCap(u128::from(config.max_fee_gwei) * GWEI)),
    ))
}

/// Each node of the section, by name.
fn xrp_nodes(config: &XrpConfig) -> anyhow::Result<Vec<(String, Arc<XrpNode>)>> {
    let connect = |(name, url): (String, Hidden)| {
        let node = XrpNode::new(XrpNodeConfig {
            network_id: config.network_id,
            url: url.reveal().to_owned(),
            fees: FeeBounds { floor: Drops(config.fee_floor_drops), cap: Drops(config.fee_cap_drops) },
            ledger_window: config.ledger_window,
            timeout: Duration::from_millis(config.timeout_ms),
        });
        let node = node.with_context(|| format!("[xrp] {name}"))?;
        Ok((name, Arc::new(node)))
    };
    config.node_list().into_iter().map(connect).collect()
}

fn xrp_ports(config: &XrpConfig) -> anyhow::Result<ChainPorts> {
    Ok(ChainPorts::new(
        Arc::new(XrpAdapter),
        node_set(xrp_nodes(config)?, config.min_agree(), config.timeout_ms).context("[xrp]")?,
        config.start_height,
        Duration::from_millis(config.poll_ms),
        BTreeSet::new(),
    )
    .with_replacement(config.replacement.of(Chain::Xrp, PriceCap(config.fee_cap_drops.into()))))
}

/// The nodes of a chain behind the ports of one.
fn node_set<N: Node + 'static>(
    nodes: Vec<(String, Arc<N>)>,
    min_agree: usize,
    timeout_ms: u64,
) -> Result<Arc<dyn Node>, InvalidNodeSet> {
    let nodes = nodes.into_iter().map(|(name, node)| NamedNode { name, node });
    let settings = NodeSetSettings::new(min_agree, Duration::from_millis(timeout_ms));
    Ok(Arc::new(NodeSet::new(nodes.collect(), settings)?))
}
