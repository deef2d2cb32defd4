//! What the relay and the coordinator share: who is linked, which proposals and sessions are open, and what parties did.
//!
//! One short-held lock. Messages are queued under it, so that a session's start is ahead of any frame of that session in every
//! signer's queue.

use crate::{
    governance::GovernanceEntries,
    message::{Answer, Bytes, FromRelay, Hello, Mode, Nonce, ProposalId, SessionFailure, SessionId, ToRelay},
    relay::{Deadlines, PartyConfig},
    upkeep::{self, Contradiction, LogRecord, Orders},
    watch,
};
use bursar_domain::{
    audit::checkpoint::CheckpointAnswer,
    network::Network,
    signing::{GroupKey, PartyIndex, SignatureBytes},
    time::{Clock, Timestamp},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) struct Hub {
    pub parties: Vec<PartyConfig>,
    pub deadlines: Deadlines,
    pub clock: Arc<dyn Clock>,
    pub ecdsa: Semaphore,
    pub frost: Semaphore,
    pub shutdown: CancellationToken,
    /// For co-signers whose governance log is behind.
    pub log: OnceLock<Arc<dyn GovernanceEntries>>,
    /// Where proofs of another log go.
    pub contradictions: OnceLock<mpsc::Sender<Contradiction>>,
    state: Mutex<State>,
}

#[derive(Default)]
pub(crate) struct State {
    next_link: u64,
    keygen_epoch: u64,
    pub links: BTreeMap<(Mode, PartyIndex), Link>,
    pub proposals: HashMap<ProposalId, mpsc::UnboundedSender<ProposalEvent>>,
    pub sessions: HashMap<SessionId, Route>,
    /// Whom an audit checkpoint was shown, and who waits for the answer.
    pub checkpoints: HashMap<Nonce, (PartyIndex, oneshot::Sender<CheckpointAnswer>)>,
    pub records: BTreeMap<PartyIndex, Record>,
    pub blame: BTreeMap<PartyIndex, Blame>,
    /// Orders that wait, for those who link later.
    pub orders: Orders,
}

/// How much a party had to do with sessions that failed; halved every ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blame {
    weight: u32,
    at: Timestamp,
}

impl Blame {
    const HALF_LIFE: Duration = Duration::from_secs(600);

    fn weight(self, now: Timestamp) -> u32 {
        let halvings = now.since(self.at).as_secs() / Self::HALF_LIFE.as_secs();
        u32::try_from(halvings).ok().and_then(|by| self.weight.checked_shr(by)).unwrap_or(0)
    }
}

pub(crate) struct Link {
    id: u64,
    queue: mpsc::Sender<FromRelay>,
    close: CancellationToken,
}

pub(crate) struct Route {
    pub signers: Vec<PartyIndex>,
    pub events: mpsc::UnboundedSender<SessionEvent>,
}

pub(crate) enum ProposalEvent {
    Answered { party: PartyIndex, answer: Answer },
    Gone { party: PartyIndex },
}

pub(crate) enum SessionEvent {
    Done { party: PartyIndex, result: Result<SignatureBytes, SessionFailure> },
    Gone { party: PartyIndex },
}

/// What is remembered of a party while the process runs.
#[derive(Default, Clone)]
pub(crate) struct Record {
    pub software: Option<String>,
    /// What of that has a name in metrics.
    pub versions: BTreeSet<String>,
    pub keys: Vec<GroupKey>,
    pub networks: Vec<Network>,
    pub since: Option<Timestamp>,
    /// When its last word came.
    pub heard_at: Option<Timestamp>,
    /// Its governance log.
    pub log: LogRecord,
    pub last_refusal: Option<(String, String, Timestamp)>,
    pub sessions_ok: u64,
    pub sessions_failed: u64,
    pub sessions_aborted: u64,
    pub failed_in_a_row: u64,
    pub unusual: u64,
    pub refusals: u64,
}

/// A link's own end of the hub.
pub(crate) struct Admission {
    pub id: u64,
    pub queue: mpsc::Receiver<FromRelay>,
    pub close: CancellationToken,
}

/// Frames that may wait for one slow co-signer; more ends its link.
const QUEUE: usize = 256;

impl Hub {
    pub fn new(
        parties: Vec<PartyConfig>,
        deadlines: Deadlines,
        clock: Arc<dyn Clock>,
        shutdown: CancellationToken,
    ) -> Self {
        let records = parties.iter().map(|party| (party.index, Record::default())).collect();
        Self {
            ecdsa: Semaphore::new(deadlines.concurrent_ecdsa),
            frost: Semaphore::new(deadlines.concurrent_frost),
            parties,
            deadlines,
            clock,
            shutdown,
            log: OnceLock::new(),
            contradictions: OnceLock::new(),
            state: Mutex::new(State { records, ..State::default() }),
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an authenticated party; an older link of the same party and mode is closed.
    pub fn admit(&self, hello: &Hello) -> Admission {
        let (sender, queue) = mpsc::channel(QUEUE);
        let close = self.shutdown.child_token();
        let mut state = self.state();
        state.next_link += 1;
        let id = state.next_link;
        state.remove((hello.mode, hello.party));
        state.links.insert((hello.mode, hello.party), Link { id, queue: sender, close: close.clone() });
        match hello.mode {
            Mode::Sign => {
                let now = self.clock.now();
                let record = state.records.entry(hello.party).or_default();
                record.software = Some(hello.software.clone());
                watch::software(hello.party, record);
                record.keys.clone_from(&hello.keys);
                record.networks.clone_from(&hello.networks);
                (record.since, record.heard_at) = (Some(now), Some(now));
                record.log = LogRecord::of(hello.log);
            }
            Mode::Keygen => state.announce(),
        }
        Admission { id, queue, close }
    }

    pub fn leave(&self, mode: Mode, party: PartyIndex, id: u64) {
        let mut state = self.state();
        if state.links.get(&(mode, party)).is_some_and(|link| link.id == id) {
            state.remove((mode, party));
            if mode == Mode::Keygen {
                state.announce();
            }
        }
    }

    /// What an admitted party said. False when it may not say that.
    pub fn heard(self: &Arc<Self>, mode: Mode, party: PartyIndex, message: ToRelay) -> bool {
        let mut state = self.state();
        if mode == Mode::Sign
            && let Some(record) = state.records.get_mut(&party)
        {
            record.heard_at = Some(self.clock.now());
        }
        match (mode, message) {
            (_, ToRelay::Ping) => true,
            (Mode::Sign, ToRelay::Log(log)) => {
                if let Some(record) = state.records.get_mut(&party) {
                    record.log.reported = Some(log);
                }
                drop(state);
                upkeep::level(self, party);
                true
            }
            (Mode::Sign, ToRelay::Contradiction { entry }) => {
                // Whoever says more than can be looked at is not heard.
                if let Some(heard) = self.contradictions.get() {
                    let _ = heard.try_send(Contradiction { party, entry: *entry });
                }
                true
            }
            (Mode::Sign, ToRelay::Seen { orders }) => {
                state.orders.seen(party, &orders);
                true
            }
            (Mode::Sign, ToRelay::Answer { proposal, answer }) => {
                if let Some(events) = state.proposals.get(&proposal) {
                    let _ = events.send(ProposalEvent::Answered { party, answer });
                }
                true
            }
            (Mode::Sign, ToRelay::Done { session, result }) => {
                if let Some(route) = state.sessions.get(&session).filter(|r| r.signers.contains(&party)) {
                    let _ = route.events.send(SessionEvent::Done { party, result });
                }
                true
            }
            (Mode::Sign, ToRelay::Checkpoint { id, answer }) => {
                if state.checkpoints.get(&id).is_some_and(|(asked, _)| *asked == party)
                    && let Some((_, waiting)) = state.checkpoints.remove(&id)
                {
                    let _ = waiting.send(answer);
                }
                true
            }
            (_, ToRelay::Peer { session, to, bytes }) => {
                state.forward(mode, session, party, to, bytes);
                true
            }
            (_, ToRelay::Hello(_)) | (Mode::Keygen, _) => false,
        }
    }
}

impl State {
    pub fn blame(&self, party: PartyIndex, now: Timestamp) -> u32 {
        self.blame.get(&party).map_or(0, |blame| blame.weight(now))
    }

    pub fn add_blame(&mut self, party: PartyIndex, weight: u32, now: Timestamp) {
        let weight = self.blame(party, now).saturating_add(weight);
        self.blame.insert(party, Blame { weight, at: now });
    }

    /// Queues a message for a party that is online to sign. False when it is not, or no longer.
    pub fn send(&mut self, mode: Mode, party: PartyIndex, message: FromRelay) -> bool {
        let Some(link) = self.links.get(&(mode, party)) else { return false };
        match link.queue.try_send(message) {
            Ok(()) => true,
            Err(_) => {
                tracing::warn!(%party, "co-signer reads too slowly; its link is closed");
                self.remove((mode, party));
                false
            }
        }
    }

    pub fn online(&self) -> impl Iterator<Item = PartyIndex> + '_ {
        self.links.keys().filter(|(mode, _)| *mode == Mode::Sign).map(|(_, party)| *party)
    }

    fn forward(&mut self, mode: Mode, session: SessionId, from: PartyIndex, to: PartyIndex, bytes: Bytes) {
        let known = match mode {
            Mode::Keygen => true,
            Mode::Sign => self
                .sessions
                .get(&session)
                .is_some_and(|route| route.signers.contains(&from) && route.signers.contains(&to)),
        };
        if known && from != to {
            self.send(mode, to, FromRelay::Peer { session, from, bytes });
        }
    }

    fn remove(&mut self, key: (Mode, PartyIndex)) {
        let Some(link) = self.links.remove(&key) else { return };
        link.close.cancel();
        let (mode, party) = key;
        if mode == Mode::Sign {
            for events in self.proposals.values() {
                let _ = events.send(ProposalEvent::Gone { party });
            }
            for route in self.sessions.values().filter(|route| route.signers.contains(&party)) {
                let _ = route.events.send(SessionEvent::Gone { party });
            }
            if let Some(record) = self.records.get_mut(&party) {
                record.since = None;
            }
        }
    }

    /// Tells everyone present for key generation who is.
    fn announce(&mut self) {
        self.keygen_epoch += 1;
        let epoch = self.keygen_epoch;
        let parties: Vec<PartyIndex> =
            self.links.keys().filter(|(mode, _)| *mode == Mode::Keygen).map(|(_, party)| *party).collect();
        for party in &parties {
            self.send(Mode::Keygen, *party, FromRelay::Present { epoch, parties: parties.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blame_adds_up_and_fades() {
        let (party, start) = (PartyIndex(1), Timestamp::from_secs(1_000));
        let mut state = State::default();
        state.add_blame(party, 10, start);
        state.add_blame(party, 10, start);
        let after = |minutes: u64| state.blame(party, start.plus(Duration::from_secs(60 * minutes)));
        assert_eq!(
            [after(0), after(9), after(10), after(20), after(60), after(100_000)],
            [20, 20, 10, 5, 0, 0]
        );
        assert_eq!(state.blame(PartyIndex(2), start), 0);
    }
}
