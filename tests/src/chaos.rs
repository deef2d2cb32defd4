//! Random chaos: payments on every chain under load while everything dies.
//!
//! Orchestrators, co-signers, nodes and the database get SIGKILL or SIGSTOP and come back, replies of nodes are lost, delayed, doubled
//! and cut, and blocks are taken back, also deeper than finality. When it is over, each recipient must have exactly what its
//! transfer says: nothing twice, nothing lost, and every transfer at an end or with a reason in plain sight.
//!
//! A seed fixes which payments are asked for and which blows fall in which order. What they hit depends on the machine.

mod blows;
mod load;
mod verdict;

use crate::{
    api::Api,
    environment::{Environment, Nodes, Options},
    miner::Miner,
    orchestrator::Urls,
    wallet::Wallet,
};
use anyhow::Context as _;
use bursar_regtest::{FaultProxy, Postgres, PostgresOptions};
use rand::{SeedableRng as _, rngs::StdRng};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

pub use load::Ordered;
pub use verdict::Outcome;

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    /// How long blows fall. Payments are asked for during the first half.
    pub duration: Duration,
    /// Payments on each chain.
    pub per_chain: u32,
    /// How long what is left may take once everything runs again.
    pub patience: Duration,
}

/// What was done and what came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub seed: u64,
    pub seconds: u64,
    /// How often each kind of blow fell.
    pub blows: BTreeMap<&'static str, u32>,
    /// Replies of nodes that were tampered with.
    pub faults: usize,
    /// How often each verb was taken for a transfer that had been accepted.
    pub second_thoughts: BTreeMap<&'static str, u32>,
    /// How many transfers ended in each status.
    pub statuses: BTreeMap<String, u32>,
    pub outcomes: Vec<Outcome>,
}

/// A proxy that misbehaves in front of each node.
pub struct Proxies {
    pub bitcoin: FaultProxy,
    pub ethereum: FaultProxy,
    pub xrp: FaultProxy,
}

impl Proxies {
    /// Starts them, and has `options` lead the orchestrator to them.
    pub async fn start(nodes: &Nodes, options: &mut Options) -> anyhow::Result<Self> {
        let proxies = Self {
            bitcoin: FaultProxy::start(nodes.bitcoind.rpc_url()).await?,
            ethereum: FaultProxy::start(nodes.anvil.rpc_url()).await?,
            xrp: FaultProxy::start(nodes.xrpl.rpc_url()).await?,
        };
        options.urls = Urls {
            bitcoin: Some(proxies.bitcoin.url()),
            ethereum: Some(proxies.ethereum.url()),
            xrp: Some(proxies.xrp.url()),
            ..options.urls.clone()
        };
        Ok(proxies)
    }

    fn all(&self) -> [&FaultProxy; 3] {
        [&self.bitcoin, &self.ethereum, &self.xrp]
    }
}

/// A database server that can be killed and comes back over the same files and port.
pub struct Database {
    pub server: Postgres,
    pub options: PostgresOptions,
}

impl Database {
    pub async fn start(options: PostgresOptions) -> anyhow::Result<Self> {
        let server = Postgres::start(options.clone()).await?;
        Ok(Self { options: options.with_port(server.port()), server })
    }

    async fn restart(&mut self) -> anyhow::Result<()> {
        self.server = Postgres::start(self.options.clone()).await?;
        Ok(())
    }
}

/// Wallets with enough for everything that is asked for.
pub struct Wallets {
    bitcoin: Wallet,
    ethereum: Wallet,
    xrp: Wallet,
}

impl Wallets {
    async fn fund(environment: &Environment, per_chain: u32) -> anyhow::Result<Self> {
        // More than one output for each payment, so that payments need not wait for each other's change.
        let outputs = vec![3_000_000; per_chain as usize + 2];
        let each = u64::from(per_chain);
        let wallets = Self {
            bitcoin: Wallet::bitcoin(environment, None, &outputs).await?,
            ethereum: Wallet::ethereum(environment, 2 + each, 100 * each).await?,
            xrp: Wallet::xrp(environment, None, 100 + 50 * each).await?,
        };
        // Deposits that no reorganisation here takes back, and no kill.
        let nodes = &environment.nodes;
        nodes.bitcoind.mine(6).await?;
        nodes.anvil.mine(6).await?;
        nodes.bitcoind.checkpoint().await?;
        nodes.anvil.checkpoint().await?;
        Ok(wallets)
    }
}

/// Runs it in an environment whose orchestrator reaches the nodes through `proxies`. An error names what is wrong; a report means
/// that every promise was kept.
pub async fn run(
    environment: &mut Environment,
    proxies: &Proxies,
    database: Option<&mut Database>,
    plan: &Plan,
    say: fn(&str),
) -> anyhow::Result<Report> {
    say(&format!(
        "chaos: seed {}, {} s of blows, {} payments on each chain",
        plan.seed,
        plan.duration.as_secs(),
        plan.per_chain
    ));
    let _miner = Miner::start(&environment.nodes.bitcoind)?;
    let wallets = Wallets::fund(environment, plan.per_chain).await.context("funding")?;
    let requests = load::requests(environment, &wallets, plan).await?;
    let api = Api::new(environment.orchestrator.url(), environment.orchestrator.api_key())?;
    let load = tokio::spawn(load::submit(api, requests, plan.clone()));

    let rng = StdRng::seed_from_u64(plan.seed);
    if database.is_some() {
        second_machine(environment)?;
    }
    let fallen = blows::Blows::new(environment, proxies, database, rng, say).fall(plan.duration).await?;
    let asked = load.await.context("the load ended early")??;

    say("everything runs again; waiting for what is left");
    let outcomes = verdict::settle(environment, &asked, plan.patience)
        .await
        .with_context(|| format!("seed {}", plan.seed))?;
    for wallet in [(&wallets.bitcoin, "BTC"), (&wallets.ethereum, "ETH"), (&wallets.xrp, "XRP")] {
        verdict::balance_agrees(environment, wallet.0, wallet.1).await?;
    }
    let mut second_thoughts = BTreeMap::new();
    for verb in asked.iter().filter_map(|order| order.second_thought) {
        *second_thoughts.entry(verb).or_default() += 1;
    }
    let mut statuses = BTreeMap::new();
    for outcome in &outcomes {
        *statuses.entry(outcome.status.clone()).or_default() += 1;
    }
    Ok(Report {
        seed: plan.seed,
        seconds: plan.duration.as_secs(),
        blows: fallen.tally,
        faults: proxies.all().iter().map(|proxy| proxy.faults()).sum(),
        second_thoughts,
        statuses,
        outcomes,
    })
}

/// The first one's configuration without a relay: its worker leaves signing to the process that the co-signers dial.
fn second_machine(environment: &Environment) -> anyhow::Result<()> {
    let first = environment.orchestrator.config();
    let text = std::fs::read_to_string(first)?;
    let (without_relay, _) = text.split_once("\n[relay]").context("the relay comes last")?;
    Ok(std::fs::write(first.with_file_name(blows::SECOND), without_relay)?)
}
