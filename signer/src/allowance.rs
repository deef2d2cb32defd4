//! How often something may be done: so many times in a row, and then once in a while.

use bursar_domain::time::Timestamp;
use std::time::Duration;

/// Filled up again as time passes, by one each `every`.
#[derive(Debug, Clone)]
pub(crate) struct Allowance {
    most: u32,
    every: Duration,
    left: u32,
    /// Up to when it was filled; `None` before its first use.
    filled_at: Option<Timestamp>,
}

impl Allowance {
    pub const fn of(most: u32, every: Duration) -> Self {
        Self { most, every, left: most, filled_at: None }
    }

    /// Whether it may be done now; then that counts.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let filled_at = *self.filled_at.get_or_insert(now);
        let new = now.since(filled_at).as_micros() / self.every.as_micros().max(1);
        let new = u32::try_from(new).unwrap_or(u32::MAX);
        // A clock that was set back must not stop it for as long as that.
        if new > 0 || now < filled_at {
            self.left = self.left.saturating_add(new).min(self.most);
            self.filled_at = Some(now);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_used_up_and_comes_back_with_time() {
        let mut allowance = Allowance::of(3, Duration::from_secs(10));
        let at = |seconds: i64| Timestamp::from_secs(1000 + seconds);
        assert_eq!([0; 5].map(|second| allowance.take(at(second))), [true, true, true, false, false]);
        assert!(!allowance.take(at(9)));
        assert!(allowance.take(at(10)) && !allowance.take(at(10)));
        // The clock is set back, and runs on from there.
        assert!(!allowance.take(at(-500)));
        assert!(allowance.take(at(-490)));
        assert_eq!([9000; 4].map(|second| allowance.take(at(second))), [true, true, true, false]);
    }
}
