//! This machine's clock, and times as providers write them.

use bursar_domain::time::{Clock, Timestamp};

#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that others take as a parameter")]
    fn now(&self) -> Timestamp {
        std::time::SystemTime::now().into()
    }
}

/// RFC 3339 in UTC with milliseconds, as every provider here takes it.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let millis = at.micros().div_euclid(1000);
    let at = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{at:.3}")
}

/// `None` for what is no time.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read() {
        let at = Timestamp(1_767_225_600_123_456);
        assert_eq!(rfc3339(at), "2026-01-01T00:00:00.123Z");
        assert_eq!(parse_rfc3339("2026-01-01T00:00:00.123Z"), Some(Timestamp(1_767_225_600_123_000)));
        assert_eq!(parse_rfc3339("2026-01-01T01:00:00+01:00"), Some(Timestamp(1_767_225_600_000_000)));
        for wrong in ["", "yesterday", "2026-01-01", "1767225600"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }
}
