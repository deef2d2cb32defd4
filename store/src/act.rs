//! Who acts, told once where a request or a command comes in and taken by each transaction as it begins.
//!
//! So every event says it, in the transaction that writes the event, without being handed it through all that lies between. A
//! transaction of a request that says nothing else in the log says at least who asked for what ([`ASKED`]).

use bursar_domain::{audit::act::Act, time::Timestamp};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The event of a transaction that changed something and said nothing.
pub const ASKED: &str = "audit.act";

/// One who acts.
#[derive(Debug)]
pub struct Doer {
    act: Act,
    json: String,
    /// When it was asked, where all that it changes must be told.
    asked_at: Option<Timestamp>,
    told: AtomicBool,
}

impl Doer {
    /// The engine as it works on, or somebody unknown: their events say so, and what is written besides needs no event.
    pub fn quiet(act: Act) -> Arc<Self> {
        Self::new(act, None)
    }

    /// Somebody who asked for something: whatever is changed for it is told.
    pub fn asked(act: Act, at: Timestamp) -> Arc<Self> {
        Self::new(act, Some(at))
    }

    fn new(act: Act, asked_at: Option<Timestamp>) -> Arc<Self> {
        let json = crate::row::to_json(&act);
        Arc::new(Self { act, json, asked_at, told: AtomicBool::new(false) })
    }

    pub const fn act(&self) -> &Act {
        &self.act
    }

    /// Whether an event with this act was committed.
    pub fn told(&self) -> bool {
        self.told.load(Ordering::Relaxed)
    }

    pub(crate) fn json(&self) -> &str {
        &self.json
    }
    pub(crate) const fn asked_at(&self) -> Option<Timestamp> {
        self.asked_at
    }
    pub(crate) fn tell(&self) {
        self.told.store(true, Ordering::Relaxed);
    }
}

tokio::task_local! {
    static DOER: Arc<Doer>;
}

/// Runs `future` on behalf of `doer`: the transactions that it begins, but not those of tasks that it spawns, are theirs.
pub async fn by<F: Future>(doer: Arc<Doer>, future: F) -> F::Output {
    DOER.scope(doer, future).await
}

pub(crate) fn current() -> Option<Arc<Doer>> {
    DOER.try_with(Arc::clone).ok()
}
