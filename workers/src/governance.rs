//! The governance log as this process has replayed it.
//!
//! The database keeps the entries, replay says what they mean, and a process remembers the result. Before each use the log's head is
//! read: when another process has appended something, that is replayed on top. The store is not believed further than that: an entry
//! that replay refuses, or a log that says something else than it did before, stops whatever wanted to rely on it.

use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest, Head, InvalidEntry},
        state::{Accepted, Refused, State},
    },
    time::Timestamp,
};
use bursar_store::{
    Store, StoreError, WriteTx,
    governance::{self, Appended, StoredEntry},
};
use std::sync::{Arc, Mutex};

/// The log that this installation obeys; clones share what was replayed.
#[derive(Clone)]
pub struct Governance {
    pinned: EntryDigest,
    known: Arc<Mutex<Arc<State>>>,
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
        let log = Self { pinned, known };
        log.state(store).await?;
        Ok(log)
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

    fn known(&self) -> Arc<State> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
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
