//! The running co-signer: one link to each relay, kept up; proposals answered; sessions run.

mod link;
mod session;

use crate::{
    adapters::Adapters,
    config::Config,
    protocol::Share,
    rules::Rules,
    store::{RecordedRefusal, Store, StoreError},
    verify::{self, Allowed, Refusal, RefusalCode},
};
use bursar_domain::{
    package::SigningPackage,
    signing::{GroupKey, Scheme},
    time::Clock,
};
use bursar_signer_client::{
    Identity,
    link::LinkError,
    message::{Hello, Mode, PROTOCOL_VERSION},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use link::{dial, write};

/// Everything that one co-signer is made of.
pub struct Cosigner {
    pub config: Config,
    pub identity: Arc<Identity>,
    pub rules: Rules,
    pub shares: BTreeMap<Scheme, Arc<Share>>,
    pub store: Store,
    pub adapters: Adapters,
    pub clock: Arc<dyn Clock>,
}

/// Why a link ended or was not made.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnded {
    #[error("cannot reach the relay at {address}: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("the relay at {address} did not answer in time")]
    Timeout { address: String },
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the relay refuses this party: {0}")]
    Rejected(String),
    #[error("the relay broke the protocol: {0}")]
    Protocol(&'static str),
}

const FIRST_DELAY: Duration = Duration::from_millis(200);
const LAST_DELAY: Duration = Duration::from_secs(15);

/// Serves all configured relays until `shutdown`. Never ends by itself: lost links are dialled again, with growing delays.
pub async fn run(cosigner: Arc<Cosigner>, shutdown: CancellationToken) {
    let mut links = JoinSet::new();
    for relay in cosigner.config.relays.clone() {
        let (cosigner, shutdown) = (cosigner.clone(), shutdown.clone());
        links.spawn(async move {
            let mut delay = FIRST_DELAY;
            loop {
                let linked = tokio::select! {
                    () = shutdown.cancelled() => return,
                    ended = link::serve(&cosigner, &relay) => ended,
                };
                match &linked.error {
                    LinkEnded::Rejected(_) => {
                        tracing::error!(relay = relay.address, error = %linked.error, "refused")
                    }
                    error => tracing::warn!(relay = relay.address, %error, "link to the relay ended"),
                }
                if linked.served {
                    delay = FIRST_DELAY;
                }
                let wait = jittered(delay);
                delay = (delay * 2).min(LAST_DELAY);
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }
    while links.join_next().await.is_some() {}
}

/// Half to one and a half of it, so that co-signers do not come back all at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    use rand::Rng as _;
    delay.mul_f64(rand::rngs::OsRng.gen_range(0.5..1.5))
}

impl Cosigner {
    /// The public sides of the shares held.
    pub fn keys(&self) -> Vec<GroupKey> {
        self.shares.values().map(|share| share.group_key()).collect()
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            mode: Mode::Sign,
            party: self.config.index,
            role: self.config.role,
            keys: self.keys(),
            networks: self.rules.networks.iter().copied().collect(),
        }
    }

    /// Decides on a package: rules first, then this party's past. A refusal is on disk when it is returned.
    pub fn decide(&self, package: &SigningPackage) -> Result<Allowed, Refusal> {
        let decided = self.examine(package).and_then(|allowed| {
            let past = self.store.check(&allowed).map_err(|error| internal(&error))?;
            past.map(|()| allowed)
        });
        decided.inspect_err(|refusal| self.record(package, refusal))
    }

    fn examine(&self, package: &SigningPackage) -> Result<Allowed, Refusal> {
        let wallet = package.unsigned.wallet;
        let key = self.shares.get(&wallet.kind.scheme()).map(|share| share.group_key());
        let adapter = (self.adapters)(wallet.network.chain());
        verify::verify(package, &self.rules, key.as_ref(), adapter, self.clock.now())
    }

    fn record(&self, package: &SigningPackage, refusal: &Refusal) {
        tracing::warn!(transfer = %package.transfer, code = %refusal.code, reason = refusal.reason, "refused");
        let record =
            RecordedRefusal { at: self.clock.now(), package: package.digest(), refusal: refusal.clone() };
        if let Err(error) = self.store.record_refusal(&record) {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}

fn internal(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the co-signer's store failed");
    Refusal::new(RefusalCode::Internal, "this party's store failed; see its log")
}
