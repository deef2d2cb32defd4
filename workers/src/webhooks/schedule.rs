//! When a message is tried again, and how long an endpoint that fails is left alone.

use bursar_domain::time::Timestamp;
use bursar_store::webhooks::{EndpointId, deliveries::Next};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

/// Seconds after each failed try, as the specification proposes: ten tries over three days.
pub const PAUSES: [u64; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600];

/// What follows from the failure of the try that was `tries` in all.
pub fn after_failure(id: &EndpointId, sequence: i64, tries: u32, now: Timestamp) -> Next {
    let pause = usize::try_from(tries).ok().and_then(|tries| PAUSES.get(tries.saturating_sub(1)));
    pause.map_or(Next::GivenUp, |seconds| Next::Again(now.plus(jittered(*seconds, id, sequence, tries))))
}

/// Up to a fifth longer, so that what failed together does not come back together: a number that nobody has to draw.
fn jittered(seconds: u64, id: &EndpointId, sequence: i64, tries: u32) -> Duration {
    let digest: [u8; 32] = Sha256::digest(format!("{id}\0{sequence}\0{tries}")).into();
    let part = u64::from(u16::from_be_bytes([digest[0], digest[1]]));
    let millis = seconds * 1000;
    Duration::from_millis(millis + millis / 5 * part / u64::from(u16::MAX))
}

/// So many failures in a row, and an endpoint is tried with one message at a time, and rests after each.
pub const TROUBLED: u32 = 3;
const LONGEST_REST: u64 = 300;

/// Until when an endpoint is left alone after `failures` in a row.
pub fn rest(failures: u32, now: Timestamp) -> Timestamp {
    let Some(beyond) = failures.checked_sub(TROUBLED) else { return now };
    let seconds = 5u64.saturating_mul(1 << beyond.min(10)).min(LONGEST_REST);
    now.plus(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    #[test]
    fn tries_are_spread_over_three_days_and_end() {
        let id = "desk".parse().unwrap();
        let (mut now, mut tries) = (NOW, 1);
        while let Next::Again(at) = after_failure(&id, 7, tries, now) {
            let pause = at.since(now).as_secs_f64() / PAUSES[tries as usize - 1] as f64;
            assert!((1.0..=1.2).contains(&pause), "try {tries}: {pause}");
            (now, tries) = (at, tries + 1);
        }
        assert_eq!(tries, 10);
        let days = now.since(NOW).as_secs_f64() / 86_400.0;
        assert!((3.0..4.0).contains(&days), "{days}");
        assert_eq!(after_failure(&id, 7, u32::MAX, now), Next::GivenUp);
    }

    #[test]
    fn what_fails_together_does_not_come_back_together() {
        let id = "desk".parse().unwrap();
        let times: std::collections::BTreeSet<_> = (0..100)
            .map(|sequence| match after_failure(&id, sequence, 5, NOW) {
                Next::Again(at) => at,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(times.len() > 90, "{}", times.len());
    }

    #[test]
    fn rests_grow_and_are_bounded() {
        assert_eq!(rest(1, NOW), NOW);
        assert_eq!(rest(TROUBLED, NOW).since(NOW).as_secs(), 5);
        assert_eq!(rest(TROUBLED + 2, NOW).since(NOW).as_secs(), 20);
        assert_eq!(rest(u32::MAX, NOW).since(NOW).as_secs(), LONGEST_REST);
    }
}
