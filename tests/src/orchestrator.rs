//! The orchestrator as a process.

use crate::{
    cosigners::Setup,
    environment::{Nodes, TOKEN, TOKEN_DECIMALS, XRP_NETWORK_ID, program},
    faults::Faults,
};
use anyhow::{Context as _, ensure};
use bursar_regtest::{Process, SmallDisk, free_port};
use serde_json::Value;
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Addresses to use in place of the usual ones.
#[derive(Debug, Clone, Default)]
pub struct Urls {
    /// Such as `postgres://…`; an SQLite file in the orchestrator's folder when absent.
    pub database: Option<String>,
    pub bitcoin: Option<String>,
    pub ethereum: Option<String>,
    pub xrp: Option<String>,
    /// Several nodes in place of the one, called node-0, node-1, …; more than half of them must agree.
    pub bitcoin_nodes: Vec<String>,
    pub ethereum_nodes: Vec<String>,
    pub xrp_nodes: Vec<String>,
}

pub struct Orchestrator {
    dir: PathBuf,
    config: PathBuf,
    api_port: u16,
    relay_port: u16,
    api_key: String,
    processes: Vec<Process>,
    /// What its processes obey from their next start on.
    pub faults: Option<Faults>,
    /// Each of its processes has its own from its next start on.
    pub small_disk: Option<SmallDisk>,
}

impl Orchestrator {
    /// Writes its configuration and makes an API key.
    pub fn prepare(dir: &Path, setup: &Setup, nodes: &Nodes, urls: &Urls) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir.join("data"))
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize()?;
        let (api_port, relay_port) = (free_port()?, free_port()?);
        let config = dir.join("bursar.toml");
        std::fs::write(&config, configuration(&dir, setup, nodes, urls, api_port, relay_port)?)?;
        let made = run_json(
            Command::new(program("bursar")?)
                .args(["--json", "api-keys", "create", "--name", "demo", "--config"])
                .arg(&config),
        )?;
        let api_key = made["apiKey"].as_str().context("no apiKey was printed")?.to_owned();
        let (processes, faults, small_disk) = (Vec::new(), None, None);
        Ok(Self { dir, config, api_port, relay_port, api_key, processes, faults, small_disk })
    }

    /// Starts API, workers and relay in one process, and waits until it takes requests.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.spawn("serve", "bursar.log")?;
        self.wait_ready().await
    }

    /// Starts API and workers as two processes on the same database, and waits until the API takes requests.
    pub async fn start_apart(&mut self) -> anyhow::Result<()> {
        self.spawn("worker", "worker.log")?;
        self.spawn("api", "api.log")?;
        self.wait_ready().await
    }

    fn spawn(&mut self, command: &str, log: &str) -> anyhow::Result<()> {
        let mut bursar = Command::new(program("bursar")?);
        bursar.arg(command).arg("--config").arg(&self.config);
        if let Some(faults) = &self.faults {
            faults.apply(&mut bursar);
        }
        if let Some(disk) = &self.small_disk {
            bursar = disk.under(&bursar);
        }
        self.processes.push(Process::spawn(format!("bursar {command}"), bursar, self.dir.join(log))?);
        Ok(())
    }

    /// Starts one more process on the same database, over a configuration in this one's folder; the caller keeps it.
    pub fn also(&self, command: &str, config: &str, log: &str) -> anyhow::Result<Process> {
        let mut bursar = Command::new(program("bursar")?);
        bursar.arg(command).arg("--config").arg(self.dir.join(config));
        Ok(Process::spawn(format!("bursar {command}"), bursar, self.dir.join(log))?)
    }

    /// Until it takes requests.
    pub async fn wait_ready(&mut self) -> anyhow::Result<()> {
        let ready = format!("{}/ready", self.url());
        for process in &mut self.processes {
            process
                .wait_ready(Duration::from_secs(30), || async {
                    match reqwest::get(&ready).await {
                        Ok(response) if response.status().is_success() => Ok(()),
                        Ok(response) => Err(format!("status {}", response.status())),
                        Err(error) => Err(error.to_string()),
                    }
                })
                .await?;
        }
        Ok(())
    }

    /// Starts it without waiting: as its keeper does, whatever else is down at the time.
    pub fn launch(&mut self) -> anyhow::Result<()> {
        self.spawn("serve", "bursar.log")
    }

    /// Whether one of its processes has ended by itself; those are forgotten.
    pub fn has_ended(&mut self) -> bool {
        let before = self.processes.len();
        self.processes.retain_mut(|process| process.exited().is_none());
        self.processes.len() < before
    }

    /// SIGSTOP: it keeps its connections and leases and does nothing.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.processes.iter().try_for_each(|process| Ok(process.pause()?))
    }

    pub fn resume(&self) -> anyhow::Result<()> {
        self.processes.iter().try_for_each(|process| Ok(process.resume()?))
    }

    /// SIGKILL, as a power cut.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        for mut process in self.processes.drain(..) {
            process.kill9()?;
        }
        Ok(())
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        for process in self.processes.drain(..) {
            let name = process.name().to_owned();
            let status = process.stop(Duration::from_secs(20)).await?;
            ensure!(status.success(), "{name} ended with {status}; see {}", self.dir.display());
        }
        Ok(())
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.api_port)
    }
    pub fn relay_address(&self) -> String {
        format!("127.0.0.1:{}", self.relay_port)
    }
    /// Of its processes that were started and not stopped.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }
    pub fn api_key(&self) -> &str {
        &self.api_key
    }
    /// Where it keeps an embedded database.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
    pub fn config(&self) -> &Path {
        &self.config
    }
    pub fn log_file(&self) -> PathBuf {
        self.dir.join("bursar.log")
    }
}

fn configuration(
    dir: &Path,
    setup: &Setup,
    nodes: &Nodes,
    urls: &Urls,
    api_port: u16,
    relay_port: u16,
) -> anyhow::Result<String> {
    let embedded = || format!("sqlite://{}", dir.join("data/bursar.db").display());
    let store = urls.database.clone().unwrap_or_else(embedded);
    let bitcoin = urls.bitcoin.as_deref().unwrap_or(nodes.bitcoind.rpc_url());
    let bitcoin = one_or_several(bitcoin, &urls.bitcoin_nodes);
    let ethereum = urls.ethereum.as_deref().unwrap_or(nodes.anvil.rpc_url());
    let ethereum = one_or_several(ethereum, &urls.ethereum_nodes);
    let xrp = urls.xrp.as_deref().unwrap_or(nodes.xrpl.rpc_url());
    let xrp = one_or_several(xrp, &urls.xrp_nodes);
    let (user, password) = (nodes.bitcoind.rpc_user(), nodes.bitcoind.rpc_password());
    let token = &nodes.token;
    let mut text = format!(
        r#"[store]
url = "{store}"

[api]
listen = "127.0.0.1:{api_port}"

[api.limits]
caller_per_second = 1000000
caller_burst = 1000000

[engine]
retry_ms = 500
rebroadcast_ms = 3000
sweep_ms = 2000
lease_ms = 5000

[bitcoin]
network = "regtest"
{bitcoin}
user = "{user}"
password = "{password}"
confirmations = 2
poll_ms = 100

[ethereum]
chain_id = 31337
{ethereum}
confirmations = 2
poll_ms = 100

[[ethereum.tokens]]
symbol = "{TOKEN}"
contract = "{token}"
decimals = {TOKEN_DECIMALS}

[xrp]
network_id = {XRP_NETWORK_ID}
{xrp}
ledger_window = 60
poll_ms = 100

[log]
filter = "info,bursar_workers=debug,sqlx=warn"
"#,
    );
    if setup.parties().is_empty() {
        text.push_str("\n[signer]\ndevelopment_single_key = true\n");
        return Ok(text);
    }
    let identity = setup.relay_identity_file().display();
    write!(text, "\n[relay]\nlisten = \"127.0.0.1:{relay_port}\"\nidentity_file = \"{identity}\"\n")?;
    for party in setup.parties() {
        write!(
            text,
            "\n[[relay.parties]]\nindex = {}\nname = \"{}\"\nrole = \"{}\"\npublic_key = \"{}\"\n",
            party.index, party.name, party.role, party.public_key
        )?;
    }
    Ok(text)
}

fn one_or_several(url: &str, several: &[String]) -> String {
    if several.is_empty() {
        return format!("url = \"{url}\"");
    }
    let entry = |(index, url)| format!("{{ name = \"node-{index}\", url = \"{url}\" }}");
    format!("nodes = [{}]", several.iter().enumerate().map(entry).collect::<Vec<_>>().join(", "))
}

/// Runs a program that prints one JSON object.
pub fn run_json(command: &mut Command) -> anyhow::Result<Value> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}: {errors}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("{command:?} printed no JSON: {text}"))
}
