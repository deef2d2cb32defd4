//! `./dev bench`: what a whole local Bursar does, measured from outside.
//!
//! | module | what it measures |
//! |---|---|
//! | [`signatures`] | one threshold signature through daemons and relay, against the bare protocol; accepted to broadcast |
//! | [`throughput`] | open-loop load on anvil: latencies, CPU, memory, node calls, for each signer and each store |
//! | [`rate`] | one figure of several runs at one rate |
//! | [`history`] | a database with a million finished transfers in it, so that the same can be measured again |
//! | [`reads`] | lists and single transfers, while nothing else runs |
//! | [`baseline`] | what the machine does without Bursar: the other side of each ratio |
//!
//! Everything is bounded in count and in time. Absolute figures are of one machine at one moment; each stands beside a baseline
//! of the same run.

pub mod accounts;
pub mod baseline;
pub mod history;
pub mod load;
pub mod rate;
pub mod reads;
pub mod report;
pub mod scenario;
pub mod signatures;
pub mod throughput;

use crate::{cosigners::Signing, program::say};
use scenario::{Scenario, StoreKind};
use std::path::PathBuf;

/// A part of the benchmark that can be asked for alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    Signatures,
    ThroughputSqlite,
    ThroughputPostgres,
    ThroughputSqliteCosigners,
    ThroughputPostgresCosigners,
    GrowthSqlite,
    GrowthPostgres,
}

impl Part {
    pub const ALL: [Self; 7] = [
        Self::Signatures,
        Self::ThroughputSqlite,
        Self::ThroughputPostgres,
        Self::ThroughputSqliteCosigners,
        Self::ThroughputPostgresCosigners,
        Self::GrowthSqlite,
        Self::GrowthPostgres,
    ];
    /// What `--quick` runs.
    pub const QUICK: [Self; 1] = [Self::ThroughputSqlite];

    fn scenario(self, history: u64) -> Option<Scenario> {
        let (store, signing, history) = match self {
            Self::Signatures => return None,
            Self::ThroughputSqlite => (StoreKind::Sqlite, Signing::DevelopmentSingleKey, 0),
            Self::ThroughputPostgres => (StoreKind::Postgres, Signing::DevelopmentSingleKey, 0),
            Self::ThroughputSqliteCosigners => (StoreKind::Sqlite, Signing::CoSigners, 0),
            Self::ThroughputPostgresCosigners => (StoreKind::Postgres, Signing::CoSigners, 0),
            Self::GrowthSqlite => (StoreKind::Sqlite, Signing::DevelopmentSingleKey, history),
            Self::GrowthPostgres => (StoreKind::Postgres, Signing::DevelopmentSingleKey, history),
        };
        // At 100 transfers a second each account has its turn about three times a second.
        Some(Scenario { store, signing, history, accounts: 32 })
    }
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    pub parts: Vec<Part>,
    /// Payments per wallet kind, and bare signatures per scheme.
    pub rounds: u32,
    pub load: throughput::Load,
    /// Finished transfers that growth begins with.
    pub history: u64,
    /// Keys in it are used again; everything else in it begins anew.
    pub dir: PathBuf,
}

/// Runs the parts one after the other.
///
/// # Errors
/// The first part that could not be measured.
pub async fn run(plan: &Plan) -> anyhow::Result<report::Report> {
    let mut report = report::Report::begin();
    for part in &plan.parts {
        match part.scenario(plan.history) {
            None => report.signatures = Some(signatures::measure(&plan.dir, plan.rounds).await?),
            Some(scenario) => {
                say(&format!("\n{scenario}"));
                report.throughput.push(throughput::measure(&plan.dir, scenario, &plan.load).await?);
            }
        }
    }
    report.end();
    Ok(report)
}
