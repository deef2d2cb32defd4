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

pub(crate) use link::{Dialled, dial, write};

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

/// How long to wait before a relay is dialled again: doubled each time, up to a limit.
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(200);
    const LAST: Duration = Duration::from_secs(5);
    /// Where the relay's machine answers that nothing listens, which costs nobody anything: it is probably being restarted.
    const LAST_REFUSED: Duration = Duration::from_secs(2);
    /// A link that lived this long was a good one.
    const SETTLED: Duration = Duration::from_secs(10);

    /// The next delay, before jitter, after a link that ended like this.
    fn next(&mut self, error: &LinkEnded, lived: Duration) -> Duration {
        if lived >= Self::SETTLED {
            self.0 = Self::FIRST;
        }
        let refused = matches!(error, LinkEnded::Connect { source, .. } if source.kind() == std::io::ErrorKind::ConnectionRefused);
        let limit = if refused { Self::LAST_REFUSED } else { Self::LAST };
        let delay = self.0.min(limit);
        self.0 = (delay * 2).min(Self::LAST);
        delay
    }
}

/// Serves all configured relays until `shutdown`. Never ends by itself: lost links are dialled again, with growing delays.
pub async fn run(cosigner: Arc<Cosigner>, shutdown: CancellationToken) {
    let mut links = JoinSet::new();
    for relay in cosigner.config.relays.clone() {
        let (cosigner, shutdown) = (cosigner.clone(), shutdown.clone());
        links.spawn(async move {
            let mut backoff = Backoff(Backoff::FIRST);
            loop {
                let ended = tokio::select! {
                    () = shutdown.cancelled() => return,
                    ended = link::serve(&cosigner, &relay) => ended,
                };
                match &ended.error {
                    error @ LinkEnded::Rejected(_) => {
                        tracing::error!(relay = relay.address, %error, "refused");
                    }
                    error => tracing::warn!(relay = relay.address, %error, "link to the relay ended"),
                }
                let wait = jittered(backoff.next(&ended.error, ended.lived));
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }
    while links.join_next().await.is_some() {}
}

/// Half to all of it, so that co-signers do not come back all at once.
pub(crate) fn jittered(delay: Duration) -> Duration {
    use rand::Rng as _;
    delay.mul_f64(rand::rngs::OsRng.gen_range(0.5..=1.0))
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
            let past = self.store.check(&allowed, self.clock.now()).map_err(|error| internal(&error))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn connect(kind: io::ErrorKind) -> LinkEnded {
        LinkEnded::Connect { address: "relay:1".into(), source: kind.into() }
    }

    fn delays(error: &LinkEnded, lived: Duration) -> Vec<u128> {
        let mut backoff = Backoff(Backoff::FIRST);
        (0..7).map(|_| backoff.next(error, lived).as_millis()).collect()
    }

    #[test]
    fn a_relay_that_restarts_is_dialled_often_and_one_that_is_lost_less_so() {
        let refused = connect(io::ErrorKind::ConnectionRefused);
        assert_eq!(delays(&refused, Duration::ZERO), [200, 400, 800, 1600, 2000, 2000, 2000]);
        let lost = connect(io::ErrorKind::HostUnreachable);
        assert_eq!(delays(&lost, Duration::ZERO), [200, 400, 800, 1600, 3200, 5000, 5000]);
        // Two copies of one co-signer throw each other out: not in a tight loop.
        let replaced = LinkEnded::Protocol("test");
        assert_eq!(delays(&replaced, Duration::from_secs(1))[6], 5000);
        assert_eq!(delays(&replaced, Duration::from_secs(60)), [200; 7]);
        let delay = Duration::from_secs(2);
        assert!((0..100).map(|_| jittered(delay)).all(|wait| wait >= delay / 2 && wait <= delay));
    }
}
