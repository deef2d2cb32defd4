//! A strict stand-in for a stand-alone `rippled`, because no package registry ships one.
//!
//! It speaks JSON-RPC and WebSocket on one port, decodes real blobs with the real binary format, checks signatures,
//! and keeps real money rules: sequences, tickets, expiry, fees and the queue, reserves, destination and deposit
//! rules, and above all the difference between a provisional and a final result. It was last compared with rippled
//! 3.1.2, by replaying a recorded session (`tests/xrpl_conformance.rs`).
//!
//! What it does not have: consensus with other nodes, offers, AMM, escrow, checks, channels, NFTs, MPTs (their
//! transactions answer `temDISABLED`, as where an amendment is off), cross-currency payments, owner directories in
//! metadata, `binary: true`, and state hashes equal to rippled's. Transaction ids and blobs are real.

pub mod apply;
pub mod chain;
pub mod entry;
pub mod faults;
pub mod ids;
pub mod iou;
pub mod journal;
pub mod meta;
pub mod result;
pub mod rpc;
pub mod server;
pub mod state;
pub mod time;
pub mod tx;
pub mod view;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

pub use self::apply::Rules;
pub use self::chain::GENESIS_ADDRESS;
pub use self::state::Clock;

use self::chain::Chain;
use self::journal::{Journal, JournalError};
use self::server::Server;
use self::state::State;

const LEDGER_STREAM_BUFFER: usize = 64;

/// How to run the stand-in.
#[derive(Clone)]
pub struct Config {
    /// Port 0 takes a free one; see [`Running::addr`].
    pub listen: SocketAddr,
    /// Further nodes that show the same ledger, each with faults of its own (`standin_fault` sent to it).
    pub views: Vec<SocketAddr>,
    /// Above 1024 transactions must carry it, at or below they must not.
    pub network_id: u32,
    /// Closes a ledger by itself this often; `None`: only on `ledger_accept`.
    pub close_interval: Option<Duration>,
    /// Keeps closed ledgers here across restarts; `None`: in memory only.
    pub state_file: Option<PathBuf>,
    /// Drops for a reference transaction without load.
    pub base_fee: u64,
    /// Drops that every account must keep.
    pub reserve_base: u64,
    /// Drops to keep for each owned entry.
    pub reserve_increment: u64,
    /// Where close times come from.
    pub clock: Clock,
}

impl Config {
    /// Network 0 with the fees and reserves of mainnet today: 10 drops, 1 XRP, 0.2 XRP.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            views: Vec::new(),
            network_id: 0,
            close_interval: None,
            state_file: None,
            base_fee: 10,
            reserve_base: 1_000_000,
            reserve_increment: 200_000,
            clock: Arc::new(system_ledger_time),
        }
    }
}

/// Why the stand-in could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {addr}: choose a free port, or 0 for any")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// A running stand-in; dropping it stops the server.
pub struct Running {
    /// Where it listens: `http://{addr}/` and `ws://{addr}/`.
    pub addr: SocketAddr,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
}

impl Running {
    /// Stops accepting, ends open connections after their current request, and waits for the server to end.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        if let Some(server) = self.server.take() {
            // A panic inside the server has been reported by then; there is nothing left to stop.
            let _ = server.await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// Starts the stand-in on the current tokio runtime.
///
/// # Errors
/// [`ServeError`] when the port is taken or the state file is unusable.
pub async fn serve(config: Config) -> Result<Running, ServeError> {
    let listener = bind(config.listen).await?;
    let addr = listener.local_addr().map_err(|source| ServeError::Listen { addr: config.listen, source })?;
    let mut views = Vec::new();
    for view in &config.views {
        views.push(bind(*view).await?);
    }
    let (stop, stopped) = watch::channel(false);
    let server = Server::new(open_state(&config)?, stopped.clone());
    let interval = config.close_interval;
    let mut serving = tokio::task::JoinSet::new();
    let routers = std::iter::once(server.clone()).chain(views.iter().map(|_| server.view()));
    let routers: Vec<_> = routers.map(Server::router).collect();
    for (listener, router) in std::iter::once(listener).chain(views).zip(routers) {
        let stopped = stopped.clone();
        let until = server::told_to_stop(stopped);
        serving.spawn(axum::serve(listener, router).with_graceful_shutdown(until).into_future());
    }
    let task = tokio::spawn(async move {
        let serving = async {
            while let Some(served) = serving.join_next().await {
                if !matches!(served, Ok(Ok(()))) {
                    tracing::error!(?served, "the XRP Ledger stand-in stopped serving");
                    return;
                }
            }
        };
        tokio::select! {
            () = serving => {}
            () = close_ledgers(server, interval) => {}
        }
    });
    Ok(Running { addr, stop, server: Some(task) })
}

async fn bind(addr: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(addr).await.map_err(|source| ServeError::Listen { addr, source })
}

fn open_state(config: &Config) -> Result<State, JournalError> {
    let rules = Rules {
        base_fee: config.base_fee,
        reserve_base: config.reserve_base,
        reserve_increment: config.reserve_increment,
        network_id: config.network_id,
    };
    let now = (config.clock)();
    let (journal, chain) = match &config.state_file {
        Some(path) => {
            let (journal, chain) = Journal::open(path, rules, now)?;
            (Some(journal), chain)
        }
        None => (None, Chain::new(rules, now)),
    };
    let (closed, _) = broadcast::channel(LEDGER_STREAM_BUFFER);
    Ok(State { chain, journal, clock: Arc::clone(&config.clock), closed, broken: false })
}

/// Closes ledgers by the clock; ends only when a ledger cannot be made durable, for then nothing may be answered.
async fn close_ledgers(server: Server, interval: Option<Duration>) {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let closed = server.state().accept();
        if let Err(error) = closed {
            tracing::error!(%error, "the XRP Ledger stand-in stops: a ledger could not be written");
            return;
        }
    }
}

/// The system's time in seconds of the XRP Ledger.
#[expect(clippy::disallowed_methods, reason = "the default clock of a test server; tests inject their own")]
fn system_ledger_time() -> u32 {
    let unix = std::time::SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(unix.saturating_sub(time::LEDGER_EPOCH)).unwrap_or(u32::MAX)
}
