//! Commands. Exit codes: 0 done, 1 failed, 2 wrong usage (from the argument parser), 3 wrong configuration or rules.

mod control;
mod crash;
mod init;
mod keys;
mod passphrase;
mod run;
mod status;

use bursar_signer::{
    adapters::by_chain,
    config::{Config, ConfigError},
    rules::{InvalidRules, Rules},
};
use bursar_signer_client::Identity;
use clap::{Args, Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A co-signer: holds one share of each key, checks what it is asked to sign by its own rules, and signs with the others.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes this party's identity key, a configuration to complete, and rules that deny everything.
    Init(init::Init),
    /// Finds safe primes ahead of an ECDSA key generation and keeps them encrypted. One key generation takes a set of four, which
    /// is one to two minutes of computing in all.
    Primes(keys::PrimesCommand),
    /// Generates keys together with all other parties; waits for them at the relay.
    Keygen(keys::KeygenCommand),
    /// Serves: dials the relays, checks packages, signs.
    Run(run::Run),
    /// Tells what this co-signer holds and what it did.
    Status(status::Status),
    /// Lists the payments that wait for a person at this party, as decoded here.
    Pending(control::Pending),
    /// Lets a payment that waits be signed, with whatever fee up to its highest.
    Approve(control::Approve),
    /// Refuses a payment for good.
    Reject(control::Reject),
    /// Signs nothing from now on, whatever anybody else says.
    Freeze(control::Freeze),
    /// Ends `freeze`.
    Lift(control::Lift),
    /// Loads, shows and pins the governance log.
    Governance(control::GovernanceCommand),
}

/// What every command takes.
#[derive(Args, Clone)]
pub struct Common {
    /// The co-signer's folder.
    #[arg(long, env = "BURSAR_SIGNER_DIR")]
    dir: PathBuf,
    /// One JSON object per line on standard output instead of text.
    #[arg(long)]
    json: bool,
}

/// Wrong configuration, told apart from other failures by the exit code.
#[derive(Debug, thiserror::Error)]
pub enum Misconfigured {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{path}: {source}")]
    ReadRules { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Rules { path: PathBuf, source: InvalidRules },
    #[error("{0}")]
    Other(String),
}

pub fn main(arguments: Arguments) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    // What cannot be logged (a full disk) is lost. To complain about it on the same stream would panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    let done = match arguments.command {
        Command::Init(command) => command.run(),
        Command::Primes(command) => command.run(),
        Command::Keygen(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Status(command) => command.run(),
        Command::Pending(command) => command.run(),
        Command::Approve(command) => command.run(),
        Command::Reject(command) => command.run(),
        Command::Freeze(command) => command.run(),
        Command::Lift(command) => command.run(),
        Command::Governance(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar-signer: {error:#}");
            ExitCode::from(if error.is::<Misconfigured>() { 3 } else { 1 })
        }
    }
}

impl Common {
    fn config(&self) -> Result<Config, Misconfigured> {
        Ok(Config::load(&self.dir.join("signer.toml"))?)
    }

    fn rules(&self) -> Result<Rules, Misconfigured> {
        let path = self.dir.join("rules.toml");
        let text = std::fs::read_to_string(&path)
            .map_err(|source| Misconfigured::ReadRules { path: path.clone(), source })?;
        Rules::parse(&text, by_chain).map_err(|source| Misconfigured::Rules { path, source })
    }

    fn identity(&self) -> anyhow::Result<Identity> {
        Ok(Identity::load(&identity_path(&self.dir))?)
    }

    /// One line for people, or one object for programs.
    fn say(&self, json: &serde_json::Value, text: &str) {
        if self.json {
            println!("{json}");
        } else {
            println!("{text}");
        }
    }
}

fn identity_path(dir: &Path) -> PathBuf {
    dir.join("identity.key")
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
