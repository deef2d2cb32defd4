//! The running co-signer: one link to each relay, kept up; proposals answered; sessions run.

mod link;
mod orders;
mod session;

use crate::{
    adapters::Adapters,
    config::Config,
    confirm::{self, Confirm, Confirmation, Verifier},
    control::Desk,
    governance::{Evidence, Governance, Log, Taken},
    protocol::Share,
    rules::Rules,
    store::{LocalFreeze, Past, Pins, RecordedRefusal, Store, StoreError},
    verify::{self, Allowed, Refusal, RefusalCode},
};
use bursar_domain::{
    governance::log::Entry,
    package::SigningPackage,
    signing::{GroupKey, PartyRole, Scheme},
    time::{Clock, Timestamp},
};
use bursar_signer_client::{
    Identity,
    link::LinkError,
    message::{Hello, Mode, PROTOCOL_VERSION, SessionId},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use link::{Dialled, dial, write};
pub use orders::Orders;

/// Everything that one co-signer is made of.
pub struct Cosigner {
    pub config: Config,
    pub identity: Arc<Identity>,
    pub rules: Rules,
    pub shares: BTreeMap<Scheme, Arc<Share>>,
    pub store: Store,
    /// Present if the rules pin a log.
    pub governance: Option<Governance>,
    /// Present if the configuration names one.
    pub verifier: Option<Verifier>,
    pub orders: Orders,
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
            log: self.governance.as_ref().map(Governance::report),
        }
    }

    /// Decides on a package: rules first, then the governance log if there is one, then this party's past, then its people. A
    /// refusal is on disk when it is returned, unless all that it says is that something takes time.
    pub fn decide(&self, package: &SigningPackage) -> Result<Allowed, Refusal> {
        self.consider(package).inspect_err(|refusal| self.record(package, refusal))
    }

    fn consider(&self, package: &SigningPackage) -> Result<Allowed, Refusal> {
        let now = self.clock.now();
        if let Some(freeze) = self.store.local_freeze().map_err(|error| internal(&error))? {
            return Err(frozen_here(&freeze));
        }
        let log = self.log()?;
        if let Some(log) = &log {
            self.remember(package, log, now)?;
        }
        if let Some(log) = &log {
            log.ordered(package)?;
        }
        let mut allowed = self.examine(package, log.as_deref())?;
        let since = log.as_deref().and_then(|log| log.since(&package.intent, now));
        let past = self.store.past(&allowed, since).map_err(|error| internal(&error))?;
        allowed.undoes = past.undone_by(allowed.part);
        let mut user = None;
        if let Some(log) = log.as_deref() {
            let permitted = log.permit(&Evidence::of(package, &allowed), &past, &self.pins()?, now)?;
            (allowed.decision, allowed.with) = (permitted.decision, permitted.signers);
            user = permitted.initiator;
        }
        self.store.check(&allowed, now).map_err(|error| internal(&error))??;
        if self.asks_people(&allowed) {
            let rules = allowed.decision.as_ref().map_or(&[][..], |decision| &decision.explanation);
            let max_expiry = self.rules.max_expiry;
            let question = Confirmation::of(package, &allowed, rules, user, now, max_expiry);
            let most = question.most_open(&allowed.fee_limit);
            self.store.ask_person(&question, most, now).map_err(|error| internal(&error))??;
            confirm::confirmed(past.verdict.as_ref(), allowed.question())?;
        }
        Ok(allowed)
    }

    /// Decides again, for time has passed, and burns the session id and records the part taken if all is as it was. `members` are the
    /// parties whose co-signers are in the session.
    ///
    /// What depends on this party's past is decided in the transaction that adds to it.
    pub fn take_part(
        &self,
        session: SessionId,
        message: &[u8],
        package: &SigningPackage,
        allowed: &Allowed,
        members: &BTreeSet<PartyRole>,
    ) -> Result<(), Refusal> {
        let now = self.clock.now();
        let (log, pins) = (self.log()?, self.pins()?);
        let since = log.as_deref().and_then(|log| log.since(&package.intent, now));
        let decide = |past: &Past| {
            if let Some(freeze) = &past.freeze {
                return Err(frozen_here(freeze));
            }
            if self.asks_people(allowed) {
                confirm::confirmed(past.verdict.as_ref(), allowed.question())?;
            }
            let Some(log) = log.as_deref() else { return Ok(None) };
            let permitted = log.permit(&Evidence::of(package, allowed), past, &pins, now)?;
            match permitted.signers.iter().find(|required| !members.contains(required)) {
                None => Ok(permitted.spent),
                Some(required) => Err(Refusal::new(
                    RefusalCode::SignersRequired,
                    format!(
                        "the policy requires the co-signer of {required:?}, and no member of the session is known as that here \
                         (role of its [[peers]] entry)"
                    ),
                )),
            }
        };
        let decided = self.store.take_part(session, message, allowed, now, since, decide);
        let decided = decided.unwrap_or_else(|error| Err(internal(&error)));
        decided.inspect_err(|refusal| self.record(package, refusal))
    }

    /// Takes entries of the governance log that somebody brought, as seen now.
    pub fn learn(&self, entries: Vec<Entry>) -> Result<Taken, StoreError> {
        let now = self.clock.now();
        match &self.governance {
            Some(governance) => {
                governance.take(&self.store, entries.into_iter().map(|entry| (entry, now)), now)
            }
            None => Ok(Taken { added: 0, known: 0, left: None, contradicted: None }),
        }
    }

    /// What its owner can ask and decide.
    pub fn desk(&self) -> Desk<'_> {
        Desk { store: &self.store, governance: self.governance.as_ref(), clock: self.clock.as_ref() }
    }

    /// The newest log; `None` without one in the rules.
    fn log(&self) -> Result<Option<Arc<Log>>, Refusal> {
        let Some(governance) = &self.governance else { return Ok(None) };
        let behind = || {
            let reason = "this party's governance log is empty; it begins with the pinned genesis";
            Refusal::new(RefusalCode::GovernanceBehind, reason)
        };
        governance.log().map(Some).ok_or_else(behind)
    }

    fn pins(&self) -> Result<Pins, Refusal> {
        let Some(governance) = &self.governance else { return Ok(Pins::default()) };
        self.store.pins(governance.pinned()).map_err(|error| internal(&error))
    }

    /// When an order of somebody who may initiate was first shown here: delays and deadlines count from then, also if this package is refused.
    fn remember(&self, package: &SigningPackage, log: &Log, now: Timestamp) -> Result<(), Refusal> {
        let order = &package.intent;
        if !log.state().times_orders()
            || self.store.was_seen(order.intent.digest()).map_err(|error| internal(&error))?
        {
            return Ok(());
        }
        // As if it had been shown without a package, or packages could fill the store.
        if let Ok(Some(order)) = self.meant(log, order, now) {
            self.store.shown(&[order], now).map_err(|error| internal(&error))?;
        }
        Ok(())
    }

    fn asks_people(&self, allowed: &Allowed) -> bool {
        self.config.confirm == Confirm::Person && !allowed.undoes
    }

    fn examine(&self, package: &SigningPackage, log: Option<&Log>) -> Result<Allowed, Refusal> {
        let wallet = package.unsigned.wallet;
        let key = self.shares.get(&wallet.kind.scheme()).map(|share| share.group_key());
        let adapter = (self.adapters)(wallet.network.chain());
        verify::verify(package, &self.rules, log, key.as_ref(), adapter, self.clock.now())
    }

    pub(crate) fn record(&self, package: &SigningPackage, refusal: &Refusal) {
        if refusal.code.only_takes_time() {
            tracing::info!(transfer = %package.transfer, code = %refusal.code, reason = refusal.reason, "not yet");
            return;
        }
        tracing::warn!(transfer = %package.transfer, code = %refusal.code, reason = refusal.reason, "refused");
        let record =
            RecordedRefusal { at: self.clock.now(), package: package.digest(), refusal: refusal.clone() };
        if let Err(error) = self.store.record_refusal(&record) {
            tracing::error!(%error, "a refusal could not be recorded");
        }
    }
}

fn frozen_here(freeze: &LocalFreeze) -> Refusal {
    let reason = format!("this party signs nothing until its people lift their freeze: {}", freeze.reason);
    Refusal::new(RefusalCode::FrozenHere, reason)
}

fn internal(error: &StoreError) -> Refusal {
    tracing::error!(%error, "the co-signer's store failed");
    let reason = match error.is_of_its_file() {
        true => "this party's store cannot be read or written: its disk is full, over a limit, or fails",
        false => "this party's store failed; see its log",
    };
    Refusal::new(RefusalCode::Internal, reason)
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
