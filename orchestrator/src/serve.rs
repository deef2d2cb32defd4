//! The long-running processes: API, workers, or both in one.

use crate::{
    api::{self, ApiState, auth::Authentication},
    compose,
    config::{Config, RelayConfig},
    relayed_log,
};
use anyhow::Context as _;
use bursar_domain::{
    governance::log::EntryDigest,
    ports::ThresholdSigner,
    signing::{PartyIndex, Scheme},
    time::Timestamp,
};
use bursar_signer_client::{
    Coordinator, Deadlines, Identity, Relay, RelayTask,
    development::{self, DevelopmentSingleKey, Seed},
};
use bursar_store::{StoreError, idempotency, nonces, sessions};
use bursar_workers::{NoSigner, Workers, checkpoints::Checkpoints};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What one process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `bursar serve`: API, workers and relay.
    All,
    /// `bursar api`: API only; signs nothing.
    Api,
    /// `bursar worker`: workers and relay only.
    Worker,
}

/// Runs until SIGINT or SIGTERM, then drains.
pub async fn run(config: Config, role: Role) -> anyhow::Result<()> {
    survive_file_size_limits();
    let metrics =
        PrometheusBuilder::new().install_recorder().context("cannot install the metrics recorder")?;
    let single_key = config.development_single_key();
    if let Some(seed_file) = single_key {
        tracing::warn!(
            signer = development::NAME,
            seed_file = %seed_file.display(),
            "DEVELOPMENT SIGNER: complete keys in one file, no co-signer checks anything. Never for money of any worth"
        );
    }
    let relay = match (&config.relay, role) {
        (Some(relay), Role::All | Role::Worker) => Some(bind_relay(relay).await?),
        (None, Role::All | Role::Worker) if single_key.is_none() => {
            tracing::warn!(
                "no [relay] is configured: this process signs nothing, and leaves that to a worker with the co-signers' relay"
            );
            None
        }
        _ => None,
    };
    let coordinator = relay.as_ref().map(|(coordinator, _)| coordinator.clone());
    let signer: Arc<dyn ThresholdSigner> = match (&coordinator, single_key, role) {
        (Some(coordinator), ..) => Arc::new(coordinator.clone()),
        (None, Some(seed_file), Role::All | Role::Worker) => {
            let seed = Seed::load_or_create(seed_file).context("signer.seed_file")?;
            Arc::new(DevelopmentSingleKey::new(&seed))
        }
        _ => Arc::new(NoSigner),
    };
    let context = compose::context(&config, signer).await?;

    let stop = CancellationToken::new();
    if let Some(coordinator) = coordinator.clone().filter(|_| config.governance.genesis.is_some()) {
        tokio::spawn(relayed_log::run(coordinator, context.clone(), stop.clone()));
    }
    if let Some(coordinator) = coordinator.clone() {
        let checkpoints = Checkpoints {
            store: context.store.clone(),
            cosigners: Arc::new(coordinator),
            clock: context.clock.clone(),
            desk: config.governance.genesis.unwrap_or(EntryDigest::NONE),
            settings: config.audit.settings(),
        };
        tokio::spawn(checkpoints.run(stop.clone()));
    }
    let housekeeping = tokio::spawn(keep_house(context.clone(), metrics.clone()));
    let workers = (role != Role::Api).then(|| Workers::start(context.clone()));
    let webhooks = config.webhooks.open().context("[webhooks]")?;
    let deliverer = webhooks
        .clone()
        .filter(|_| role != Role::Api)
        .map(|webhooks| tokio::spawn(bursar_workers::webhooks::run(context.clone(), webhooks, stop.clone())));
    let listen = match role {
        Role::Worker => config.worker.listen.map(|address| ("worker.listen", address)),
        Role::All | Role::Api => Some(("api.listen", config.api.listen)),
    };
    let server = match listen {
        None => None,
        Some((setting, address)) => {
            let listener = tokio::net::TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("{setting}: cannot listen on {address}"))?;
            let address = listener.local_addr()?;
            let state = ApiState {
                context,
                assets: Arc::new(compose::assets(&config)),
                coordinator,
                single_key: single_key.is_some(),
                metrics,
                auth: Arc::new(Authentication::new((&config.api).into(), Arc::new(compose::SystemClock))),
                webhooks,
                streams: api::events::Streams::default(),
            };
            let router = match role {
                Role::Worker => {
                    tracing::info!(%address, "worker's health and metrics ready: /health, /ready, /metrics");
                    api::operations(state)
                }
                Role::All | Role::Api => {
                    tracing::info!(%address, "API ready; its document is at /openapi.json, a page of it at /docs");
                    api::router(state)
                }
            };
            let graceful = stop.clone().cancelled_owned();
            Some(tokio::spawn(
                axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
                    .with_graceful_shutdown(graceful)
                    .into_future(),
            ))
        }
    };

    shutdown_signal().await;
    tracing::info!("stopping: finishing what is under way");
    stop.cancel();
    if let Some(workers) = workers {
        workers.shutdown().await;
    }
    if let Some(deliverer) = deliverer {
        // It writes down what ends soon.
        let _ = tokio::time::timeout(Duration::from_secs(15), deliverer).await;
    }
    if let Some(server) = server {
        // Event streams never end by themselves.
        let _ = tokio::time::timeout(Duration::from_secs(2), server).await;
    }
    housekeeping.abort();
    if let Some((_, relay)) = relay {
        relay.shutdown().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// How long the answer to an `Idempotency-Key` is repeated.
const ANSWERS_KEPT: Duration = Duration::from_secs(24 * 3600);
const BETWEEN_PURGES: Duration = Duration::from_secs(600);

/// Pins each group key as soon as the co-signers agree on it, so that a process without the relay finds it in the store; empties
/// the metrics' buffers, which would grow between two scrapes otherwise; and forgets answers that are too old to repeat.
async fn keep_house(context: bursar_workers::Context, metrics: PrometheusHandle) {
    let mut purged = None;
    loop {
        for scheme in Scheme::ALL {
            if let Err(error) = context.group_key(scheme).await {
                tracing::error!(%scheme, %error, "the co-signers' key cannot be used");
            }
        }
        let now = context.now();
        if purged.is_none_or(|at| now.since(at) >= BETWEEN_PURGES) {
            match forget_answers(&context, now).await {
                Ok(()) => purged = Some(now),
                Err(error) => tracing::warn!(%error, "cannot forget old answers; trying again"),
            }
        }
        metrics.run_upkeep();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn forget_answers(context: &bursar_workers::Context, now: Timestamp) -> Result<(), StoreError> {
    let oldest = Timestamp(now.micros().saturating_sub(ANSWERS_KEPT.as_micros() as i64));
    // In steps, between which others write.
    loop {
        let mut tx = context.store.write().await?;
        let answers = idempotency::purge(&mut tx, oldest).await?;
        let spent = nonces::purge(&mut tx, now).await?;
        let over = sessions::purge(&mut tx, oldest).await?;
        tx.commit().await?;
        if answers.max(spent).max(over) < nonces::FORGOTTEN_AT_ONCE {
            return Ok(());
        }
    }
}

async fn bind_relay(config: &RelayConfig) -> anyhow::Result<(Coordinator, RelayTask)> {
    let identity = Identity::load(&config.identity_file)
        .context("relay.identity_file: make one with `bursar relay-identity`")?;
    let parties = config.parties.iter().map(|party| bursar_signer_client::PartyConfig {
        index: PartyIndex(party.index),
        name: party.name.clone(),
        role: party.role,
        public_key: party.public_key,
    });
    let relay = bursar_signer_client::RelayConfig {
        listen: config.listen,
        identity,
        parties: parties.collect(),
        deadlines: Deadlines::default(),
        clock: Arc::new(compose::SystemClock),
    };
    let bound = Relay::bind(relay)
        .await
        .with_context(|| format!("relay.listen: cannot listen on {}", config.listen))?;
    tracing::info!(address = %config.listen, parties = config.parties.len(), "relay ready for co-signers");
    Ok(bound)
}

/// `SIGXFSZ`, on every architecture that Linux runs this on.
const FILE_TOO_LARGE: i32 = 25;

/// A write beyond a limit on file sizes (`ulimit -f`, a unit's `LimitFSIZE=`) is then an error of that write, as on a full disk;
/// untaken, the signal for it would end the process.
fn survive_file_size_limits() {
    use tokio::signal::unix::{SignalKind, signal};
    // The handler stays when the listener is dropped.
    if let Err(error) = signal(SignalKind::from_raw(FILE_TOO_LARGE)) {
        tracing::warn!(%error, "a limit on file sizes would end this process");
    }
}

async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
