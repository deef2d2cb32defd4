//! When a node that keeps failing is left alone, and when it is tried again. Time is a parameter, and monotonic: a wall clock that
//! is set back must not lock a node out.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bursar_domain::health::Circuit;
use std::time::Duration;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row after which the circuit opens.
    pub failures: u32,
    /// How long it stays open the first time; doubled each time that the node fails again. Jitter adds up to as much again, so
    /// that several processes do not come back at once.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(10) }
    }
}

impl BreakerPolicy {
    fn pauses(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.first_pause)
            .with_max_delay(self.longest_pause)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// Closed → open after some failures in a row → half-open for one question after a pause → closed, or open for longer.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    pauses: ExponentialBackoff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

impl Breaker {
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 }, pauses: policy.pauses() }
    }

    /// Whether the node may be asked now. If the circuit was open, this is the one question that tries it: exactly one of
    /// [`succeeded`](Self::succeeded), [`failed`](Self::failed), [`trip`](Self::trip) and [`undecided`](Self::undecided) has to
    /// follow. A refusal says how long it still stays open, as far as that is known.
    pub fn admit(&mut self, now: Instant) -> Result<(), Option<Duration>> {
        match self.state {
            State::Closed { .. } => Ok(()),
            State::Open { until } if now >= until => {
                self.state = State::HalfOpen;
                Ok(())
            }
            State::Open { until } => Err(Some(until.duration_since(now))),
            State::HalfOpen => Err(None),
        }
    }

    /// Whether [`admit`](Self::admit) would say yes.
    pub fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } => now >= until,
            State::HalfOpen => false,
        }
    }

    pub fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
        self.pauses = self.policy.pauses();
    }

    pub fn failed(&mut self, now: Instant) {
        match self.state {
            State::Closed { failures } if failures.saturating_add(1) < self.policy.failures => {
                self.state = State::Closed { failures: failures.saturating_add(1) };
            }
            State::Closed { .. } | State::HalfOpen => {
                let pause = self.pauses.next().unwrap_or(self.policy.longest_pause);
                self.state = State::Open { until: now + pause };
            }
            // A question from before it opened.
            State::Open { .. } => {}
        }
    }

    /// Opens at once and for the longest pause: what answers is not the node that was configured.
    pub fn trip(&mut self, now: Instant) {
        self.state = State::Open { until: now + self.policy.longest_pause };
    }

    /// The question was given up before it said anything about the node: the next one may try it.
    pub fn undecided(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    pub fn circuit(&self) -> Circuit {
        match self.state {
            State::Closed { .. } => Circuit::Closed,
            State::HalfOpen => Circuit::HalfOpen,
            State::Open { .. } => Circuit::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy {
        failures: 3,
        first_pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(4),
    };
    /// The pauses without and with the most jitter, one after the other.
    const PAUSES: [(u64, u64); 4] = [(1, 2), (2, 4), (4, 8), (4, 8)];

    fn opened(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(POLICY);
        for _ in 0..POLICY.failures {
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.failed(now);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::new(POLICY);
        for _ in 0..10 {
            breaker.failed(now);
            breaker.failed(now);
            assert_eq!(breaker.circuit(), Circuit::Closed);
            breaker.succeeded();
        }
        let mut breaker = opened(now);
        assert_eq!(breaker.circuit(), Circuit::Open);
        assert!(matches!(breaker.admit(now), Err(Some(left)) if left >= POLICY.first_pause));
    }

    #[test]
    fn one_question_tries_it_and_pauses_grow_to_the_longest() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        for (least, most) in PAUSES {
            now += Duration::from_secs(least) - Duration::from_millis(1);
            assert!(!breaker.admits(now), "open for at least {least} s");
            now += Duration::from_secs(most - least) + Duration::from_millis(1);
            assert!(breaker.admits(now), "open for at most {most} s");
            assert_eq!(breaker.admit(now), Ok(()));
            assert_eq!((breaker.circuit(), breaker.admit(now)), (Circuit::HalfOpen, Err(None)));
            breaker.failed(now);
        }
        now += Duration::from_secs(8);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.succeeded();
        assert_eq!((breaker.circuit(), breaker.admit(now)), (Circuit::Closed, Ok(())));
        // And from the first pause on again.
        (0..3).for_each(|_| breaker.failed(now));
        assert!(breaker.admits(now + Duration::from_secs(2)));
    }

    #[test]
    fn a_question_that_was_given_up_leaves_the_next_one_to_try() {
        let mut now = Instant::now();
        let mut breaker = opened(now);
        breaker.failed(now);
        now += Duration::from_secs(2);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.undecided(now);
        assert_eq!(breaker.admit(now), Ok(()));
        breaker.trip(now);
        breaker.undecided(now);
        assert!(matches!(breaker.admit(now), Err(Some(left)) if left == POLICY.longest_pause));
    }
}
