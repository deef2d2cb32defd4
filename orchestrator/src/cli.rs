//! The command line. Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 refused by the API; 4 the API cannot be
//! reached or is not able to now; 5 a watched transfer ended without being paid; 6 chain and database disagree;
//! 7 an audit file is broken; 8 nobody vouches for it.

pub mod admin;
mod approve;
mod audit;
mod cases;
mod compliance;
mod confirm;
mod cosigners;
mod deposits;
mod events;
mod governance;
mod halts;
mod output;
mod pay;
mod policy;
mod price;
mod reconcile;
mod reviews;
mod transfers;
mod travel_rule;
mod wallets;
mod webhooks;

use crate::{
    client::{Client, ClientError},
    config::{Config, InvalidConfig, LogConfig},
    serve::{self, Role},
};
use clap::{Args, Parser, Subcommand};
use output::Output;
use std::{path::PathBuf, process::ExitCode};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// Bursar: a self-hosted transaction orchestrator for a custody desk.
///
/// Exit codes: 0 done; 1 failed; 2 wrong usage or configuration; 3 refused by the API; 4 the API cannot be reached or cannot do
/// it now; 5 a watched transfer ended without being paid; 6 chain and database disagree; 7 an audit file is broken; 8 no
/// checkpoint in it is signed by enough co-signers.
#[derive(Debug, Parser)]
#[command(name = "bursar", version, max_term_width = 110)]
pub struct Cli {
    /// Print JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run API, workers and the co-signers' relay in one process.
    Serve(ConfigFile),
    /// Run the API only.
    Api(ConfigFile),
    /// Run the workers and the co-signers' relay only.
    Worker(ConfigFile),
    /// Check the configuration and say everything that is wrong with it.
    CheckConfig(ConfigFile),
    /// Make the relay's identity key, which co-signers pin.
    RelayIdentity(admin::KeyFile),
    /// Make, limit or revoke API keys (needs the database, not the API).
    #[command(subcommand, visible_alias = "api-key")]
    ApiKeys(admin::ApiKeys),
    /// Make an initiator's signing key, whose public half co-signers pin in their rules.
    InitiatorKey(admin::KeyFile),
    /// Wallets, balances and deposits.
    #[command(subcommand)]
    Wallets(wallets::Wallets),
    /// Deposit addresses.
    #[command(subcommand)]
    Addresses(wallets::Addresses),
    /// Ask for payments and follow them.
    #[command(subcommand)]
    Transfers(transfers::Transfers),
    FillGap(transfers::FillGap),
    Approve(approve::Approve),
    Reviews(reviews::Reviews),
    Screenings(reviews::Screenings),
    Release(reviews::ReleaseArgs),
    RejectReview(reviews::RejectReview),
    /// Money that came in, and what compliance decides about it.
    #[command(subcommand)]
    Deposits(deposits::Deposits),
    /// What compliance looks into.
    #[command(subcommand)]
    Cases(cases::Cases),
    /// What the institution at the other end is told of a transfer.
    #[command(subcommand)]
    TravelRule(travel_rule::TravelRule),
    /// Try the policy out, and see why it decided as it did.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// What assets are worth, by whom the policy names.
    #[command(subcommand)]
    Price(price::Price),
    /// The event log.
    Events(events::Events),
    /// Endpoints that events are sent on to.
    #[command(subcommand)]
    Webhooks(webhooks::Webhooks),
    Reconcile(reconcile::Reconcile),
    /// The audit log: written to a file, and verified from nothing but that.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Who may do what: the signed log, and changes to it.
    #[command(subcommand)]
    Governance(governance::Governance),
    /// Accounts that must not send for now.
    Halts(halts::Halts),
    /// Lift a halt. Where something is governed, two people have to.
    Resume(halts::Resume),
    /// Nodes, co-signers, keys and queue.
    Status(Connection),
    /// Co-signers: who is linked, since when, with which version, shares and governance log, and how their sessions went.
    Cosigners(Connection),
    /// Who one is to the API, with which roles.
    Whoami(Connection),
    /// Print the API's OpenAPI document.
    Openapi,
}

#[derive(Debug, Args)]
pub struct ConfigFile {
    /// Configuration file (README.md has an example).
    #[arg(long, env = "BURSAR_CONFIG", default_value = "bursar.toml")]
    config: PathBuf,
}

// Where the API is, and the key for it. (Not a doc comment: clap would give it to every command that flattens this.)
#[derive(Debug, Args)]
pub struct Connection {
    #[arg(long, env = "BURSAR_URL", default_value = "http://127.0.0.1:7700")]
    url: String,
    /// An Ed25519 key that signs each request: a user's of the governance log, or one made by `bursar api-keys create --out`. Comes before
    /// an API key.
    #[arg(long, env = "BURSAR_KEY_FILE")]
    key_file: Option<PathBuf>,
    /// A bearer key, made by `bursar api-keys create`.
    #[arg(long, env = "BURSAR_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
}

impl Connection {
    fn client(&self) -> anyhow::Result<Client> {
        Ok(match (&self.key_file, &self.api_key) {
            (Some(file), _) => Client::signing(&self.url, admin::load_initiator_key(file)?)?,
            (None, Some(key)) => Client::new(&self.url, Zeroizing::new(key.clone()))?,
            (None, None) => return Err(NoCredentials.into()),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "the API wants to know who calls: give --key-file or BURSAR_KEY_FILE, or --api-key or BURSAR_API_KEY"
)]
pub struct NoCredentials;

/// A watched transfer ended, and not by being paid.
#[derive(Debug, thiserror::Error)]
#[error("the transfer ended as {0}")]
pub struct NotPaid(String);

pub fn main(cli: Cli) -> ExitCode {
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("another TLS provider was installed before");
    }
    let output = Output { json: cli.json };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failed(&error.into(), 1),
    };
    match runtime.block_on(run(cli.command, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output.failed(&error, exit_code(&error)),
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<NoCredentials>()
        || error.is::<InvalidConfig>()
        || error.is::<pay::InvalidRequest>()
        || error.is::<confirm::NotSigned>()
    {
        2
    } else if error.is::<NotPaid>() {
        5
    } else if error.is::<webhooks::NotTaken>() {
        3
    } else if error.is::<reconcile::Broken>() {
        6
    } else if error.is::<audit::Tampered>() {
        7
    } else if error.is::<audit::Unconfirmed>() {
        8
    } else {
        match error.downcast_ref::<ClientError>() {
            Some(ClientError::Refused { status, .. }) if status.is_client_error() => 3,
            Some(_) => 4,
            None => 1,
        }
    }
}

async fn run(command: Command, output: Output) -> anyhow::Result<()> {
    match command {
        Command::Serve(file) => start(file, Role::All).await,
        Command::Api(file) => start(file, Role::Api).await,
        Command::Worker(file) => start(file, Role::Worker).await,
        Command::CheckConfig(file) => {
            Config::load(&file.config)?;
            output.note("the configuration is valid");
            Ok(())
        }
        Command::RelayIdentity(file) => admin::relay_identity(&file, output),
        Command::ApiKeys(command) => admin::api_keys(command, output).await,
        Command::InitiatorKey(file) => admin::initiator_key(&file, output),
        Command::Wallets(command) => wallets::wallets(command, output).await,
        Command::Addresses(command) => wallets::addresses(command, output).await,
        Command::Transfers(command) => transfers::run(command, output).await,
        Command::FillGap(gap) => transfers::fill_gap(gap, output).await,
        Command::Approve(command) => approve::run(command, output).await,
        Command::Reviews(command) => reviews::list(command, output).await,
        Command::Screenings(command) => reviews::screenings(command, output).await,
        Command::Release(command) => reviews::release(command, output).await,
        Command::RejectReview(command) => reviews::reject(command, output).await,
        Command::Deposits(command) => deposits::run(command, output).await,
        Command::Cases(command) => cases::run(command, output).await,
        Command::TravelRule(command) => travel_rule::run(command, output).await,
        Command::Policy(command) => policy::run(command, output).await,
        Command::Price(command) => price::run(command, output).await,
        Command::Events(command) => events::run(command, output).await,
        Command::Webhooks(command) => webhooks::run(command, output).await,
        Command::Reconcile(command) => reconcile::run(command, output).await,
        Command::Audit(command) => audit::run(command, output).await,
        Command::Governance(command) => governance::run(command, output).await,
        Command::Halts(command) => halts::list(command, output).await,
        Command::Resume(command) => halts::resume(command, output).await,
        Command::Cosigners(connection) => cosigners::run(connection, output).await,
        Command::Status(connection) => {
            output.value(&connection.client()?.get("/v1/status", &[]).await?);
            Ok(())
        }
        Command::Whoami(connection) => {
            output.value(&connection.client()?.get("/v1/me", &[]).await?);
            Ok(())
        }
        Command::Openapi => {
            println!("{}", crate::api::document().to_pretty_json()?);
            Ok(())
        }
    }
}

async fn start(file: ConfigFile, role: Role) -> anyhow::Result<()> {
    let config = Config::load(&file.config)?;
    log(&config.log)?;
    serve::run(config, role).await
}

/// Logs go to standard error. `RUST_LOG` comes before the configuration.
fn log(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&config.filter))?;
    // What cannot be logged (a full disk) is lost. To complain about it on the same stream would panic.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    if config.json {
        subscriber.json().init();
    } else {
        subscriber.init();
    }
    Ok(())
}
