//! Time and CPU, measured from outside.

use anyhow::Context as _;
use serde::Serialize;

/// Seconds, of several rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |index: usize| seconds.get(index).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(seconds.len() / 2), max: at(seconds.len().saturating_sub(1)) }
    }
}

/// CPU seconds that these processes have used, user and system, from `/proc/<pid>/stat` (proc(5)) in ticks of 10 ms.
pub fn cpu_of(pids: &[u32]) -> anyhow::Result<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let mut ticks = 0u64;
    for pid in pids {
        let path = format!("/proc/{pid}/stat");
        let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The program's name stands in parentheses and may hold anything; utime and stime are fields 14 and 15.
        let (_, after_name) = stat.rsplit_once(')').with_context(|| format!("{path} is malformed"))?;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        for index in [11, 12] {
            ticks += fields
                .get(index)
                .and_then(|field| field.parse::<u64>().ok())
                .with_context(|| format!("{path} is malformed"))?;
        }
    }
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

pub fn random<const N: usize>() -> [u8; N] {
    crate::initiator::rand_bytes()
}
