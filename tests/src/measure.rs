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

/// Seconds, of many requests.
#[derive(Debug, Clone, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// By the nearest rank; `NaN` of nothing, which JSON shows as null.
    pub fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let rank = |share: f64| (share * seconds.len() as f64).ceil() as usize;
        let at = |share| seconds.get(rank(share).saturating_sub(1)).copied().unwrap_or(f64::NAN);
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

/// As [`cpu_of`], of processes that come and go: one that has ended counts nothing.
pub fn cpu_of_those_left(pids: &[u32]) -> f64 {
    pids.iter().filter_map(|pid| cpu_of(&[*pid]).ok()).sum()
}

/// The most resident memory of the process since [`forget_peak`], in bytes (`VmHWM`, proc(5)).
pub fn peak_memory_of(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("{path} has no VmHWM"))? * 1024)
}

/// Starts a new peak from what the process has now.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
}

/// Bytes that the process has caused to be written to storage (`write_bytes` of proc(5)'s `io`).
pub fn written_by(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/io");
    let io = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    line.and_then(|line| line.trim().parse().ok()).with_context(|| format!("{path} has no write_bytes"))
}

/// Load average of the last minute: what else ran.
pub fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let Percentiles { p50, p99, max } = Percentiles::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((p50, p99, max), (100.0, 198.0, 200.0));
        let Percentiles { p50, p99, max } = Percentiles::of(vec![3.0]);
        assert_eq!((p50, p99, max), (3.0, 3.0, 3.0));
        assert!(Percentiles::of(Vec::new()).p50.is_nan());
    }

    #[test]
    fn this_process_has_used_memory() {
        let pid = std::process::id();
        forget_peak(pid).unwrap();
        assert!(peak_memory_of(pid).unwrap() > 1 << 20);
        assert!(written_by(pid).is_ok());
    }
}
