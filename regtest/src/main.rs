//! `bursar-regtest`: starts local nodes for development, checks what is missing, and is the launcher through which the
//! library starts its children.

mod nodes;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bursar_regtest::{
    Anvil, AnvilOptions, Bitcoind, Mining, Postgres, PostgresOptions, RegtestError, StartOptions,
    process::RunAs, tools, xrpl,
};
use clap::{Args, Parser, Subcommand};
use serde_json::json;

#[derive(Parser)]
#[command(
    version,
    about = "Local chains for Bursar: bitcoind (regtest), anvil, XRP Ledger stand-in; and a Postgres"
)]
struct Cli {
    /// Print machine-readable lines instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start all nodes, print their addresses, and run until Ctrl-C.
    Up {
        /// Folder for chains and logs.
        #[arg(long, default_value = ".bursar/regtest")]
        data_dir: PathBuf,
        #[arg(long)]
        bitcoind_port: Option<u16>,
        #[arg(long)]
        anvil_port: Option<u16>,
        #[arg(long)]
        xrpl_port: Option<u16>,
        /// Seconds between Ethereum blocks; without it, one block for each transaction.
        #[arg(long)]
        block_time: Option<u64>,
        /// Milliseconds between ledgers of the XRP Ledger stand-in.
        #[arg(long, default_value_t = 1000)]
        close_interval_ms: u64,
    },
    /// Start bitcoind alone.
    Bitcoind(Node),
    /// Start anvil alone.
    Anvil {
        #[command(flatten)]
        node: Node,
        /// Seconds between blocks; without it, one block for each transaction.
        #[arg(long)]
        block_time: Option<u64>,
    },
    /// Run the XRP Ledger stand-in in this process, JSON-RPC and WebSocket on one port.
    Xrpl {
        #[command(flatten)]
        node: Node,
        /// Milliseconds between ledgers; without it, a ledger closes only on `ledger_accept`.
        #[arg(long)]
        close_interval_ms: Option<u64>,
        /// Above 1024 transactions must carry it, at or below they must not.
        #[arg(long, default_value_t = 0)]
        network_id: u32,
        /// Port of a further node that shows the same ledger, with faults of its own. May be given more than once.
        #[arg(long)]
        view_port: Vec<u16>,
    },
    /// Start a Postgres server with a cluster of its own.
    Postgres(Node),
    /// Say which programs are found and how to get those that are missing; fails if any is.
    Check,
    /// Tie this process to its parent's life, then become the command after `--`. For the library's own use.
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        parent: u32,
        #[arg(long, requires = "gid")]
        uid: Option<u32>,
        #[arg(long, requires = "uid")]
        gid: Option<u32>,
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
}

#[derive(Args)]
struct Node {
    /// Folder for data and log.
    #[arg(long)]
    data_dir: PathBuf,
    /// Port; a free one by default.
    #[arg(long)]
    port: Option<u16>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Launch { parent, uid, gid, command } => {
            let run_as = uid.zip(gid).map(|(uid, gid)| RunAs { uid, gid });
            match bursar_regtest::process::launch::launch(parent, run_as, &command) {
                Ok(never) => match never {},
                Err(error) => {
                    eprintln!("bursar-regtest launch: {:#}", anyhow::Error::new(error));
                    // What a shell answers when it cannot execute a command.
                    return ExitCode::from(127);
                }
            }
        }
        Command::Check => check(cli.json),
        command => run(command, cli.json),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bursar-regtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn check(json: bool) -> anyhow::Result<()> {
    let found = [
        ("bitcoind", tools::bitcoind()),
        ("anvil", tools::anvil()),
        ("postgres", tools::postgres_bin()),
        ("bursar-regtest", tools::bursar_regtest()),
    ];
    let mut missing = 0;
    for (tool, result) in &found {
        let (path, problem) = match result {
            Ok(path) => (Some(path.display().to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        missing += usize::from(problem.is_some());
        if json {
            println!("{}", json!({ "tool": tool, "path": path, "problem": problem }));
        } else {
            // The problem names the tool itself.
            println!("{}", path.map(|path| format!("{tool}: {path}")).or(problem).unwrap_or_default());
        }
    }
    anyhow::ensure!(
        missing == 0,
        "{missing} of {} programs are missing: ./dev setup installs them",
        found.len()
    );
    Ok(())
}

#[tokio::main]
async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match command {
        Command::Up { data_dir, bitcoind_port, anvil_port, xrpl_port, block_time, close_interval_ms } => {
            let ports = nodes::Ports { bitcoind: bitcoind_port, anvil: anvil_port, xrpl: xrpl_port };
            let nodes = nodes::Nodes::start(
                &data_dir,
                ports,
                mining(block_time),
                Duration::from_millis(close_interval_ms),
            )
            .await?;
            nodes.print(json);
            nodes::wait_for_end(json).await?;
            nodes.stop().await?;
        }
        Command::Bitcoind(Node { data_dir, port }) => {
            let node = Bitcoind::start(StartOptions { port, ..StartOptions::new(data_dir) }).await?;
            nodes::print("bitcoind", node.rpc_url(), Some((node.rpc_user(), node.rpc_password())), json);
            nodes::wait_for_end(json).await?;
            node.stop().await?;
        }
        Command::Anvil { node: Node { data_dir, port }, block_time } => {
            let options = AnvilOptions { port, mining: mining(block_time), ..AnvilOptions::new(data_dir) };
            let node = Anvil::start(options).await?;
            nodes::print("anvil", node.rpc_url(), None, json);
            nodes::wait_for_end(json).await?;
            node.stop().await?;
        }
        Command::Xrpl { node: Node { data_dir, port }, close_interval_ms, network_id, view_port } => {
            std::fs::create_dir_all(&data_dir)
                .map_err(RegtestError::io("could not create folder", &data_dir))?;
            let config = xrpl::Config {
                network_id,
                views: view_port.into_iter().map(|port| (Ipv4Addr::LOCALHOST, port).into()).collect(),
                close_interval: close_interval_ms.map(Duration::from_millis),
                state_file: Some(data_dir.join(bursar_regtest::xrp_ledger::JOURNAL)),
                ..xrpl::Config::new((Ipv4Addr::LOCALHOST, port.unwrap_or(0)).into())
            };
            let server = xrpl::serve(config).await?;
            nodes::print("xrpl", &format!("http://{}", server.addr), None, json);
            nodes::wait_for_end(json).await?;
            server.shutdown().await;
        }
        Command::Postgres(Node { data_dir, port }) => {
            let server = Postgres::start(PostgresOptions { port, ..PostgresOptions::new(data_dir) }).await?;
            nodes::print("postgres", server.url(), None, json);
            nodes::wait_for_end(json).await?;
            server.stop().await?;
        }
        Command::Check | Command::Launch { .. } => {
            return Err(RegtestError::Invalid {
                field: "command",
                reason: "runs without a runtime".to_owned(),
            }
            .into());
        }
    }
    Ok(())
}

fn mining(block_time: Option<u64>) -> Mining {
    block_time.map_or(Mining::Auto, Mining::Interval)
}
