//! What was measured, for people and for programs.

use super::{
    rate::Rate,
    signatures::Signatures,
    throughput::{Measured, Phase},
};
use crate::measure::{self, Percentiles};
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub machine: Machine,
    pub signatures: Option<Signatures>,
    pub throughput: Vec<Measured>,
}

/// The conditions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub cores: usize,
    /// Whether this program, and so those that it started beside it, are optimised.
    pub optimised: bool,
    /// Of the last minute, when the run began and when it ended; the run itself is in the latter.
    pub load_average_before: Option<f64>,
    pub load_average_after: Option<f64>,
}

impl Report {
    pub fn begin() -> Self {
        Self {
            machine: Machine {
                cores: std::thread::available_parallelism().map_or(1, usize::from),
                optimised: !cfg!(debug_assertions),
                load_average_before: measure::load_average(),
                load_average_after: None,
            },
            signatures: None,
            throughput: Vec::new(),
        }
    }

    pub fn end(&mut self) {
        self.machine.load_average_after = measure::load_average();
    }

    pub fn print(&self) {
        let Machine { cores, optimised, load_average_before, load_average_after } = &self.machine;
        let load = |load: &Option<f64>| load.map_or("?".to_owned(), |load| format!("{load:.2}"));
        println!(
            "{cores} cores, {} build, load average {} before and {} after",
            if *optimised { "optimised" } else { "development" },
            load(load_average_before),
            load(load_average_after),
        );
        if let Some(signatures) = &self.signatures {
            signatures.print();
        }
        for measured in &self.throughput {
            throughput(measured);
        }
    }
}

fn throughput(measured: &Measured) {
    let Measured { store, signer, baseline, phases } = measured;
    println!("\n## {store:?}, {signer}");
    println!(
        "baselines: anvil takes {:.0} presigned transactions/s, the database commits {:.0} rows/s, the disk {:.0} syncs/s",
        baseline.node_submissions_per_second, baseline.commits_per_second, baseline.syncs_per_second
    );
    for phase in phases {
        println!("\n{} finished transfers before, {} MB", phase.history, phase.database_bytes / 1_000_000);
        rates(phase, baseline.node_submissions_per_second);
        let idle: f64 = phase.idle_calls_per_block.values().sum();
        println!("node calls per block while idle: {idle:.1} {}", by_method(&phase.idle_calls_per_block));
        if let Some(rate) = phase.rates.last() {
            let calls: f64 = rate.calls_per_transfer.values().sum();
            println!(
                "node calls per transfer at {}/s: {calls:.1} {}",
                rate.offered_per_second,
                by_method(&rate.calls_per_transfer)
            );
        }
        println!("{:<40} {:>9} {:>9}", "reads (ms)", "p50", "p99");
        for reads in &phase.reads {
            println!("{:<40} {:>9.1} {:>9.1}", reads.what, reads.latency.p50 * 1e3, reads.latency.p99 * 1e3);
        }
    }
    if let [empty, grown] = phases.as_slice() {
        growth(empty, grown);
    }
}

const COLUMNS: [&str; 14] = [
    "offered/s",
    "final/s",
    "of anvil",
    "backlog",
    "accept50",
    "accept99",
    "bcast50",
    "bcast99",
    "final50",
    "final99",
    "CPU s/1k",
    "db s/1k",
    "sign s/1k",
    "peak MB",
];

fn rates(phase: &Phase, submissions: f64) {
    println!("(milliseconds; CPU seconds for 1000 transfers)");
    println!("{}", COLUMNS.map(|name| format!("{name:>9}")).join(" "));
    for rate in &phase.rates {
        let Rate { accept, accept_to_broadcast: broadcast, accept_to_final: last, .. } = rate;
        let ms = |spread: &Percentiles| [spread.p50 * 1e3, spread.p99 * 1e3];
        let figures = [
            f64::from(rate.offered_per_second),
            rate.final_per_second,
            rate.final_per_second / submissions,
            rate.backlog as f64,
            ms(accept)[0],
            ms(accept)[1],
            ms(broadcast)[0],
            ms(broadcast)[1],
            ms(last)[0],
            ms(last)[1],
            rate.cpu_per_1000,
            rate.database_cpu_per_1000,
            rate.cosigner_cpu_per_1000,
            rate.peak_memory_bytes as f64 / 1e6,
        ];
        let shown = figures.map(|figure| match figure {
            small if small.abs() < 10.0 => format!("{small:>9.2}"),
            large => format!("{large:>9.0}"),
        });
        println!("{}", shown.join(" "));
        if rate.completed < rate.offered {
            let why = rate.first_refusal.as_deref().unwrap_or("not final in time");
            println!("  {} of {} completed: {why}", rate.completed, rate.offered);
        }
    }
}

/// History against none, as ratios, and beneath each what two halves of the runs without history differ by.
fn growth(empty: &Phase, grown: &Phase) {
    println!("\nwith {} finished transfers, as a multiple of none", grown.history);
    for (before, after) in empty.rates.iter().zip(&grown.rates) {
        println!("{:>4}/s: {}", before.offered_per_second, ratios(before, after));
        let same = |halves: &&[Rate; 2]| halves[0].offered_per_second == before.offered_per_second;
        if let Some([some, others]) = empty.halves.iter().find(same) {
            println!("  alone: {}", ratios(some, others));
        }
    }
    for (before, after) in empty.reads.iter().zip(&grown.reads) {
        let ratio = |of: fn(&Percentiles) -> f64| of(&after.latency) / of(&before.latency);
        println!("{:<40} p50 {:.2}, p99 {:.2}", after.what, ratio(|l| l.p50), ratio(|l| l.p99));
    }
}

type Figure = fn(&Rate) -> f64;

fn ratios(before: &Rate, after: &Rate) -> String {
    let figures: [(&str, Figure); 10] = [
        ("final/s", |rate| rate.final_per_second),
        ("accept p50", |rate| rate.accept.p50),
        ("p99", |rate| rate.accept.p99),
        ("broadcast p50", |rate| rate.accept_to_broadcast.p50),
        ("p99", |rate| rate.accept_to_broadcast.p99),
        ("final p50", |rate| rate.accept_to_final.p50),
        ("p99", |rate| rate.accept_to_final.p99),
        ("CPU", |rate| rate.cpu_per_1000 + rate.database_cpu_per_1000),
        ("memory", |rate| rate.peak_memory_bytes as f64),
        ("written", |rate| rate.written_bytes_per_transfer),
    ];
    figures.map(|(name, of)| format!("{name} {:.2}", of(after) / of(before))).join(", ")
}

fn by_method(calls: &std::collections::BTreeMap<String, f64>) -> String {
    let each: Vec<String> = calls.iter().map(|(method, count)| format!("{method} {count:.2}")).collect();
    format!("({})", each.join(", "))
}
