//! A provider that does not answer is left alone for a while: who asks is told at once, instead of waiting in line for the same.

use crate::provider::Reply;
use bursar_domain::screening::Unanswered;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// So many failures in a row open it.
const FAILURES: u32 = 5;
/// For so long nobody asks; then one failure more opens it again.
const REST: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    until: Option<Instant>,
}

impl Breaker {
    /// # Errors
    /// While nobody is to ask.
    pub fn check(&self, now: Instant) -> Result<(), Unanswered> {
        match self.lock().until {
            Some(until) if now < until => Err(Unanswered::Unavailable(
                "the provider has not been answering; it is left alone for a while".into(),
            )),
            _ => Ok(()),
        }
    }

    pub fn record(&self, reply: &Result<Reply, Unanswered>, now: Instant) {
        let mut state = self.lock();
        match reply {
            Err(error) if error.is_transient() => {
                state.failures = state.failures.saturating_add(1);
                if state.failures >= FAILURES {
                    state.until = Some(now + REST);
                }
            }
            _ => *state = State::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_again() {
        let breaker = Breaker::default();
        let begun = Instant::now();
        let (silent, refused) = (Err(Unanswered::Timeout), Err(Unanswered::Refused(String::new())));
        for _ in 1..FAILURES {
            breaker.record(&silent, begun);
        }
        assert!(breaker.check(begun).is_ok());
        // An answer is an answer.
        breaker.record(&refused, begun);
        for _ in 1..FAILURES {
            breaker.record(&silent, begun);
        }
        assert!(breaker.check(begun).is_ok());
        breaker.record(&silent, begun);
        assert!(breaker.check(begun).is_err());
        let later = begun + REST;
        assert!(breaker.check(later).is_ok());
        breaker.record(&silent, later);
        assert!(breaker.check(later).is_err());
    }
}
