//! What falls, in an order that the seed fixes.

use super::{Database, Proxies};
use crate::environment::{Environment, XRP_NETWORK_ID};
use anyhow::Context as _;
use bursar_regtest::{
    Anvil, AnvilOptions, Bitcoind, Fault, Mining, Process, Rule, StartOptions, XrpLedger, XrpLedgerOptions,
};
use rand::{Rng as _, rngs::StdRng, seq::SliceRandom as _};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Configuration of the second machine, in the orchestrator's folder.
pub const SECOND: &str = "second.toml";

/// What can be killed or stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Orchestrator,
    /// A second machine on the same Postgres.
    Worker,
    Cosigner(usize),
    Bitcoind,
    Anvil,
    Xrpl,
    Postgres,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Dead,
    Stopped,
}

/// Who is away, and until when.
struct Away {
    target: Target,
    condition: Condition,
    until: Instant,
}

/// How often each kind of blow fell. What was started here and goes on working ends with it.
pub struct Fallen {
    pub tally: BTreeMap<&'static str, u32>,
    _worker: Option<Process>,
}

pub struct Blows<'a> {
    environment: &'a mut Environment,
    proxies: &'a Proxies,
    database: Option<&'a mut Database>,
    worker: Option<Process>,
    rng: StdRng,
    away: Vec<Away>,
    tally: BTreeMap<&'static str, u32>,
    say: fn(&str),
    started: Instant,
}

impl<'a> Blows<'a> {
    pub fn new(
        environment: &'a mut Environment,
        proxies: &'a Proxies,
        database: Option<&'a mut Database>,
        rng: StdRng,
        say: fn(&str),
    ) -> Self {
        let (away, tally, started) = (Vec::new(), BTreeMap::new(), Instant::now());
        Self { environment, proxies, database, worker: None, rng, away, tally, say, started }
    }

    /// Lets blows fall for so long, then brings everything back.
    pub async fn fall(mut self, duration: Duration) -> anyhow::Result<Fallen> {
        if self.database.is_some() {
            self.start(Target::Worker).await?;
        }
        let end = Instant::now() + duration;
        while Instant::now() < end {
            let pause = Duration::from_millis(self.rng.gen_range(80..700));
            tokio::time::sleep(pause).await;
            self.bring_back(Instant::now()).await?;
            self.strike().await?;
        }
        for proxy in self.proxies.all() {
            proxy.clear();
        }
        let far = Instant::now() + Duration::from_secs(3600);
        self.bring_back(far).await?;
        self.environment.orchestrator.wait_ready().await?;
        Ok(Fallen { tally: self.tally, _worker: self.worker })
    }

    async fn strike(&mut self) -> anyhow::Result<()> {
        match self.rng.gen_range(0..100) {
            0..20 => self.kill(Target::Orchestrator).await,
            20..32 => {
                let party = self.rng.gen_range(0..self.environment.cosigners.count());
                self.kill(Target::Cosigner(party)).await
            }
            32..42 => {
                let node = *[Target::Bitcoind, Target::Anvil, Target::Xrpl]
                    .choose(&mut self.rng)
                    .expect("three nodes to choose from");
                self.kill(node).await
            }
            42..45 if self.database.is_some() => self.kill(Target::Postgres).await,
            45..49 if self.database.is_some() => self.kill(Target::Worker).await,
            42..54 => {
                let party = self.rng.gen_range(0..self.environment.cosigners.count());
                let target =
                    if self.rng.gen_bool(0.5) { Target::Orchestrator } else { Target::Cosigner(party) };
                self.pause(target)
            }
            54..86 => {
                self.tamper();
                Ok(())
            }
            86..94 => self.reorganise_bitcoin().await,
            _ => self.reorganise_ethereum().await,
        }
    }

    fn is_away(&self, target: Target) -> bool {
        self.away.iter().any(|away| away.target == target)
    }

    fn count(&mut self, what: &'static str, detail: &str) {
        *self.tally.entry(what).or_default() += 1;
        (self.say)(&format!("  {:>7.2} s  {what} {detail}", self.started.elapsed().as_secs_f64()));
    }

    fn gone(&mut self, target: Target, condition: Condition) {
        let until = Instant::now() + Duration::from_millis(self.rng.gen_range(50..2_500));
        self.away.push(Away { target, condition, until });
    }

    /// SIGKILL.
    async fn kill(&mut self, target: Target) -> anyhow::Result<()> {
        if self.is_away(target) {
            return Ok(());
        }
        match target {
            Target::Orchestrator => self.environment.orchestrator.kill9()?,
            Target::Worker => match &mut self.worker {
                Some(worker) => drop(worker.kill9()?),
                None => return Ok(()),
            },
            Target::Cosigner(party) => self.environment.cosigners.kill9(party)?,
            Target::Bitcoind => {
                // Bitcoin Core writes its chain about once an hour, and here nobody else has it: without this, a kill would take
                // back the deposits too.
                self.environment.nodes.bitcoind.checkpoint().await?;
                self.environment.nodes.bitcoind.process().kill9()?;
            }
            Target::Anvil => {
                self.environment.nodes.anvil.process().kill9()?;
            }
            Target::Xrpl => {
                self.environment.nodes.xrpl.process().kill9()?;
            }
            Target::Postgres => {
                let Some(database) = self.database.as_mut() else { return Ok(()) };
                database.server.process().kill9()?;
            }
        }
        self.count("kill", &format!("{target:?}"));
        self.gone(target, Condition::Dead);
        Ok(())
    }

    /// SIGSTOP: it holds its connections and its leases, and does nothing.
    fn pause(&mut self, target: Target) -> anyhow::Result<()> {
        if self.is_away(target) {
            return Ok(());
        }
        match target {
            Target::Orchestrator => self.environment.orchestrator.pause()?,
            Target::Worker => match &self.worker {
                Some(worker) => worker.pause()?,
                None => return Ok(()),
            },
            Target::Cosigner(party) => match self.environment.cosigners.process(party) {
                Some(process) => process.pause()?,
                None => return Ok(()),
            },
            Target::Bitcoind | Target::Anvil | Target::Xrpl | Target::Postgres => return Ok(()),
        }
        self.count("pause", &format!("{target:?}"));
        self.gone(target, Condition::Stopped);
        Ok(())
    }

    /// Starts or resumes those whose time is over by `now`.
    async fn bring_back(&mut self, now: Instant) -> anyhow::Result<()> {
        let (due, away): (Vec<Away>, Vec<Away>) =
            std::mem::take(&mut self.away).into_iter().partition(|away| away.until <= now);
        self.away = away;

        if !self.is_away(Target::Orchestrator)
            && due.iter().all(|away| away.target != Target::Orchestrator)
            && self.environment.orchestrator.has_ended()
        {
            self.count("ended by itself", "Orchestrator");
            self.environment.orchestrator.launch()?;
        }
        if !self.is_away(Target::Worker)
            && due.iter().all(|away| away.target != Target::Worker)
            && self.worker.as_mut().is_some_and(|worker| worker.exited().is_some())
        {
            self.count("ended by itself", "Worker");
            self.start(Target::Worker).await?;
        }
        // Databases and nodes first, which the others need to start.
        for last in [false, true] {
            for away in
                due.iter().filter(|away| matches!(away.target, Target::Orchestrator | Target::Worker) == last)
            {
                let back = match away.condition {
                    Condition::Dead => self.start(away.target).await,
                    Condition::Stopped => self.resume(away.target),
                };
                back.with_context(|| format!("bringing {:?} back", away.target))?;
            }
        }
        Ok(())
    }

    async fn start(&mut self, target: Target) -> anyhow::Result<()> {
        let Environment { options, nodes, orchestrator, cosigners, .. } = &mut *self.environment;
        let dir = options.dir.join("nodes");
        match target {
            // Whether its database is there or not: an orchestrator that gives up is started again by its keeper.
            Target::Orchestrator => orchestrator.launch()?,
            Target::Worker => self.worker = Some(orchestrator.also("worker", SECOND, "second.log")?),
            Target::Cosigner(party) => cosigners.start_one(party)?,
            Target::Bitcoind => {
                let options = StartOptions::new(dir.join("bitcoind")).with_port(nodes.bitcoind.port());
                nodes.bitcoind = Bitcoind::start(options).await?;
            }
            Target::Anvil => {
                let mining = options.ethereum_block_seconds.map_or(Mining::Manual, Mining::Interval);
                let options = AnvilOptions::new(dir.join("anvil")).with_mining(mining);
                nodes.anvil = Anvil::start(options.with_port(nodes.anvil.port())).await?;
            }
            Target::Xrpl => {
                let mut ledger = XrpLedgerOptions::new(dir.join("xrpl")).with_port(nodes.xrpl.port());
                ledger.network_id = XRP_NETWORK_ID;
                ledger.close_interval = options.xrp_close;
                nodes.xrpl = XrpLedger::start(ledger).await?;
            }
            Target::Postgres => {
                if let Some(database) = self.database.as_mut() {
                    database.restart().await?;
                }
            }
        }
        Ok(())
    }

    fn resume(&mut self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::Orchestrator => self.environment.orchestrator.resume(),
            Target::Worker => self.worker.as_ref().map_or(Ok(()), |worker| Ok(worker.resume()?)),
            Target::Cosigner(party) => match self.environment.cosigners.process(party) {
                Some(process) => Ok(process.resume()?),
                None => Ok(()),
            },
            Target::Bitcoind | Target::Anvil | Target::Xrpl | Target::Postgres => Ok(()),
        }
    }

    /// A few of the next replies of one node are lost, late, doubled or cut; of all calls or of those that broadcast.
    fn tamper(&mut self) {
        let rng = &mut self.rng;
        let (name, broadcast, proxy) = match rng.gen_range(0..3) {
            0 => ("bitcoind", "sendrawtransaction", &self.proxies.bitcoin),
            1 => ("anvil", "eth_sendRawTransaction", &self.proxies.ethereum),
            _ => ("rippled", "submit", &self.proxies.xrp),
        };
        let fault = match rng.gen_range(0..6) {
            0 => Fault::DropReply,
            1 => Fault::Duplicate,
            2 => Fault::Refuse,
            3 => Fault::Status(503),
            4 => Fault::Truncate(rng.gen_range(0..300)),
            _ => Fault::Delay(Duration::from_millis(rng.gen_range(100..3_000))),
        };
        let rule = Rule::new(fault.clone()).times(rng.gen_range(1..5));
        let detail = if rng.gen_bool(0.5) {
            proxy.add(rule.method(broadcast));
            format!("{name} {broadcast}: {fault:?}")
        } else {
            proxy.add(rule);
            format!("{name}: {fault:?}")
        };
        self.count("tamper", &detail);
    }

    /// One to three blocks: two are final here, so that what was completed opens again at times.
    async fn reorganise_bitcoin(&mut self) -> anyhow::Result<()> {
        let depth = self.rng.gen_range(1..=3);
        if self.is_away(Target::Bitcoind) {
            return Ok(());
        }
        // The miner may make a block between the two calls of it; then there was none.
        if self.environment.nodes.bitcoind.reorg(depth).await.is_ok() {
            self.count("reorganise", &format!("bitcoin, {depth} blocks"));
        }
        Ok(())
    }

    async fn reorganise_ethereum(&mut self) -> anyhow::Result<()> {
        let depth = self.rng.gen_range(1..=3);
        if self.is_away(Target::Anvil) {
            return Ok(());
        }
        if self.environment.nodes.anvil.reorg(depth).await.is_ok() {
            self.count("reorganise", &format!("ethereum, {depth} blocks"));
        }
        Ok(())
    }
}
