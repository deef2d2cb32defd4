//! `./dev chaos`: payments on every chain while everything dies at random.

use anyhow::ensure;
use bursar_regtest::PostgresOptions;
use bursar_tests::{
    Environment, Options,
    chaos::{self, Database, Plan, Proxies, Report},
    environment::{Nodes, install_tls},
    program::{self, say},
};
use clap::{Parser, ValueEnum};
use rand::RngCore as _;
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// Kills, stops, lies and reorganises at random while payments are made, then checks every recipient's balance on its chain.
///
/// Ends with 0 when each recipient has exactly what was ordered and every transfer is at an end or says why it waits; with 1
/// when a promise was broken or the run could not be made.
#[derive(Debug, Parser)]
#[command(name = "./dev chaos")]
struct Args {
    /// Fixes the payments and the order of blows; a random one is printed when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// How long blows fall; waiting for what is left comes after it.
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Payments on each chain; by default six a minute, at least four.
    #[arg(long)]
    per_chain: Option<u32>,
    #[arg(long, value_enum, default_value_t = Store::Sqlite)]
    store: Store,
    /// The report as JSON.
    #[arg(long)]
    json: bool,
    /// Where all data goes. Keys in it are used again.
    #[arg(long, default_value = ".bursar/chaos")]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

fn main() -> ExitCode {
    let args = Args::parse();
    program::run(&args.dir.clone(), run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    ensure!((0.1..=600.0).contains(&args.minutes), "--minutes: must be between 0.1 and 600");
    let seed = args.seed.unwrap_or_else(|| rand::rngs::OsRng.next_u64());
    let plan = Plan {
        seed,
        duration: Duration::from_secs_f64(args.minutes * 60.0),
        per_chain: args.per_chain.unwrap_or(((args.minutes * 6.0) as u32).max(4)),
        patience: Duration::from_secs(300),
    };
    install_tls();
    let mut options = Options { say, ..Options::new(&args.dir) };
    for part in ["nodes", "orchestrator/data", "postgres"] {
        match std::fs::remove_dir_all(args.dir.join(part)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    let mut database = match args.store {
        Store::Sqlite => None,
        Store::Postgres => {
            let database = Database::start(PostgresOptions::new(args.dir.join("postgres"))).await?;
            options.urls.database = Some(database.server.url().to_owned());
            Some(database)
        }
    };
    let nodes = Nodes::start(&options).await?;
    let proxies = Proxies::start(&nodes, &mut options).await?;
    let mut environment = Environment::start_on(options, nodes).await?;
    let report = chaos::run(&mut environment, &proxies, database.as_mut(), &plan, say).await;
    if report.is_err() {
        let store = match args.store {
            Store::Sqlite => "sqlite",
            Store::Postgres => "postgres",
        };
        say(&format!(
            "the same again: ./dev chaos --seed {seed} --minutes {} --per-chain {} --store {store}",
            args.minutes, plan.per_chain
        ));
    }
    let report = report?;
    environment.stop().await?;
    print(&report, args.json)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(());
    }
    println!(
        "\nseed {}, {} s of blows, {} requests to nodes tampered with",
        report.seed, report.seconds, report.faults
    );
    for (blow, count) in &report.blows {
        println!("  {count:>5} × {blow}");
    }
    for (verb, count) in &report.second_thoughts {
        println!("  {count:>5} × {verb} was asked for and taken");
    }
    println!("every recipient has exactly what was ordered; of {} transfers", report.outcomes.len());
    for (status, count) in &report.statuses {
        println!("  {count:>5} × {status}");
    }
    for outcome in report.outcomes.iter().filter(|outcome| outcome.status != "COMPLETED") {
        let reason = outcome.reason.as_deref().unwrap_or("no reason given");
        println!(
            "  {} {} {}: {} ({reason})",
            outcome.transfer, outcome.amount, outcome.asset, outcome.status
        );
    }
    Ok(())
}
