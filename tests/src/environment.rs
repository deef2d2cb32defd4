//! Everything that runs, started in order and stopped with it.

use crate::{
    api::Api,
    cosigners::{Cosigners, Setup, Signing},
    initiator::Initiator,
    orchestrator::{Orchestrator, Urls},
};
use alloy::primitives::U256;
use anyhow::Context as _;
use bursar_domain::signing::Scheme;
use bursar_regtest::{
    Anvil, AnvilOptions, Bitcoind, Mining, StartOptions, TokenKind, XrpLedger, XrpLedgerOptions, anvil,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// NetworkID of the stand-in: a private ledger.
pub const XRP_NETWORK_ID: u32 = 63_456;
/// Symbol of the demo's token, which has six decimals and returns nothing from `transfer`, like the oldest big stablecoin.
pub const TOKEN: &str = "TUSD";
pub const TOKEN_DECIMALS: u8 = 6;

#[derive(Debug, Clone)]
pub struct Options {
    /// Holds everything; made if absent.
    pub dir: PathBuf,
    /// Seconds between Ethereum blocks; `None` mines on request only.
    pub ethereum_block_seconds: Option<u64>,
    /// Nobody kills anvil, and its chain need not be kept for it.
    pub ethereum_in_memory: bool,
    /// Time between XRP ledgers; `None` closes on request only.
    pub xrp_close: Option<Duration>,
    /// How many further nodes show the XRP ledger.
    pub xrp_views: usize,
    /// Where the orchestrator finds the nodes, when not directly (a fault proxy in between).
    pub urls: Urls,
    pub signing: Signing,
    /// Told what is going on.
    pub say: fn(&str),
}

impl Options {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            ethereum_block_seconds: Some(1),
            ethereum_in_memory: false,
            xrp_close: Some(Duration::from_millis(500)),
            xrp_views: 0,
            urls: Urls::default(),
            signing: Signing::default(),
            say: |_| {},
        }
    }
}

/// The nodes alone.
pub struct Nodes {
    pub bitcoind: Bitcoind,
    pub anvil: Anvil,
    pub xrpl: XrpLedger,
    /// Contract of [`TOKEN`].
    pub token: String,
}

impl Nodes {
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let dir = options.dir.join("nodes");
        let mining = options.ethereum_block_seconds.map_or(Mining::Manual, Mining::Interval);
        let mut anvil = AnvilOptions::new(dir.join("anvil")).with_mining(mining);
        anvil.in_memory = options.ethereum_in_memory;
        let mut xrpl = XrpLedgerOptions::new(dir.join("xrpl"));
        xrpl.network_id = XRP_NETWORK_ID;
        xrpl.close_interval = options.xrp_close;
        xrpl.views = options.xrp_views;
        let (bitcoind, anvil, xrpl) = tokio::try_join!(
            Bitcoind::start(StartOptions::new(dir.join("bitcoind"))),
            Anvil::start(anvil),
            XrpLedger::start(xrpl),
        )?;
        // Coinbase outputs mature after 100 blocks.
        bitcoind.mine(101).await?;
        let token = anvil.deploy_erc20(TokenKind::ReturnsNothing).await?;
        anvil.mint(&token, anvil::BANK, U256::from(10).pow(U256::from(15))).await?;
        Ok(Self { bitcoind, anvil, xrpl, token })
    }
}

pub struct Environment {
    pub options: Options,
    pub nodes: Nodes,
    pub orchestrator: Orchestrator,
    pub cosigners: Cosigners,
    pub initiator: Initiator,
    pub api: Api,
}

impl Environment {
    /// Starts all of it. Keys and shares under `options.dir` are used again; chains and the orchestrator's database begin anew.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        install_tls();
        let say = options.say;
        let dir = &options.dir;
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        remove(&dir.join("nodes"))?;
        remove(&dir.join("orchestrator/data"))?;
        say("starting bitcoind (regtest), anvil and the XRP Ledger stand-in");
        let nodes = Nodes::start(&options).await?;
        Self::start_on(options, nodes).await
    }

    /// The same over nodes that run already.
    pub async fn start_on(options: Options, nodes: Nodes) -> anyhow::Result<Self> {
        let (say, dir) = (options.say, options.dir.clone());
        let initiator = Initiator::load_or_create(&dir.join("initiator"))?;
        say("starting the orchestrator");
        let setup = match options.signing {
            Signing::CoSigners => {
                Setup::prepare(&dir.join("cosigners"), &dir.join("orchestrator"), &initiator, &nodes.token)?
            }
            Signing::DevelopmentSingleKey => Setup::without_cosigners(),
        };
        let mut orchestrator =
            Orchestrator::prepare(&dir.join("orchestrator"), &setup, &nodes, &options.urls)?;
        orchestrator.start().await?;
        let api = Api::new(orchestrator.url(), orchestrator.api_key())?;
        let cosigners = Cosigners::start(setup, orchestrator.relay_address(), say).await?;
        let environment = Self { options, nodes, orchestrator, cosigners, initiator, api };
        environment.wait_for_keys().await?;
        Ok(environment)
    }

    /// Starts the orchestrator again after it was stopped, and waits for the co-signers: they come back to it in their own time.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.orchestrator.start().await?;
        self.wait_for_keys().await
    }

    /// Until all co-signers are online with a share of each key; with the development signer, until its keys are pinned.
    pub async fn wait_for_keys(&self) -> anyhow::Result<()> {
        let parties = self.cosigners.count();
        let pinned = match self.options.signing {
            Signing::CoSigners => 0,
            Signing::DevelopmentSingleKey => Scheme::ALL.len(),
        };
        bursar_regtest::eventually(
            Duration::from_secs(60),
            Duration::from_millis(100),
            "co-signers online",
            || async {
                let status = self.api.status().await.map_err(|error| format!("{error:#}"))?;
                let online = status["coSigners"]
                    .as_array()
                    .map_or(0, |parties| parties.iter().filter(|party| party["online"] == true).count());
                let keys = status["keys"].as_array().map_or(0, Vec::len);
                if online == parties && keys >= pinned {
                    Ok(())
                } else {
                    Err(format!("{online} of {parties}, {keys} keys: {}", status["coSigners"]))
                }
            },
        )
        .await?;
        Ok(())
    }

    /// Ends everything in order; dropping ends it too, less politely.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.orchestrator.stop().await?;
        self.cosigners.stop().await?;
        let Nodes { bitcoind, anvil, xrpl, .. } = self.nodes;
        tokio::try_join!(bitcoind.stop(), anvil.stop(), xrpl.stop())?;
        Ok(())
    }
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// The TLS provider is process-wide; a second installation changes nothing.
pub fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A program of this workspace, as cargo has built it beside the running one.
pub fn program(name: &str) -> anyhow::Result<PathBuf> {
    let running = std::env::current_exe().context("where does this program lie?")?;
    let found = running.ancestors().skip(1).take(2).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("{name} is not built: cargo build -p bursar -p bursar-signer -p bursar-regtest -p bursar-kyt")
    })
}
