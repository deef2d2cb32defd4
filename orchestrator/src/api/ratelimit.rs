//! How often somebody may ask: a bucket of tokens for each caller, and one for each address that nobody vouches for.

use super::problem::Problem;
use bursar_domain::{
    ids::ApiKeyId,
    time::{Clock, Timestamp},
};
use governor::{
    Quota, RateLimiter, clock::Clock as GovernorClock, middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};
use std::{
    collections::HashSet,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Tokens that come back every second, and how many there can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl Rate {
    pub const fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self { per_second, burst }
    }
}

/// The server's clock, as governor reads one: it only goes on. Nobody waits until a clock that was set back has caught up with itself, and
/// one that jumps forward fills the buckets.
#[derive(Clone)]
struct Ticks {
    clock: Arc<dyn Clock>,
    /// What the clock showed last, and all that had passed then.
    read: Arc<Mutex<(Timestamp, Duration)>>,
}

impl Ticks {
    fn new(clock: Arc<dyn Clock>) -> Self {
        let read = Arc::new(Mutex::new((clock.now(), Duration::ZERO)));
        Self { clock, read }
    }
}
impl GovernorClock for Ticks {
    type Instant = Duration;
    fn now(&self) -> Duration {
        // Whole after each use, so that a poisoned lock does not matter.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let (last, passed) = *read;
        // Nothing has passed if it was set back.
        let passed = passed.saturating_add(now.since(last));
        *read = (now, passed);
        passed
    }
}

/// Buckets of those who asked lately. When there are too many of them, newcomers share one.
struct Buckets<K: Clone + Eq + Hash> {
    limiter: RateLimiter<Option<K>, HashMapStateStore<Option<K>>, Ticks, NoOpMiddleware<Duration>>,
    clock: Ticks,
}

/// Full buckets are forgotten beyond this many; about 5 MB.
const MAX_BUCKETS: usize = 65_536;

impl<K: Clone + Eq + Hash> Buckets<K> {
    fn new(rate: Rate, clock: Ticks) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self { limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()), clock }
    }

    /// Takes a token.
    fn take(&self, key: K) -> Result<(), Duration> {
        if self.limiter.len() >= MAX_BUCKETS {
            self.limiter.retain_recent();
        }
        let key = (self.limiter.len() < MAX_BUCKETS).then_some(key);
        self.limiter
            .check_key(&key)
            .map_err(|not_until| not_until.wait_time_from(GovernorClock::now(&self.clock)))
    }
}

/// The limits of one process.
pub struct RateLimits {
    callers: Buckets<ApiKeyId>,
    strangers: Buckets<Option<IpAddr>>,
    /// Questions to the screening's provider, which counts them and has them paid.
    screenings: Buckets<ApiKeyId>,
    /// Credentials, by digest, that were good lately, and from where. Only what was looked up and found gets in, so that strangers crowd
    /// nobody out.
    good: Mutex<HashSet<([u8; 32], Option<IpAddr>)>>,
}

/// The most credentials that are remembered as good; about 5 MB. Beyond it all are looked up as strangers' are, once.
const MAX_GOOD: usize = 65_536;

/// How often one caller may have an address screened.
const SCREENINGS: Rate = Rate::new(NonZeroU32::MIN, NonZeroU32::new(10).expect("ten is not zero"));

impl RateLimits {
    pub fn new(callers: Rate, strangers: Rate, clock: Arc<dyn Clock>) -> Self {
        let clock = Ticks::new(clock);
        Self {
            callers: Buckets::new(callers, clock.clone()),
            strangers: Buckets::new(strangers, clock.clone()),
            screenings: Buckets::new(SCREENINGS, clock),
            good: Mutex::default(),
        }
    }

    /// Before the database is asked whose a credential is. What was good from there lately costs nothing; anything else counts as a
    /// stranger's, which it gives: `true`.
    ///
    /// # Errors
    /// 429, with when to come again: the database is not to be asked.
    pub fn look_up(&self, credential: [u8; 32], address: Option<IpAddr>) -> Result<bool, Problem> {
        if self.good().contains(&(credential, address.map(network))) {
            return Ok(false);
        }
        self.stranger(address).map(|()| true)
    }

    pub fn was_good(&self, credential: [u8; 32], address: Option<IpAddr>) {
        let mut good = self.good();
        if good.len() >= MAX_GOOD {
            good.clear();
        }
        good.insert((credential, address.map(network)));
    }

    pub fn was_not_good(&self, credential: [u8; 32], address: Option<IpAddr>) {
        self.good().remove(&(credential, address.map(network)));
    }

    fn good(&self) -> MutexGuard<'_, HashSet<([u8; 32], Option<IpAddr>)>> {
        // Whole after each use, so that a poisoned lock does not matter.
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One request of somebody who is known.
    ///
    /// # Errors
    /// 429, with when to come again.
    pub fn caller(&self, id: ApiKeyId) -> Result<(), Problem> {
        self.callers.take(id).map_err(|wait| refused("caller", wait))
    }

    /// One address that a caller asks about, besides [`Self::caller`].
    ///
    /// # Errors
    /// 429, with when to come again: the service is not to be asked.
    pub fn screening(&self, id: ApiKeyId) -> Result<(), Problem> {
        self.screenings.take(id).map_err(|wait| refused("screening", wait))
    }

    /// One request that nobody vouches for: it failed to prove who sent it, or is one that begins with nothing.
    ///
    /// # Errors
    /// 429, with when to come again.
    pub fn stranger(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        self.strangers.take(address.map(network)).map_err(|wait| refused("address", wait))
    }
}

/// Whoever has one IPv6 address has 2⁶⁴ of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

fn refused(of: &'static str, wait: Duration) -> Problem {
    metrics::counter!("bursar_requests_limited_total", "of" => of).increment(1);
    Problem::too_many(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct At(AtomicI64);
    impl Clock for At {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn a_burst_then_as_many_as_come_back() {
        let clock = Arc::new(At(AtomicI64::new(1_000_000_000)));
        let limits = RateLimits::new(rate(2, 3), rate(1, 1), clock.clone());
        let one = ApiKeyId::new(uuid::Uuid::from_u128(1));
        let allowed = |count: usize| (0..count).filter(|_| limits.caller(one).is_ok()).count();
        assert_eq!(allowed(10), 3);
        clock.0.fetch_add(1_000_000, Ordering::SeqCst);
        assert_eq!(allowed(10), 2);
        assert!(limits.caller(ApiKeyId::new(uuid::Uuid::from_u128(2))).is_ok(), "others have their own");
        let problem = limits.caller(one).unwrap_err();
        assert_eq!((problem.status, problem.retry_after), (429, Some(1)));
        let screened = (0..20).filter(|_| limits.screening(one).is_ok()).count();
        assert_eq!(screened, 10, "they are counted apart");
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nobody_wait_until_it_has_caught_up() {
        const HOUR: i64 = 3_600_000_000;
        let clock = Arc::new(At(AtomicI64::new(2 * HOUR)));
        let limits = RateLimits::new(rate(1, 1), rate(1, 1), clock.clone());
        let one = ApiKeyId::new(uuid::Uuid::from_u128(1));
        clock.0.fetch_add(HOUR, Ordering::SeqCst);
        assert!(limits.caller(one).is_ok());
        clock.0.fetch_sub(HOUR, Ordering::SeqCst);
        let problem = limits.caller(one).unwrap_err();
        assert_eq!((problem.status, problem.retry_after), (429, Some(1)), "a jump back gives nothing either");
        clock.0.fetch_add(1_000_000, Ordering::SeqCst);
        assert!(limits.caller(one).is_ok());
    }

    #[test]
    fn what_was_good_lately_is_looked_up_however_many_strangers_try() {
        let clock = Arc::new(At(AtomicI64::new(5_000_000)));
        let limits = RateLimits::new(rate(1, 1), rate(1, 2), clock.clone());
        let (here, there) = ("192.0.2.1".parse().ok(), "192.0.2.2".parse().ok());
        let (own, made_up) = ([1; 32], [2; 32]);
        assert!(limits.look_up(own, here).unwrap(), "nobody knows it yet");
        limits.was_good(own, here);
        assert!(limits.look_up(made_up, here).unwrap());
        for _ in 0..3 {
            let problem = limits.look_up(made_up, here).unwrap_err();
            assert_eq!((problem.status, problem.retry_after), (429, Some(1)), "the database is not asked");
            assert!(!limits.look_up(own, here).unwrap());
        }
        // From elsewhere it proves itself anew; and once it is revoked it is as any other.
        assert!(limits.look_up(own, there).unwrap());
        limits.was_not_good(own, here);
        assert!(limits.look_up(own, here).is_err());
        clock.0.fetch_add(1_000_000, Ordering::SeqCst);
        assert!(limits.look_up(own, here).unwrap());
    }

    #[test]
    fn what_is_remembered_as_good_is_bounded() {
        let limits = RateLimits::new(rate(1, 1), rate(1, 1), Arc::new(At(AtomicI64::new(5_000_000))));
        for number in 0..=MAX_GOOD {
            let mut credential = [0; 32];
            credential[..8].copy_from_slice(&number.to_be_bytes());
            limits.was_good(credential, None);
        }
        assert!(limits.good().len() <= MAX_GOOD);
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let limits = RateLimits::new(rate(1, 1), rate(1, 1), Arc::new(At(AtomicI64::new(5_000_000))));
        let ask = |address: &str| limits.stranger(Some(address.parse().unwrap())).is_ok();
        assert!(ask("2001:db8::1"));
        assert!(!ask("2001:db8::ffff:1"), "the same /64");
        assert!(ask("2001:db8:0:1::1"));
        assert!(ask("192.0.2.1") && ask("192.0.2.2") && !ask("::ffff:192.0.2.1"));
        assert!(limits.stranger(None).is_ok() && limits.stranger(None).is_err(), "nobody knows where from");
    }
}
