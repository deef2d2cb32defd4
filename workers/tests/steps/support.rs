//! A world small enough to break at will: a real store, a fake chain, fake co-signers, a clock that stands still.

#[path = "support/adapter.rs"]
pub mod adapter;
#[path = "support/chain.rs"]
pub mod chain;
#[path = "support/signer.rs"]
pub mod signer;
#[path = "support/world.rs"]
pub mod world;

use bursar_domain::{
    ids::IdSource,
    time::{Clock, Timestamp},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

pub const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Moves only when told to.
pub struct ManualClock(AtomicI64);
impl ManualClock {
    pub fn new() -> Self {
        Self(AtomicI64::new(T0.micros()))
    }
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
    pub fn set_back(&self, span: Duration) {
        self.0.fetch_sub(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
}
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub struct CounterIds(AtomicU64);
impl CounterIds {
    pub const fn new() -> Self {
        Self(AtomicU64::new(1))
    }
}
impl IdSource for CounterIds {
    fn uuid(&self) -> uuid::Uuid {
        let n = self.0.fetch_add(1, Ordering::SeqCst);
        uuid::Uuid::from_u128(0x0193_6d0e_0000_7000_8000_0000_0000_0000 + u128::from(n))
    }
}

/// Good enough to tell transactions and blocks apart.
pub fn fingerprint(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A test that panicked while it held the lock must not hide the panic of another.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets whoever else is running go on, so that a crash can fall between two calls of a port.
pub async fn breathe() {
    tokio::task::yield_now().await;
}
