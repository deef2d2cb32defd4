//! Open-loop load on one scenario: ETH payments on anvil with a block each second, final after two confirmations.

use super::{
    baseline::{self, Baseline},
    history,
    load::{self, Target},
    rate::{Rate, Run, shares},
    reads::{self, Reads},
    scenario::{Scenario, Stage, StoreKind},
};
use crate::{cosigners::Signing, measure, program::say};
use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

/// How much is asked for.
#[derive(Debug, Clone)]
pub struct Load {
    /// Transfers per second, one measurement for each.
    pub rates: Vec<u32>,
    pub seconds: u32,
    /// Each rate is offered so often, in turn with the other installation if there are two; all runs count together.
    pub repeats: u32,
    /// At most so many transfers in each run with co-signers, whose ECDSA takes two CPU seconds for each.
    pub cosigner_transfers: u32,
    /// Reads of each kind.
    pub reads: usize,
    /// How long node calls are counted while nothing is paid.
    pub idle: Duration,
}

/// What one scenario showed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    pub store: StoreKind,
    pub signer: &'static str,
    pub baseline: Baseline,
    /// Measurements on an empty database, and on one with history if that was asked for.
    pub phases: Vec<Phase>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Finished transfers in the store before it.
    pub history: u64,
    pub database_bytes: u64,
    /// Calls to the Ethereum node in one block while nothing is paid, by method.
    pub idle_calls_per_block: BTreeMap<String, f64>,
    pub rates: Vec<Rate>,
    /// Each rate again, from every other run and from the rest: what differs between them is the measurement's own.
    pub halves: Vec<[Rate; 2]>,
    pub reads: Vec<Reads>,
}

/// Measures one installation, and beside it, if `scenario` has a history, one that has it. The two take turns at each rate: a machine
/// whose speed changes meanwhile changes for both.
///
/// # Errors
/// The first thing that could not be started or measured.
pub async fn measure(dir: &Path, scenario: Scenario, load: &Load) -> anyhow::Result<Measured> {
    let empty = Scenario { history: 0, ..scenario };
    let mut sides = vec![Side::start(dir, empty, load).await?];
    say("baselines");
    let baseline = baseline::measure(&sides[0].stage).await?;
    if scenario.history > 0 {
        let mut grown = Side::start(&dir.join("grown"), scenario, load).await?;
        history::put(&mut grown.stage, scenario.history).await?;
        warm_up(&mut grown.stage, scenario).await?;
        sides.push(grown);
    }
    for per_second in &load.rates {
        sides.sort_by_key(|side| side.scenario.history);
        for repeat in 0..load.repeats.max(1) {
            for side in &mut sides {
                side.run(*per_second, load).await?;
            }
            // Of four, each is first in one even and one odd repeat, so that order is in neither half.
            if repeat % 2 == 0 {
                sides.reverse();
            }
        }
    }
    for _ in 0..READING_TURNS {
        for side in &mut sides {
            side.read(load.reads.div_ceil(READING_TURNS)).await?;
        }
        sides.reverse();
    }
    sides.sort_by_key(|side| side.scenario.history);
    let mut phases = Vec::new();
    for side in sides {
        phases.push(side.end().await?);
    }
    Ok(Measured { store: scenario.store, signer: scenario.signer(), baseline, phases })
}

/// Reads of each kind are spread over so many turns.
const READING_TURNS: usize = 4;

/// One of the installations that are compared.
struct Side {
    scenario: Scenario,
    stage: Stage,
    idle_calls_per_block: BTreeMap<String, f64>,
    /// By transfers offered per second.
    runs: BTreeMap<u32, Vec<Run>>,
    reads: Vec<reads::Latencies>,
}

impl Side {
    async fn start(dir: &Path, scenario: Scenario, load: &Load) -> anyhow::Result<Self> {
        let mut stage = Stage::start(dir, scenario).await?;
        warm_up(&mut stage, scenario).await?;
        let idle_calls_per_block = idle(&stage, load.idle).await?;
        Ok(Self { scenario, stage, idle_calls_per_block, runs: BTreeMap::new(), reads: Vec::new() })
    }

    async fn run(&mut self, per_second: u32, load: &Load) -> anyhow::Result<()> {
        let count = match self.scenario.signing {
            Signing::CoSigners => (per_second * load.seconds).min(load.cosigner_transfers),
            Signing::DevelopmentSingleKey => per_second * load.seconds,
        };
        say(&format!("{count} transfers at {per_second}/s, history {}", self.scenario.history));
        let run = one_run(&mut self.stage, per_second, count as usize).await?;
        self.runs.entry(per_second).or_default().push(run);
        Ok(())
    }

    async fn read(&mut self, count: usize) -> anyhow::Result<()> {
        say(&format!("reads, history {}", self.scenario.history));
        reads::measure(&self.stage, count, &mut self.reads).await
    }

    async fn end(self) -> anyhow::Result<Phase> {
        let database_bytes = history::size(&self.stage.database)?;
        self.stage.stop().await?;
        Ok(Phase {
            history: self.scenario.history,
            database_bytes,
            idle_calls_per_block: self.idle_calls_per_block,
            rates: self.runs.iter().map(|(per_second, runs)| Rate::of(*per_second, runs)).collect(),
            halves: self
                .runs
                .iter()
                .filter_map(|(per_second, runs)| Rate::halves(*per_second, runs))
                .collect(),
            reads: self.reads.into_iter().map(Reads::from).collect(),
        })
    }
}

/// Connections, statements and caches are there before anything is counted.
async fn warm_up(stage: &mut Stage, scenario: Scenario) -> anyhow::Result<()> {
    let transfers = match scenario.signing {
        Signing::CoSigners => 2,
        // One for each account at least: history is copied from them.
        Signing::DevelopmentSingleKey => scenario.accounts,
    };
    one_run(stage, 10, transfers).await.context("warming up").map(drop)
}

/// How long a backlog may take to drain.
const DRAIN: Duration = Duration::from_secs(300);

async fn one_run(stage: &mut Stage, per_second: u32, count: usize) -> anyhow::Result<Run> {
    let requests = stage.accounts.requests(&stage.environment, count)?;
    let (cosigners, database) = (stage.cosigner_pids(), stage.database_pids());
    let (environment, proxy) = (&stage.environment, &stage.proxy);
    let pid = stage.orchestrator_pid()?;
    let target = Target {
        http: reqwest::Client::new(),
        url: format!("{}/v1/transfers", environment.api.url),
        key: environment.api.key.clone(),
    };
    let anvil = &environment.nodes.anvil;
    let finished_before = finished(&target).await?;
    measure::forget_peak(pid)?;
    let cpu_before = measure::cpu_of(&[pid])?;
    let cosigner_cpu_before = measure::cpu_of(&cosigners)?;
    let database_cpu_before = measure::cpu_of_those_left(&database);
    let (written_before, calls_before, height_before) =
        (measure::written_by(pid)?, proxy.calls(), anvil.height().await?);

    let sent = load::open_loop(&target, requests, f64::from(per_second)).await;
    let accepted = sent.accepted.len();
    ensure!(accepted > 0, "nothing was accepted: {}", sent.first_refusal.unwrap_or_default());
    let backlog = accepted.saturating_sub(finished(&target).await?.saturating_sub(finished_before));
    let begun = Instant::now();
    while finished(&target).await?.saturating_sub(finished_before) < accepted && begun.elapsed() < DRAIN {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    let calls = difference(&proxy.calls(), &calls_before);
    let blocks = anvil.height().await?.saturating_sub(height_before).max(1);
    let cpu = measure::cpu_of(&[pid])? - cpu_before;
    let cosigner_cpu = measure::cpu_of(&cosigners)? - cosigner_cpu_before;
    let database_cpu = measure::cpu_of_those_left(&database) - database_cpu_before;
    let (peak, written) = (measure::peak_memory_of(pid)?, measure::written_by(pid)? - written_before);
    let load_average = measure::load_average();
    let times = times_of(stage, &sent.accepted).await?;
    let spans = |to: fn(&Times) -> Option<f64>| times.iter().filter_map(to).collect();
    let first = times.iter().map(|times| times.accepted).fold(f64::INFINITY, f64::min);
    let last = times.iter().filter_map(|times| times.last).fold(f64::NEG_INFINITY, f64::max);
    Ok(Run {
        offered: count,
        accepted,
        completed: times.iter().filter(|times| times.last.is_some()).count(),
        first_refusal: sent.first_refusal,
        // Of none that became final nothing is known, and it counts nothing.
        lasted: if last.is_finite() { last - first } else { 0.0 },
        backlog,
        accept: sent.latencies,
        accept_to_broadcast: spans(|times| Some(times.broadcast? - times.accepted)),
        accept_to_final: spans(|times| Some(times.last? - times.accepted)),
        cpu,
        database_cpu,
        cosigner_cpu,
        peak_memory: peak,
        written,
        calls,
        blocks,
        load_average,
    })
}

/// Seconds since the epoch.
struct Times {
    accepted: f64,
    broadcast: Option<f64>,
    /// When it was completed.
    last: Option<f64>,
}

async fn times_of(stage: &Stage, ids: &[String]) -> anyhow::Result<Vec<Times>> {
    let api = &stage.environment.api;
    let one = |id: &String| {
        let id = id.clone();
        async move {
            let transfer = api.transfer(&id).await?;
            let at = |value: &Value| {
                let time: jiff::Timestamp = value.as_str()?.parse().ok()?;
                Some(time.as_microsecond() as f64 / 1e6)
            };
            let transaction = &transfer["transaction"];
            let completed = transfer["status"] == "COMPLETED";
            anyhow::Ok(Times {
                accepted: at(&transfer["createdAt"]).with_context(|| format!("no time in {transfer}"))?,
                broadcast: at(&transaction["broadcastAt"]),
                last: at(&transaction["finalizedAt"]).filter(|_| completed),
            })
        }
    };
    futures::stream::iter(ids).map(one).buffer_unordered(4).try_collect().await
}

/// How many transfers this process has brought to their end, by its own count.
async fn finished(target: &Target) -> anyhow::Result<usize> {
    let url = target.url.replace("/v1/transfers", "/metrics");
    let text = target.http.get(url).send().await?.error_for_status()?.text().await?;
    let of = |line: &str| -> Option<usize> {
        let rest = line.strip_prefix("bursar_transitions_total{to=\"")?;
        let (to, count) = rest.split_once("\"} ")?;
        let terminal =
            to.parse::<bursar_domain::lifecycle::Status>().is_ok_and(|status| status.is_terminal());
        terminal.then(|| count.parse().ok())?
    };
    Ok(text.lines().filter_map(of).sum())
}

/// Node calls in a block when there is nothing to do.
async fn idle(stage: &Stage, window: Duration) -> anyhow::Result<BTreeMap<String, f64>> {
    let anvil = &stage.environment.nodes.anvil;
    let (before, height) = (stage.proxy.calls(), anvil.height().await?);
    tokio::time::sleep(window).await;
    let blocks = anvil.height().await?.saturating_sub(height).max(1);
    Ok(shares(&difference(&stage.proxy.calls(), &before), blocks as f64))
}

fn difference(after: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
    let since = |(method, count): (&String, &usize)| {
        let more = count - before.get(method).copied().unwrap_or(0);
        (more > 0).then(|| (method.clone(), more))
    };
    after.iter().filter_map(since).collect()
}
