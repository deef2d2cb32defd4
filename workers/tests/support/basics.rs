//! Clocks, ids and small helpers.

use bursar_domain::{
    ids::IdSource,
    time::{Clock, Timestamp},
};
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

pub const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What time it is, for everyone. Moves only when told to.
pub struct Time(AtomicI64);

impl Time {
    pub fn new() -> Self {
        Self(AtomicI64::new(T0.micros()))
    }
    /// Backwards, too.
    pub fn shift(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// One machine's clock: the time, and by how many seconds it is wrong.
pub struct MachineClock {
    pub time: Arc<Time>,
    pub wrong_by: AtomicI64,
}

impl MachineClock {
    pub fn new(time: Arc<Time>) -> Self {
        Self { time, wrong_by: AtomicI64::new(0) }
    }
    /// By whole seconds, rounded up.
    pub fn advance(&self, span: Duration) {
        self.time.shift(i64::try_from(span.as_nanos().div_ceil(1_000_000_000)).unwrap());
    }
    pub fn set_back(&self, span: Duration) {
        self.time.shift(-i64::try_from(span.as_secs()).unwrap());
    }
}
impl Clock for MachineClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.time.now().micros() + self.wrong_by.load(Ordering::SeqCst) * 1_000_000)
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

/// A test that panicked while it held the lock must not hide the panic of another, or its own report.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets whoever else is running go on, so that a crash can fall between two calls of a port.
pub async fn pause() {
    tokio::task::yield_now().await;
}
