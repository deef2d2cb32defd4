//! Time as data: microseconds since the Unix epoch, and the clock as a parameter.

use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const fn from_secs(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }
    pub const fn micros(self) -> i64 {
        self.0
    }
    #[must_use]
    pub const fn plus(self, span: std::time::Duration) -> Self {
        let micros = span.as_micros();
        Self(self.0.saturating_add(if micros > i64::MAX as u128 { i64::MAX } else { micros as i64 }))
    }
    #[must_use]
    pub const fn minus(self, span: std::time::Duration) -> Self {
        let micros = span.as_micros();
        Self(self.0.saturating_sub(if micros > i64::MAX as u128 { i64::MAX } else { micros as i64 }))
    }
    /// How long ago `earlier` was; zero when it lies in the future.
    pub const fn since(self, earlier: Self) -> std::time::Duration {
        let micros = self.0.saturating_sub(earlier.0);
        std::time::Duration::from_micros(if micros < 0 { 0 } else { micros as u64 })
    }
}

impl From<std::time::SystemTime> for Timestamp {
    /// What lies before 1970 is 1970.
    fn from(time: std::time::SystemTime) -> Self {
        Self(0).plus(time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
    }
}

/// The wall clock. The domain never reads one; whoever acts passes the time in.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn a_clocks_time_is_in_microseconds_since_1970() {
        let after = UNIX_EPOCH + Duration::from_nanos(1_500_999);
        assert_eq!(Timestamp::from(after), Timestamp(1_500));
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp(0));
        assert_eq!(Timestamp(1_500).minus(Duration::from_micros(2_000)), Timestamp(-500));
        assert_eq!(Timestamp(i64::MIN).minus(Duration::MAX), Timestamp(i64::MIN));
    }
}
