//! Commands. Exit codes: 0 done (and for `screen`: CLEAR), 1 failed or not answered, 2 wrong usage (from the argument parser), 3 wrong
//! configuration; for `screen` also 10 REVIEW, 11 BLOCK, 12 pending.

mod check;
mod keygen;
mod screen;
mod serve;

use bursar_kyt::{
    config::{Config, ConfigError},
    key::KeyError,
};
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, process::ExitCode};

/// Screens payments, deposits and addresses at a provider, and signs what it came to.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers the orchestrator over HTTP, and brings it the provider's alerts.
    Serve(serve::Serve),
    /// Asks the provider once, and prints the answer. Exit code 0 for CLEAR, 10 for REVIEW, 11 for BLOCK, 12 when it is pending.
    Screen(screen::Screen),
    /// Makes the Ed25519 key that signs verdicts, and prints the public key for the governance log.
    Keygen(keygen::Keygen),
    /// Reads the configuration with all files that it names, and tells what is wrong with it.
    CheckConfig(check::CheckConfig),
}

/// What most commands take.
#[derive(Args, Clone)]
pub struct Common {
    /// The configuration, screener.toml.
    #[arg(long, env = "BURSAR_SCREENER_CONFIG")]
    config: PathBuf,
    /// One JSON object per line on standard output instead of text.
    #[arg(long)]
    json: bool,
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
        Command::Serve(command) => command.run(),
        Command::Screen(command) => command.run(),
        Command::Keygen(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bursar-screener: {error:#}");
            let misconfigured = error.is::<ConfigError>() || error.is::<KeyError>();
            ExitCode::from(if misconfigured { 3 } else { 1 })
        }
    }
}

impl Common {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.config)
    }

    /// One line for people, or one object for programs.
    fn say(&self, json: &serde_json::Value, text: &str) {
        say(self.json, json, text);
    }
}

fn say(as_json: bool, json: &serde_json::Value, text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    // Who closed the pipe does not read it.
    let _ = if as_json { writeln!(out, "{json}") } else { writeln!(out, "{text}") };
    let _ = out.flush();
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}
