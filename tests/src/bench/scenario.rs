//! One installation to be measured: which store, who signs, how much history.

use super::accounts::Accounts;
use crate::{Environment, Options, cosigners::Signing, environment::Nodes, program::say};
use anyhow::{Context as _, ensure};
use bursar_regtest::{FaultProxy, Postgres, PostgresOptions, eventually};
use serde_json::json;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreKind {
    /// WAL, `synchronous=FULL`.
    Sqlite,
    /// A server of its own on this machine, with fsync.
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario {
    pub store: StoreKind,
    pub signing: Signing,
    /// Finished transfers that are put into the store after a first measurement; then it is measured again.
    pub history: u64,
    /// Ethereum accounts that pay in turn. Nonces of one account are signed in order, so one account is a queue; with enough of
    /// them none is the bottleneck.
    pub accounts: usize,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = match self.store {
            StoreKind::Sqlite => "SQLite",
            StoreKind::Postgres => "Postgres",
        };
        write!(f, "{store}, {}", self.signer())?;
        match self.history {
            0 => Ok(()),
            history => write!(f, ", empty and with {history} finished transfers"),
        }
    }
}

impl Scenario {
    pub const fn signer(&self) -> &'static str {
        match self.signing {
            Signing::CoSigners => "2-of-3 co-signers",
            Signing::DevelopmentSingleKey => bursar_signer_client::development::NAME,
        }
    }
}

/// Where the rows are, for tools that write them without Bursar.
#[derive(Debug, Clone)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// A scenario that runs.
pub struct Stage {
    pub environment: Environment,
    /// Between the orchestrator and anvil; counts.
    pub proxy: FaultProxy,
    pub accounts: Accounts,
    pub database: Database,
    postgres: Option<Postgres>,
}

impl Stage {
    /// Keys under `dir` are used again; everything else there begins anew.
    pub async fn start(dir: &Path, scenario: Scenario) -> anyhow::Result<Self> {
        crate::environment::install_tls();
        for old in ["nodes", "orchestrator/data", "postgres"] {
            remove(&dir.join(old))?;
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let mut options =
            Options { say, signing: scenario.signing, ethereum_in_memory: true, ..Options::new(&dir) };
        let nodes = Nodes::start(&options).await?;
        let proxy = FaultProxy::start(nodes.anvil.rpc_url()).await?;
        options.urls.ethereum = Some(proxy.url());
        let (postgres, database) = match scenario.store {
            StoreKind::Sqlite => (None, Database::Sqlite(dir.join("orchestrator/data/bursar.db"))),
            StoreKind::Postgres => {
                let server = Postgres::start(PostgresOptions::new(dir.join("postgres"))).await?;
                options.urls.database = Some(server.url().to_owned());
                let database = Database::Postgres(server.url().to_owned());
                (Some(server), database)
            }
        };
        let mut environment = Environment::start_on(options, nodes).await?;
        as_in_production(environment.orchestrator.config())?;
        environment.orchestrator.kill9()?;
        environment.orchestrator.start().await?;
        // A key is known once a co-signer that has it was here.
        signers_are_online(&environment).await?;
        let accounts = Accounts::create(&environment, scenario.accounts).await?;
        // Where history will have used every nonce below.
        let used = scenario.history / scenario.accounts.max(1) as u64;
        for account in accounts.accounts.iter().filter(|_| used > 0) {
            let nonce = json!([account.address, format!("{used:#x}")]);
            environment.nodes.anvil.call("anvil_setNonce", nonce).await?;
        }
        Ok(Self { environment, proxy, accounts, database, postgres })
    }

    /// Until the signers are online again after a restart of the orchestrator.
    pub async fn wait_for_signers(&self) -> anyhow::Result<()> {
        signers_are_online(&self.environment).await
    }

    pub fn orchestrator_pid(&self) -> anyhow::Result<u32> {
        let pids = self.environment.orchestrator.pids();
        ensure!(pids.len() == 1, "the orchestrator runs as {} processes", pids.len());
        Ok(pids[0])
    }

    pub fn cosigner_pids(&mut self) -> Vec<u32> {
        let cosigners = &mut self.environment.cosigners;
        (0..cosigners.count())
            .filter_map(|index| cosigners.process(index).map(|process| process.pid()))
            .collect()
    }

    /// The database server and its workers; empty with SQLite.
    pub fn database_pids(&mut self) -> Vec<u32> {
        let Some(postgres) = &mut self.postgres else { return Vec::new() };
        let server = postgres.process().pid();
        let children = std::fs::read_to_string(format!("/proc/{server}/task/{server}/children"));
        let children = children.unwrap_or_default();
        std::iter::once(server)
            .chain(children.split_whitespace().filter_map(|pid| pid.parse().ok()))
            .collect()
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.environment.stop().await?;
        if let Some(postgres) = self.postgres {
            postgres.stop().await?;
        }
        Ok(())
    }
}

async fn signers_are_online(environment: &Environment) -> anyhow::Result<()> {
    let expected = environment.cosigners.count();
    let api = &environment.api;
    let online = async || {
        let status = api.status().await.map_err(|error| format!("{error:#}"))?;
        let parties = status["coSigners"]
            .as_array()
            .map_or(0, |parties| parties.iter().filter(|party| party["online"] == true).count());
        if parties == expected { Ok(()) } else { Err(format!("{parties} of {expected}")) }
    };
    eventually(Duration::from_secs(60), Duration::from_millis(100), "co-signers online", online).await?;
    Ok(())
}

/// The demo's settings are for short tests. Here the engine has its defaults, the log its default filter, and each chain is
/// asked for blocks as often for each of its blocks as in production: four times.
fn as_in_production(config: &Path) -> anyhow::Result<()> {
    let mut settings: toml::Table = std::fs::read_to_string(config)?.parse()?;
    settings.remove("engine");
    settings.remove("log");
    for (chain, poll_ms) in [("bitcoin", 2000), ("ethereum", 250), ("xrp", 1000)] {
        let chain = settings.get_mut(chain).and_then(toml::Value::as_table_mut);
        chain.context("the configuration has three chains")?.insert("poll_ms".into(), poll_ms.into());
    }
    Ok(std::fs::write(config, settings.to_string())?)
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}
