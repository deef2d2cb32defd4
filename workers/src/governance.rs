//! The governance log as this process has replayed it.
//!
//! The database keeps the entries, replay says what they mean, and a process remembers the result. Before each use the log's head is
//! read: when another process has appended something, that is replayed on top. The store is not believed further than that: an entry
//! that replay refuses, or a log that says something else than it did before, stops whatever wanted to rely on it.

use bursar_domain::{
    governance::{
        change::Change,
        log::{Entry, EntryDigest, Head, InvalidEntry},
        state::{Accepted, Refused, State},
    },
    ids::ApiKeyId,
    time::Timestamp,
};
use bursar_store::{
    Store, StoreError, WriteTx,
    governance::{self, Appended, StoredEntry},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

/// The log that this installation obeys; clones share what was replayed.
#[derive(Clone)]
pub struct Governance {
    pinned: EntryDigest,
    known: Arc<Mutex<Arc<State>>>,
    refusals: Arc<Mutex<Refusals>>,
    witnesses: Arc<OnceLock<Arc<dyn Witnesses>>>,
}

/// Who can say that the log in the database is not theirs: the co-signers that are linked to this process.
pub trait Witnesses: Send + Sync {
    fn objections(&self) -> Objections;
}

/// Who says that they have another log, or entries after the last one here. Nothing of it is proven.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Objections {
    pub parties: Vec<String>,
    /// How many said anything.
    pub asked: usize,
}

impl Objections {
    /// Whether an entry must not be appended now: whoever objects would never take it, and what they have could never be taken in again. One
    /// co-signer alone could be lying, so it holds up no brake.
    fn hold_up(&self, tightens: bool) -> bool {
        !self.parties.is_empty() && (!tightens || self.parties.len() >= self.asked)
    }
}

/// The log in the database cannot be relied on. Nothing that needs it is done.
#[derive(Debug, thiserror::Error)]
pub enum GovernanceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "governance.genesis pins {pinned}, and the database holds no governance log; \
         put it there with `bursar governance load FILE --config …`"
    )]
    Empty { pinned: EntryDigest },
    #[error(
        "governance.genesis pins {pinned}, and the log in the database begins with {found}; correct the configuration, or use the \
         database that belongs to it"
    )]
    OtherGenesis { pinned: EntryDigest, found: EntryDigest },
    #[error(
        "the governance log in the database: entry {seq} is refused: {source}; restore the database, or load a copy of the log \
             into an empty one"
    )]
    Refused { seq: u64, source: Refused },
    #[error(
        "the governance log in the database was replaced: this process has replayed it up to {known}, and it now ends with \
         {found:?}; restore the database"
    )]
    Rewritten { known: Head, found: Option<Head> },
    #[error(
        "the co-signers of {} say that they have another governance log, or more of it; nothing is appended until that is cleared up: \
         compare heads (bursar cosigners), and see docs/governance.md, \"Two logs\"",
        .parties.join(", ")
    )]
    Contradicted { parties: Vec<String> },
}

/// Why an entry was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    /// It does not count; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl From<StoreError> for AppendError {
    fn from(error: StoreError) -> Self {
        Self::Governance(error.into())
    }
}
impl From<InvalidEntry> for AppendError {
    fn from(error: InvalidEntry) -> Self {
        Self::Refused(error.into())
    }
}

/// How many entries are read at once.
const CHUNK: u32 = 500;

impl Governance {
    /// Replays the whole log.
    pub async fn load(store: &Store, pinned: EntryDigest) -> Result<Self, GovernanceError> {
        let first = governance::entries(store, 0, CHUNK).await?;
        let state = begin(&first, pinned)?;
        let state = follow(state, &first[1..])?;
        let known = Arc::new(Mutex::new(Arc::new(state)));
        let log = Self { pinned, known, refusals: Arc::default(), witnesses: Arc::default() };
        log.state(store).await?;
        Ok(log)
    }

    /// Who is asked before anything is appended. Once: later calls change nothing.
    pub fn witnessed_by(&self, witnesses: Arc<dyn Witnesses>) {
        let _ = self.witnesses.set(witnesses);
    }

    /// The digest that the configuration pins.
    pub fn genesis(&self) -> EntryDigest {
        self.pinned
    }

    /// What the log says now.
    pub async fn state(&self, store: &Store) -> Result<Arc<State>, GovernanceError> {
        let mut state = self.known();
        let Some(head) = behind(&state, governance::head(store).await?)? else { return Ok(state) };
        while state.head().seq < head.seq {
            let entries = governance::entries(store, state.head().seq + 1, CHUNK).await?;
            state = Arc::new(further(state, &entries, head)?);
        }
        let mut known = self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Another task may have come further meanwhile.
        if known.head().seq < state.head().seq {
            *known = state.clone();
        }
        Ok(state)
    }

    /// What the log says within `tx`, whose turn nobody takes before it ends: no entry is appended between this look and the
    /// commit. (Not remembered: `tx` may append, and be rolled back.)
    pub async fn state_in(&self, tx: &mut WriteTx) -> Result<Arc<State>, GovernanceError> {
        let mut state = self.known();
        let Some(head) = behind(&state, governance::head_in(tx).await?)? else { return Ok(state) };
        while state.head().seq < head.seq {
            let entries = governance::entries_in(tx, state.head().seq + 1, CHUNK).await?;
            state = Arc::new(further(state, &entries, head)?);
        }
        Ok(state)
    }

    /// Appends `entry` if it counts, and has every transfer looked at that it may set free. `now` is when it was first seen. The
    /// caller writes the event, and commits.
    pub async fn append(
        &self,
        tx: &mut WriteTx,
        entry: &Entry,
        now: Timestamp,
    ) -> Result<Accepted, AppendError> {
        let state = self.state_in(tx).await?;
        let accepted = state.check(entry, now)?;
        // What it changes comes into force with it.
        let tightens = !matches!(*accepted.change, Change::Enact { .. })
            && state.needs(&accepted.change, &accepted.author).quorum.is_none();
        let objections = self.witnesses.get().map(|witnesses| witnesses.objections()).unwrap_or_default();
        if objections.hold_up(tightens) {
            return Err(GovernanceError::Contradicted { parties: objections.parties }.into());
        }
        let previous = state.head();
        match governance::append(tx, accepted.head, previous.digest, entry, now).await? {
            Appended::Applied => {}
            // The state is that of this very transaction, so neither can be.
            Appended::Already | Appended::NotNext(_) => {
                let found = governance::head_in(tx).await?;
                return Err(GovernanceError::Rewritten { known: previous, found }.into());
            }
        }
        governance::nudge_unsigned(tx, now).await?;
        Ok(accepted)
    }

    /// Whether one more attempt in vain of this API key is written into the event log, and how many were not since the last that was:
    /// whoever has a key could otherwise fill the log with them. `None`: not this one, which is counted.
    pub fn may_tell_refusal(&self, by: ApiKeyId, now: Timestamp) -> Option<u64> {
        self.refusals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take(by, now)
    }

    fn known(&self) -> Arc<State> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }
}

/// Attempts in vain that are told of in a row.
const REFUSALS: u32 = 20;
/// How long until another may be told of.
const REFUSAL_EVERY: Duration = Duration::from_secs(30);

/// Who tried in vain, a bucket of tokens for each. There are as many as there are API keys.
#[derive(Default)]
struct Refusals(BTreeMap<ApiKeyId, Bucket>);

struct Bucket {
    left: u32,
    /// Tokens were added up to here.
    filled_at: Timestamp,
    untold: u64,
}

impl Refusals {
    fn take(&mut self, by: ApiKeyId, now: Timestamp) -> Option<u64> {
        let full = || Bucket { left: REFUSALS, filled_at: now, untold: 0 };
        let bucket = self.0.entry(by).or_insert_with(full);
        let new = now.since(bucket.filled_at).as_micros() / REFUSAL_EVERY.as_micros();
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        // A clock that was set back must not stop it for as long as that.
        if new > 0 || now < bucket.filled_at {
            bucket.left = bucket.left.saturating_add(new).min(REFUSALS);
            bucket.filled_at = now;
        }
        match bucket.left.checked_sub(1) {
            Some(left) => {
                bucket.left = left;
                Some(std::mem::take(&mut bucket.untold))
            }
            None => {
                bucket.untold += 1;
                None
            }
        }
    }
}

/// The state of the genesis, held against the pin.
fn begin(entries: &[StoredEntry], pinned: EntryDigest) -> Result<State, GovernanceError> {
    let first = entries.first().ok_or(GovernanceError::Empty { pinned })?;
    State::genesis(&first.entry, pinned).map_err(|refused| match refused {
        Refused::OtherGenesis { pinned, found } => GovernanceError::OtherGenesis { pinned, found },
        source => GovernanceError::Refused { seq: 0, source },
    })
}

/// The head to go on to; `None`: `state` is there.
fn behind(state: &State, found: Option<Head>) -> Result<Option<Head>, GovernanceError> {
    let known = state.head();
    match found {
        Some(head) if head == known => Ok(None),
        Some(head) if head.seq > known.seq => Ok(Some(head)),
        _ => Err(GovernanceError::Rewritten { known, found }),
    }
}

fn further(state: Arc<State>, entries: &[StoredEntry], head: Head) -> Result<State, GovernanceError> {
    if entries.is_empty() {
        return Err(GovernanceError::Rewritten { known: state.head(), found: Some(head) });
    }
    follow(Arc::unwrap_or_clone(state), entries)
}

/// Each entry was first seen when the store says. (This installation's own clock counts here; co-signers count by theirs.)
fn follow(mut state: State, entries: &[StoredEntry]) -> Result<State, GovernanceError> {
    for stored in entries {
        state
            .append(&stored.entry, stored.seen_at)
            .map_err(|source| GovernanceError::Refused { seq: stored.seq, source })?;
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cosigner_alone_holds_up_what_loosens_and_no_brake() {
        let objections = |objecting: usize, asked| Objections { parties: vec!["a".into(); objecting], asked };
        for (objecting, asked, loosening, brake) in [
            (0, 0, false, false),
            (0, 3, false, false),
            (1, 3, true, false),
            (2, 3, true, false),
            (3, 3, true, true),
        ] {
            let said = objections(objecting, asked);
            assert_eq!((said.hold_up(false), said.hold_up(true)), (loosening, brake), "{said:?}");
        }
    }

    #[test]
    fn attempts_in_vain_are_told_of_now_and_then_and_counted_otherwise() {
        let mut refusals = Refusals::default();
        let key = |n| ApiKeyId::new(uuid::Uuid::from_u128(n));
        let at = |seconds: i64| Timestamp::from_secs(1000 + seconds);
        for _ in 0..REFUSALS {
            assert_eq!(refusals.take(key(1), at(0)), Some(0));
        }
        for _ in 0..500 {
            assert_eq!(refusals.take(key(1), at(29)), None);
        }
        assert_eq!(refusals.take(key(2), at(29)), Some(0), "another key has tokens of its own");
        assert_eq!(refusals.take(key(1), at(30)), Some(500));
        assert_eq!(refusals.take(key(1), at(31)), None);
        // The clock is set back.
        assert_eq!(refusals.take(key(1), at(-5000)), None);
        assert_eq!(refusals.take(key(1), at(-4970)), Some(2));
        for _ in 0..REFUSALS {
            assert!(refusals.take(key(1), at(100_000)).is_some());
        }
        assert_eq!(refusals.take(key(1), at(100_000)), None, "no more than the bucket holds");
    }
}
