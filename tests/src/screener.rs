//! The screening service as a process, with a list of its own in place of a provider.

use crate::{environment::program, initiator::rand_bytes, orchestrator::run_json};
use anyhow::Context as _;
use bursar_regtest::Process;
use serde_json::{Value, json};
use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// What the list says of an address that is on it. Every other one is clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// People have to look at it.
    Review,
    /// A sanctions hit, which nobody releases.
    Sanctioned,
}

/// Only this process has the key that signs verdicts.
pub struct Screener {
    url: String,
    list: PathBuf,
    token: PathBuf,
    entries: Vec<Value>,
    process: Process,
}

impl Screener {
    /// Makes its key where there is none; the public half, in hex.
    pub fn public_key(dir: &Path) -> anyhow::Result<String> {
        fs::create_dir_all(dir)?;
        let (key, public) = (dir.join("key.pem"), dir.join("key.pub"));
        if !public.exists() {
            // Left by one that died in between: nobody has seen its public half.
            remove(&key)?;
            let mut keygen = Command::new(program("bursar-screener")?);
            let made = run_json(keygen.args(["keygen", "--json", "--out"]).arg(&key))?;
            fs::write(&public, made["publicKey"].as_str().context("no publicKey was printed")?)?;
        }
        Ok(fs::read_to_string(&public)?)
    }

    /// Starts it in `dir`, signing as the key `main` of `user` under the log that begins with `genesis`.
    pub async fn start(dir: &Path, user: &str, genesis: &str) -> anyhow::Result<Self> {
        let dir = dir.canonicalize()?;
        let (list, token, data) = (dir.join("list.toml"), dir.join("token"), dir.join("data"));
        secret(&token)?;
        // What it was asked is about chains that began anew.
        remove(&data)?;
        fs::create_dir(&data)?;
        write_list(&list, &[])?;
        let (file, config, log) = (dir.join("key.pem"), dir.join("screener.toml"), dir.join("screener.log"));
        // Port 0: any free one, which it tells.
        let configuration = format!(
            "listen = \"127.0.0.1:0\"\ndata = {data:?}\ntoken = {{ file = {token:?} }}\ngenesis = \"{genesis}\"\npoll_seconds = 5\n\n\
             [key]\nfile = {file:?}\nuser = \"{user}\"\nid = \"main\"\n\n[provider]\nkind = \"list\"\nfile = {list:?}\n"
        );
        fs::write(&config, configuration)?;
        let mut serve = Command::new(program("bursar-screener")?);
        serve.args(["serve", "--json", "--config"]).arg(&config);
        remove(&log)?;
        let mut process = Process::spawn("bursar-screener", serve, &log)?;
        let told = || fs::read_to_string(&log).ok().and_then(|text| text.lines().find_map(listening));
        process
            .wait_ready(Duration::from_secs(30), || async {
                told().map(drop).ok_or_else(|| "it does not say where it listens".to_owned())
            })
            .await?;
        let url = format!("http://{}", told().context("it said where it listens")?);
        Ok(Self { url, list, token, entries: Vec::new(), process })
    }

    pub fn url(&self) -> &str {
        &self.url
    }
    /// What callers must have, in a file.
    pub fn token_file(&self) -> &Path {
        &self.token
    }
    pub fn list_file(&self) -> &Path {
        &self.list
    }

    /// Puts an address on the list, for every network. The next question about it is answered by that.
    pub fn list(&mut self, address: &str, listed: Listed, finding: &str) -> anyhow::Result<()> {
        let (risk, sanctions, category) = match listed {
            Listed::Review => ("MEDIUM", false, "watch list"),
            Listed::Sanctioned => ("SEVERE", true, "sanctions"),
        };
        self.entries.push(json!({
            "address": address,
            "risk": risk,
            "sanctions": sanctions,
            "category": category,
            "finding": finding,
        }));
        write_list(&self.list, &self.entries)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.process.stop(Duration::from_secs(10)).await?;
        Ok(())
    }
}

/// All of it or nothing: it is read whenever it has changed.
fn write_list(file: &Path, entries: &[Value]) -> anyhow::Result<()> {
    let beside = file.with_extension("new");
    fs::write(&beside, toml::to_string(&json!({ "default": "CLEAR", "entries": entries }))?)?;
    Ok(fs::rename(&beside, file)?)
}

/// Where the service listens, by the line that says so.
fn listening(line: &str) -> Option<String> {
    let said: Value = serde_json::from_str(line).ok()?;
    Some(said["listening"].as_str()?.to_owned())
}

/// A fresh token that only its owner may read.
fn secret(file: &Path) -> anyhow::Result<()> {
    remove(file)?;
    let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    Ok(out.write_all(hex::encode(rand_bytes::<32>()).as_bytes())?)
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
