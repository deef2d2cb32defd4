//! `bursar-signer run`.

use super::{Common, Misconfigured, crash, passphrase::Passphrase, runtime, status};
use anyhow::Context as _;
use bursar_domain::signing::Scheme;
use bursar_signer::{
    adapters::by_chain,
    clock::SystemClock,
    confirm::{Confirm, Verifier},
    control,
    daemon::{self, Cosigner},
    governance::Governance,
    protocol::{Primes, Share},
    store::Store,
    vault::{Vault, VaultError},
};
use clap::Args;
use serde_json::json;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    passphrase: Passphrase,
    /// Starts with an empty session store although there are shares. Give it once, after the store was lost for good and every intent
    /// that this party may have signed has expired.
    #[arg(long)]
    new_session_store: bool,
}

/// How often what `status` shows is brought up to date.
const SNAPSHOT: Duration = Duration::from_secs(5);

impl Run {
    pub fn run(self) -> anyhow::Result<()> {
        let config = self.common.config()?;
        let rules = self.common.rules()?;
        crash::arm_from_environment(&self.common)?;
        let verifier = match &config.confirm {
            Confirm::Verifier { url, timeout, valid } => Some(
                Verifier::new(url, *timeout, *valid, rules.regtest_only())
                    .map_err(|error| Misconfigured::Other(format!("signer.toml: {error}")))?,
            ),
            Confirm::None | Confirm::Person => None,
        };
        let identity = Arc::new(self.common.identity()?);
        let vault = self.passphrase.vault(&self.common.dir)?;
        let mut shares = BTreeMap::new();
        for share in unlock(&vault) {
            if let Some(share) = share? {
                let (scheme, key) = (share.scheme(), share.group_key());
                if share.index() != config.index.0
                    || key.parties != config.parties()
                    || key.threshold != config.threshold
                {
                    return Err(Misconfigured::Other(format!(
                        "the {scheme} share is of party {} in {} of {}, which signer.toml contradicts",
                        share.index(),
                        key.threshold,
                        key.parties
                    ))
                    .into());
                }
                if share.uses_published_primes() && !rules.regtest_only() {
                    return Err(Misconfigured::Other(format!(
                        "the {scheme} share was made with published primes (--insecure-test-primes), of this party or another, so \
                         whoever knows them may learn the key: it serves throw-away networks only, and rules.toml names others; \
                         generate new keys in new folders"
                    ))
                    .into());
                }
                shares.insert(scheme, Arc::new(share));
            }
        }
        let store = Store::file_in(&self.common.dir);
        may_open(&store, !shares.is_empty(), self.new_session_store)?;
        let store = if Store::exists(&store) { Store::open(&store) } else { Store::create(&store) };
        let store = store.context("is another bursar-signer running on this folder?")?;
        self.common.say(
            &json!({ "event": "running", "schemes": shares.keys().collect::<Vec<_>>() }),
            &format!(
                "party {} ({}) with {} keys; rules: {}",
                config.index,
                config.name,
                shares.len(),
                rules.summary()
            ),
        );
        let governance = rules.governance.map(|pinned| Governance::replay(pinned, &store)).transpose();
        let governance = governance.map_err(|error| Misconfigured::Other(error.to_string()))?;
        let ecdsa = shares.contains_key(&Scheme::EcdsaSecp256k1);
        let cosigner = Arc::new(Cosigner {
            config,
            identity,
            rules,
            shares,
            store,
            governance,
            verifier,
            orders: daemon::Orders::default(),
            adapters: by_chain,
            clock: Arc::new(SystemClock),
        });
        if !ecdsa {
            top_up(vault);
        }
        runtime()?.block_on(serve(cosigner, self.common.dir))
    }
}

/// A session store that was lost is not silently made anew: it is what keeps this party from signing twice.
fn may_open(path: &Path, shares: bool, new: bool) -> Result<(), Misconfigured> {
    match (Store::exists(path), new) {
        (true, true) => Err(Misconfigured::Other(format!(
            "--new-session-store: {} exists; start without this option, and keep it out of scripts",
            path.display()
        ))),
        (false, false) if shares => Err(Misconfigured::Other(format!(
            "{} is missing although this party holds shares: it is what keeps this party from signing a second payment for one \
             intent. Never put back an older copy. If it is lost, wait until every intent that this party may have signed has expired \
             (max_expiry_seconds after the loss), then start once with --new-session-store",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// All at once: opening one costs a second by design, and a co-signer that comes back is waited for.
fn unlock(vault: &Vault) -> Vec<Result<Option<Share>, VaultError>> {
    std::thread::scope(|scope| {
        let opening = Scheme::ALL.map(|scheme| scope.spawn(move || vault.share(scheme)));
        opening
            .into_iter()
            .map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// `SIGXFSZ`, on every architecture that Linux runs this on.
const FILE_TOO_LARGE: i32 = 25;

/// A write beyond a limit on file sizes (`ulimit -f`, a unit's `LimitFSIZE=`) is then an error of that write, as on a full disk;
/// untaken, the signal for it would end the process.
fn survive_file_size_limits() {
    // The handler stays when the listener is dropped.
    if let Err(error) = signal(SignalKind::from_raw(FILE_TOO_LARGE)) {
        tracing::warn!(%error, "a limit on file sizes would end this process");
    }
}

async fn serve(cosigner: Arc<Cosigner>, dir: PathBuf) -> anyhow::Result<()> {
    survive_file_size_limits();
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let daemon = tokio::spawn(daemon::run(cosigner.clone(), shutdown.clone()));
    let control = tokio::spawn({
        let (cosigner, dir, shutdown) = (cosigner.clone(), dir.clone(), shutdown.clone());
        async move {
            if let Err(error) = control::serve(cosigner, &dir, shutdown).await {
                // A path that is too long, say. What was asked for before holds.
                tracing::error!(%error, "no control socket: approve, freeze and governance work only while this does not run");
            }
        }
    });
    let mut tick = tokio::time::interval(SNAPSHOT);
    loop {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
            _ = tick.tick() => {
                let (cosigner, dir) = (cosigner.clone(), dir.clone());
                let written = tokio::task::spawn_blocking(move || status::write_snapshot(&cosigner, &dir)).await;
                if let Ok(Err(error)) = written {
                    tracing::warn!(%error, "the status could not be written");
                }
            }
        }
    }
    tracing::info!("stopping");
    shutdown.cancel();
    daemon.await?;
    control.await?;
    Ok(())
}

/// Finds primes for an ECDSA key generation to come, on one thread of its own. It ends with the process.
fn top_up(vault: Vault) {
    std::thread::spawn(move || {
        if !matches!(vault.primes_in_stock(), Ok(0)) {
            return;
        }
        tracing::info!("finding primes ahead of an ECDSA key generation, in the background");
        let never = AtomicBool::new(false);
        let found = Primes::generate(&never, |progress| {
            tracing::info!(found = progress.found, of = progress.of, "safe primes");
        });
        if let Some(Err(error)) = found.map(|primes| vault.add_primes(&primes)) {
            tracing::warn!(%error, "primes could not be stored");
        }
    });
}
