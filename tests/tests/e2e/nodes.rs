//! Several nodes for a chain: what one of them says, or does not say, decides nothing.

use crate::world;
use anyhow::{Context as _, ensure};
use bursar_regtest::{Bitcoind, Fault, FaultProxy, Rule, StartOptions, free_port};
use bursar_tests::{
    Environment,
    initiator::payment,
    ledger::pay_exactly,
    miner::Miner,
    recipients::{self, BitcoinType},
    waiting::{completed, text, until},
    wallet::Wallet,
};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Blocks on the liar's own branch: it claims to be far ahead.
const LIES: u32 = 300;

/// Three bitcoinds: an honest one, its peer, and one with a longer chain of its own. Then three ways to one anvil.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_of_three__should_decide() -> world::Verdict {
    let (mut options, nodes) = world::prepare("nodes").await?;
    let dir = options.dir.join("nodes");
    let mut peer = Peer::start(&dir.join("peer")).await?;
    peer.connect(&nodes.bitcoind).await?;
    let liar = Bitcoind::start(StartOptions::new(dir.join("liar"))).await?;
    liar.mine(LIES).await?;
    options.urls.bitcoin_nodes =
        [&liar, &nodes.bitcoind, &peer.node].map(|node| node.rpc_url().to_owned()).to_vec();

    let mut ways = Vec::new();
    for _ in 0..3 {
        ways.push(FaultProxy::start(nodes.anvil.rpc_url()).await?);
    }
    options.urls.ethereum_nodes = ways.iter().map(FaultProxy::url).collect();

    world::run_on(options, nodes, async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let wallet = Wallet::bitcoin(environment, None, &[10_000_000, 10_000_000]).await?;
        outvoted(environment, &wallet).await.context("one lies")?;
        waits_for_a_second(environment, &wallet, &mut peer).await.context("one lies and one is dead")?;
        one_is_gone(environment, &ways).await.context("one is out of reach")?;
        Ok(())
    })
    .await?;
    liar.stop().await?;
    peer.node.stop().await?;
    Ok(())
}

async fn outvoted(environment: &Environment, wallet: &Wallet) -> anyhow::Result<()> {
    let to = recipients::bitcoin(BitcoinType::P2wpkh);
    let asked = wallet.request(environment, "BTC", vec![payment(&to, "0.01")]).await?;
    pay_exactly(environment, wallet, asked).await?;
    let nodes = shown(environment, "bitcoin").await?;
    let (liar, honest) = (&nodes[0], &nodes[1]);
    ensure!(liar["outvoted"].as_u64() > Some(0) && honest["outvoted"] == 0, "{nodes}");
    ensure!(liar["height"] == LIES && liar["condition"] == "UP", "{nodes}");
    Ok(())
}

/// The payment is in the honest node's chain, deep enough; but nobody stands beside that node.
async fn waits_for_a_second(
    environment: &Environment,
    wallet: &Wallet,
    peer: &mut Peer,
) -> anyhow::Result<()> {
    peer.node.process().kill9()?;
    let to = recipients::bitcoin(BitcoinType::P2wpkh);
    let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.01")]).await?;
    let bitcoind = &environment.nodes.bitcoind;
    until("the payment to be final on the honest node", || async {
        let transfer = environment.api.transfer(&id).await?;
        let tx_id = text(&transfer["transaction"], "txId")?;
        let found = bitcoind.call("getrawtransaction", json!([tx_id, true])).await?;
        ensure!(found["confirmations"].as_u64() >= Some(4), "{found}");
        Ok(())
    })
    .await?;
    until("the doubt to show", || async {
        let status = environment.api.status().await?;
        let bitcoin = chain(&status, "bitcoin")?;
        let error = bitcoin["error"].as_str().unwrap_or_default();
        let named = ["node-0", "node-1"].iter().all(|name| error.contains(name));
        ensure!(bitcoin["reachable"] == false && named, "{bitcoin}");
        ensure!(bitcoin["members"][2]["condition"] == "DOWN", "{bitcoin}");
        Ok(())
    })
    .await?;
    let transfer = environment.api.transfer(&id).await?;
    ensure!(transfer["status"] == "BROADCASTING", "not held up: {transfer}");

    peer.node = Peer::start_on(&peer.dir, peer.rpc, peer.p2p).await?;
    peer.connect(bitcoind).await?;
    completed(environment, &id).await?;
    let paid = bitcoind.balance(&to).await?;
    ensure!(paid == 1_000_000, "paid {paid}");
    Ok(())
}

/// One way to the node is cut, and another slow: the payment goes on.
async fn one_is_gone(environment: &Environment, ways: &[FaultProxy]) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 5, 0).await?;
    ways[0].add(Rule::new(Fault::Refuse));
    ways[1].add(Rule::new(Fault::Delay(Duration::from_millis(30))));
    let to = recipients::ethereum();
    let asked = wallet.request(environment, "ETH", vec![payment(&to, "0.5")]).await?;
    pay_exactly(environment, &wallet, asked).await?;
    ensure!(ways[0].faults() > 0, "the cut way was never tried");
    let nodes = shown(environment, "ethereum").await?;
    ensure!(nodes[0]["condition"] == "DOWN" && nodes[2]["condition"] == "UP", "{nodes}");

    let api = &environment.api;
    let metrics = api.http.get(format!("{}/metrics", api.url)).send().await?.text().await?;
    for line in [
        r#"bursar_node_up{network="ethereum:31337",node="node-0"} 0"#,
        r#"bursar_node_up{network="ethereum:31337",node="node-2"} 1"#,
    ] {
        ensure!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let health: Value = api.http.get(format!("{}/health/nodes", api.url)).send().await?.json().await?;
    let ethereum =
        health.as_array().and_then(|chains| chains.iter().find(|c| c["network"] == "ethereum:31337"));
    let ethereum = ethereum.with_context(|| format!("no Ethereum in {health}"))?;
    ensure!(ethereum["minAgree"] == 2 && ethereum["agreed"] == true, "{ethereum}");
    ways[0].clear();
    until("the node to be found again", || async {
        let nodes = shown(environment, "ethereum").await?;
        ensure!(nodes[0]["condition"] == "UP" && nodes[0]["circuit"] == "CLOSED", "{nodes}");
        Ok(())
    })
    .await
}

/// The nodes of a chain as `GET /v1/status` shows them.
async fn shown(environment: &Environment, name: &str) -> anyhow::Result<Value> {
    Ok(chain(&environment.api.status().await?, name)?["members"].clone())
}

fn chain<'a>(status: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let of = |view: &&Value| view["network"].as_str().is_some_and(|network| network.starts_with(name));
    let found = status["nodes"].as_array().and_then(|chains| chains.iter().find(of));
    found.with_context(|| format!("no {name} in {status}"))
}

/// A bitcoind that follows another.
struct Peer {
    node: Bitcoind,
    dir: PathBuf,
    rpc: u16,
    p2p: u16,
}

impl Peer {
    async fn start(dir: &Path) -> anyhow::Result<Self> {
        let (rpc, p2p) = (free_port()?, free_port()?);
        Ok(Self { node: Self::start_on(dir, rpc, p2p).await?, dir: dir.to_owned(), rpc, p2p })
    }

    async fn start_on(dir: &Path, rpc: u16, p2p: u16) -> anyhow::Result<Bitcoind> {
        let mut options = StartOptions::new(dir).with_port(rpc);
        options.extra_args = vec!["-listen=1".into(), format!("-bind=127.0.0.1:{p2p}")];
        Ok(Bitcoind::start(options).await?)
    }

    /// Waits until it has what `to` has.
    async fn connect(&self, to: &Bitcoind) -> anyhow::Result<()> {
        until("the peer to catch up", || async {
            let connected = to.call("getconnectioncount", json!([])).await?;
            if connected == 0 {
                to.call("addnode", json!([format!("127.0.0.1:{}", self.p2p), "onetry"])).await?;
            }
            let (theirs, own) = (to.height().await?, self.node.height().await?);
            ensure!(own == theirs, "at {own} of {theirs}, {connected} connections");
            Ok(())
        })
        .await
    }
}
