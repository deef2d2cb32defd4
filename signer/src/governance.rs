//! The governance log as this party replays it, from entries that anybody may bring.
//!
//! An entry counts by its place, its signatures and the state before it; when it was first seen is told by this party's clock. What
//! is in the log stays. Another entry for a place in it changes nothing; it is written down as a contradiction, and people are told, only if its
//! people signed it as properly as the one that is there: anybody can make up an entry, and alarms that anybody can raise say nothing.

mod decide;

pub use decide::{Evidence, Permitted};

use crate::{
    allowance::Allowance,
    store::{Fork, SeenEntry, Store, StoreError},
};
use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest, Head},
        signature::Signature,
        state::{Refused, State},
    },
    time::Timestamp,
};
use bursar_signer_client::message::LogHead;
use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

/// This party's log.
pub struct Governance {
    pinned: EntryDigest,
    log: RwLock<Option<Arc<Log>>>,
    /// Held by who extends it.
    extending: Mutex<()>,
    proofs: Mutex<Proofs>,
}

/// How often an entry that contradicts the log is looked at closely, which means to replay the log up to it.
const PROOFS: u32 = 8;
const PROOF_EVERY: Duration = Duration::from_secs(10);

/// How many more are looked at closely.
struct Proofs {
    /// Of what people of the desk have signed, by their keys of today.
    signed: Allowance,
    /// Of all else: keys that were there then and are gone now, and what anybody can make up.
    others: Allowance,
}

/// The log up to some entry, and what it says.
#[derive(Debug, Clone)]
pub struct Log {
    state: State,
    /// By place.
    digests: Vec<EntryDigest>,
}

#[derive(Debug, thiserror::Error)]
pub enum GovernanceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "entry {seq} of the governance log in state.redb is refused: {refused}. If [governance] genesis was changed: this store belongs \
         to the other log"
    )]
    Replay { seq: usize, refused: Refused },
}

/// What became of entries that were brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub added: usize,
    pub known: usize,
    /// Why the rest was left, where any was.
    pub left: Option<Left>,
    /// What this party has at the place of an entry that was signed just as properly: with that one, proof of two logs.
    pub contradicted: Option<Entry>,
}

impl Taken {
    const fn nothing(known: usize, left: Option<Left>) -> Self {
        Self { added: 0, known, left, contradicted: None }
    }
}

/// Why an entry was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Left {
    #[error("entry {found} cannot follow: entry {next} comes next")]
    Gap { next: u64, found: u64 },
    #[error("entry {seq} contradicts the log of this party: {reason}")]
    Fork { seq: u64, reason: String },
    #[error("entry {seq} is refused: {refused}")]
    Refused { seq: u64, refused: Refused },
    #[error("an entry is no entry: {0}")]
    Unreadable(String),
}

impl Governance {
    /// The log that the store has.
    ///
    /// # Errors
    /// A store that fails, or whose log does not begin with the pinned entry.
    pub fn replay(pinned: EntryDigest, store: &Store) -> Result<Self, GovernanceError> {
        let entries = store.governance()?;
        let log = if entries.is_empty() {
            None
        } else {
            let state = State::replay(pinned, entries.iter().map(|seen| (&seen.entry, seen.seen_at)))
                .map_err(|(seq, refused)| GovernanceError::Replay { seq, refused })?;
            let digests = entries.iter().map(|seen| seen.entry.digest()).collect();
            Some(Arc::new(Log { state, digests }))
        };
        Ok(Self {
            pinned,
            log: RwLock::new(log),
            extending: Mutex::new(()),
            proofs: Mutex::new(Proofs {
                signed: Allowance::of(PROOFS, PROOF_EVERY),
                others: Allowance::of(PROOFS, PROOF_EVERY),
            }),
        })
    }

    pub const fn pinned(&self) -> EntryDigest {
        self.pinned
    }

    /// As it is now; `None` while there is not even a genesis.
    pub fn log(&self) -> Option<Arc<Log>> {
        self.log.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn head(&self) -> Option<Head> {
        self.log().map(|log| log.state.head())
    }

    /// What others are told of it.
    pub fn report(&self) -> LogHead {
        LogHead { genesis: self.pinned, head: self.head() }
    }

    /// Takes what follows the log, up to the first entry that does not. On disk before it counts.
    ///
    /// `seen_at` gives the time at which each was first seen: now, unless this party's own people say otherwise.
    ///
    /// # Errors
    /// Only the store's. Entries that were not taken are in [`Taken`].
    pub fn take(
        &self,
        store: &Store,
        entries: impl IntoIterator<Item = (Entry, Timestamp)>,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        let _one_at_a_time = self.extending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut log = self.log().map(|log| (*log).clone());
        let (mut added, mut known, mut left, mut contradicted) = (Vec::new(), 0, None, None);
        for (entry, seen_at) in entries {
            match self.next(&mut log, &entry, seen_at.min(now)) {
                Ok(true) => added.push(SeenEntry { entry, seen_at: seen_at.min(now) }),
                Ok(false) => known += 1,
                Err(why) => {
                    if let Left::Fork { seq, reason } = &why
                        && let Some(own) = self.proven(store, *seq, &entry, now)?
                    {
                        if store.record_fork(&Fork { at: now, entry, reason: reason.clone() })? {
                            tracing::error!(
                                seq,
                                reason,
                                "ALARM: there are two governance logs, both signed by the desk's people; keep state.redb, and compare \
                                 heads with the other parties"
                            );
                        }
                        contradicted = Some(own);
                    }
                    left = Some(why);
                    break;
                }
            }
        }
        let count = added.len();
        if let Some(log) = log.filter(|_| count > 0) {
            let from = (log.digests.len() - count) as u64;
            if !store.append_governance(from, &added)? {
                // Only this writes there.
                tracing::error!("the store's governance log is not the one in memory; nothing was added");
                return Ok(Taken::nothing(known, left));
            }
            tracing::info!(added = count, head = %log.state.head(), "governance log extended");
            *self.log.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(log));
        }
        Ok(Taken { added: count, known, left, contradicted })
    }

    /// The entry at this place, if the other one for it was signed as properly by people who could at that time.
    fn proven(
        &self,
        store: &Store,
        seq: u64,
        other: &Entry,
        now: Timestamp,
    ) -> Result<Option<Entry>, StoreError> {
        if !self.may_prove(other, now) {
            return Ok(None);
        }
        let mut entries = store.governance()?;
        let Some(own) = usize::try_from(seq).ok().filter(|place| *place > 0 && *place < entries.len()) else {
            return Ok(None);
        };
        let after = entries.split_off(own);
        let before = State::replay(self.pinned, entries.iter().map(|seen| (&seen.entry, seen.seen_at)));
        let signed = before.is_ok_and(|state| state.check(other, now).is_ok());
        Ok(after.into_iter().next().map(|seen| seen.entry).filter(|_| signed))
    }

    /// Whether it may be looked at closely. What is forged uses up nothing of what true evidence needs.
    fn may_prove(&self, other: &Entry, now: Timestamp) -> bool {
        let digest = other.digest();
        let signed = self.log().is_some_and(|log| {
            let verifies = |one: &Signature| one.verify(log.state.directory(), &digest.0).is_ok();
            !other.signatures.is_empty() && other.signatures.iter().all(verifies)
        });
        let mut left = self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if signed { left.signed.take(now) } else { left.others.take(now) }
    }

    /// Whether it was added; it is there already if not.
    fn next(&self, log: &mut Option<Log>, entry: &Entry, seen_at: Timestamp) -> Result<bool, Left> {
        let seq = entry.read().map_err(|error| Left::Unreadable(error.to_string()))?.seq;
        let next = log.as_ref().map_or(0, |log| log.digests.len() as u64);
        if seq > next {
            return Err(Left::Gap { next, found: seq });
        }
        let digest = entry.digest();
        let Some(log) = log else {
            let refused = |refused| Left::Refused { seq, refused };
            let state = State::genesis(entry, self.pinned).map_err(refused)?;
            *log = Some(Log { state, digests: vec![digest] });
            return Ok(true);
        };
        if let Some(there) = usize::try_from(seq).ok().and_then(|place| log.digests.get(place)) {
            let reason = || format!("its digest is {digest}, and {there} has its place");
            return if *there == digest { Ok(false) } else { Err(Left::Fork { seq, reason: reason() }) };
        }
        match log.state.append(entry, seen_at) {
            Ok(_) => {
                log.digests.push(digest);
                Ok(true)
            }
            Err(refused @ Refused::Previous { .. }) => Err(Left::Fork { seq, reason: refused.to_string() }),
            Err(refused) => Err(Left::Refused { seq, refused }),
        }
    }
}

impl Log {
    pub const fn state(&self) -> &State {
        &self.state
    }

    pub fn knows(&self, head: &Head) -> bool {
        let place = usize::try_from(head.seq).ok();
        place.and_then(|place| self.digests.get(place)) == Some(&head.digest)
    }
}
