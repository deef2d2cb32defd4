//! What one rate of requests showed: of each run of load its raw figures, and of several runs one figure each.
//!
//! Several short runs of two installations in turn say more than one long run of each: a machine whose speed changes meanwhile changes
//! for both, and a slowest hundredth is of all requests of all runs. How far the figures of one and the same installation differ between
//! every other run and the rest is how much of a difference is the measurement's own.

use crate::measure::Percentiles;
use serde::Serialize;
use std::collections::BTreeMap;

/// One run of load, as it was counted. Seconds, bytes and counts.
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub offered: usize,
    pub accepted: usize,
    pub completed: usize,
    pub first_refusal: Option<String>,
    /// From the first acceptance to the last final block.
    pub lasted: f64,
    /// Accepted and not final when the last request had been answered.
    pub backlog: usize,
    /// From the time when a request was due to the end of its answer, for each.
    pub accept: Vec<f64>,
    /// By the orchestrator's own times, for each.
    pub accept_to_broadcast: Vec<f64>,
    pub accept_to_final: Vec<f64>,
    pub cpu: f64,
    pub database_cpu: f64,
    pub cosigner_cpu: f64,
    pub peak_memory: u64,
    pub written: u64,
    pub calls: BTreeMap<String, usize>,
    pub blocks: u64,
    pub load_average: Option<f64>,
}

/// Of all runs at one rate. Seconds, bytes and counts.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rate {
    pub offered_per_second: u32,
    pub runs: usize,
    pub offered: usize,
    pub accepted: usize,
    pub completed: usize,
    pub first_refusal: Option<String>,
    /// Over the time of all runs, each from the first acceptance to the last final block.
    pub final_per_second: f64,
    /// The most that was accepted and not final when the last request of a run had been answered.
    pub backlog: usize,
    /// From the time when a request was due to the end of its answer.
    pub accept: Percentiles,
    /// By the orchestrator's own times, as all below.
    pub accept_to_broadcast: Percentiles,
    pub accept_to_final: Percentiles,
    pub cpu_per_1000: f64,
    pub database_cpu_per_1000: f64,
    pub cosigner_cpu_per_1000: f64,
    /// The most of any run.
    pub peak_memory_bytes: u64,
    pub written_bytes_per_transfer: f64,
    pub calls_per_transfer: BTreeMap<String, f64>,
    pub calls_per_block: f64,
    /// Of the minute before the end of the last run.
    pub load_average: Option<f64>,
}

impl Rate {
    /// All runs together.
    pub fn of<'a>(per_second: u32, runs: impl IntoIterator<Item = &'a Run>) -> Self {
        let runs: Vec<&Run> = runs.into_iter().collect();
        let count = |of: fn(&Run) -> usize| runs.iter().map(|run| of(run)).sum::<usize>();
        let sum = |of: fn(&Run) -> f64| runs.iter().map(|run| of(run)).sum::<f64>();
        let all =
            |of: fn(&Run) -> &[f64]| Percentiles::of(runs.iter().flat_map(|run| of(run)).copied().collect());
        let (accepted, completed) = (count(|run| run.accepted), count(|run| run.completed));
        let per_1000 = |cpu: f64| cpu / accepted as f64 * 1000.0;
        let mut calls = BTreeMap::new();
        for (method, of_run) in runs.iter().flat_map(|run| &run.calls) {
            *calls.entry(method.clone()).or_insert(0) += of_run;
        }
        Self {
            offered_per_second: per_second,
            runs: runs.len(),
            offered: count(|run| run.offered),
            accepted,
            completed,
            first_refusal: runs.iter().find_map(|run| run.first_refusal.clone()),
            final_per_second: completed as f64 / sum(|run| run.lasted),
            backlog: runs.iter().map(|run| run.backlog).max().unwrap_or(0),
            accept: all(|run| &run.accept),
            accept_to_broadcast: all(|run| &run.accept_to_broadcast),
            accept_to_final: all(|run| &run.accept_to_final),
            cpu_per_1000: per_1000(sum(|run| run.cpu)),
            database_cpu_per_1000: per_1000(sum(|run| run.database_cpu)),
            cosigner_cpu_per_1000: per_1000(sum(|run| run.cosigner_cpu)),
            peak_memory_bytes: runs.iter().map(|run| run.peak_memory).max().unwrap_or(0),
            written_bytes_per_transfer: sum(|run| run.written as f64) / accepted as f64,
            calls_per_block: calls.values().sum::<usize>() as f64 / sum(|run| run.blocks as f64),
            calls_per_transfer: shares(&calls, accepted as f64),
            load_average: runs.last().and_then(|run| run.load_average),
        }
    }

    /// Every other run, and the rest; of fewer than two runs nothing.
    pub fn halves(per_second: u32, runs: &[Run]) -> Option<[Self; 2]> {
        let half = |first: usize| Self::of(per_second, runs.iter().skip(first).step_by(2));
        (runs.len() > 1).then(|| [half(0), half(1)])
    }
}

pub fn shares(counts: &BTreeMap<String, usize>, of: f64) -> BTreeMap<String, f64> {
    counts.iter().map(|(method, count)| (method.clone(), *count as f64 / of)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(accept: &[f64], lasted: f64) -> Run {
        let calls = BTreeMap::from([("eth_call".to_owned(), 2 * accept.len())]);
        let count = accept.len();
        Run {
            offered: count,
            accepted: count,
            completed: count,
            lasted,
            accept: accept.to_vec(),
            calls,
            blocks: 4,
            ..Run::default()
        }
    }

    #[test]
    fn a_percentile_is_of_the_requests_of_all_runs() {
        let runs = [run(&[1.0; 50], 10.0), run(&[3.0; 51], 15.0)];
        let rate = Rate::of(5, &runs);
        assert_eq!((rate.accept.p50, rate.accept.p99, rate.runs, rate.accepted), (3.0, 3.0, 2, 101));
        assert_eq!(rate.final_per_second, 101.0 / 25.0);
        assert_eq!(rate.calls_per_transfer["eth_call"], 2.0);
        assert_eq!(rate.calls_per_block, 202.0 / 8.0);
    }

    #[test]
    fn halves_are_every_other_run() {
        let runs = [run(&[1.0], 1.0), run(&[2.0], 1.0), run(&[1.0], 1.0)];
        let [even, odd] = Rate::halves(1, &runs).unwrap();
        assert_eq!((even.accept.max, even.runs, odd.accept.max, odd.runs), (1.0, 2, 2.0, 1));
        assert!(Rate::halves(1, &runs[..1]).is_none());
    }
}
