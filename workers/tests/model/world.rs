//! Two processes over one store and one chain, and whatever may happen to them.

use super::{
    action::{ACTORS, Action, DESK, FOLLOWERS, WORKERS, Wish},
    actor::{Actor, Point},
    ledger::Ledger,
    node::{Faults, ModelNode},
    rules::{self, Past, Violation},
    sabotage::{self, Sabotage},
    signer::{ModelSigner, Produced},
};
use crate::shared::{
    adapter::MemoryAdapter,
    basics::{CounterIds, MachineClock, Time, lock},
    desk::{self, Desk, INITIATOR},
};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{Status, Transfer, Verb},
    network::{Chain, Network},
    wallet::WalletDescriptor,
};
use bursar_store::{
    Store, StoreError, events, halts,
    jobs::{self, Outcome},
    transactions, transfers,
};
use bursar_workers::{
    ChainPorts, Context, Settings,
    context::Replacement,
    engine::{self, Next},
    follower, frozen, reconciler, requests,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Transfers there are at most, and recipients of each of those at the start.
const MOST: usize = 4;
/// Orders to fill a nonce beside them; one more when all is over.
const FILLERS: usize = 2;
const MOST_AT_ALL: usize = MOST + FILLERS + 1;
const FIRST: [usize; 2] = [1, 3];
/// A node has this fee rate again when all is well.
const FEE: u64 = 10;

pub struct Process {
    pub context: Context,
    clock: Arc<MachineClock>,
}

pub struct World {
    pub chain: Chain,
    pub processes: [Process; 2],
    pub ledger: Arc<Mutex<Ledger>>,
    pub faults: Arc<Faults>,
    pub signer: Arc<ModelSigner>,
    pub time: Arc<Time>,
    pub transfers: Vec<TransferId>,
    /// How many of them fill a nonce.
    fillers: usize,
    /// How often somebody asked for another transaction of a transfer.
    pub asked: BTreeMap<TransferId, usize>,
    /// The queue has forgotten what it was to do, and nobody has swept since.
    pub jobs_lost: bool,
    pub past: Past,
    /// What is to go wrong that never should, as soon as it can.
    pub sabotage: Option<Sabotage>,
    pub desk: Desk,
    actors: [Actor; ACTORS],
    /// What happened, for the report.
    pub log: Vec<String>,
    _folder: tempfile::TempDir,
}

fn descriptor(chain: Chain) -> WalletDescriptor {
    let text = match chain {
        Chain::Bitcoin => "bitcoin:regtest/p2tr/0",
        Chain::Ethereum => "ethereum:31337/ethereum/0",
        Chain::Xrp => "xrp:63456/xrp-ed25519/0",
    };
    text.parse().unwrap()
}

impl World {
    pub async fn new(chain: Chain) -> Self {
        let descriptor = descriptor(chain);
        let network = descriptor.network;
        let (time, ids) = (Arc::new(Time::new()), CounterIds::new());
        let ledger = Arc::new(Mutex::new(Ledger::new(chain)));
        let faults = Arc::new(Faults::default());
        faults.fee.store(FEE, SeqCst);
        let signer = Arc::new(ModelSigner::new(time.clone()));
        // What is durable is not what is modelled here: where there is memory for it, the disk is spared.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let store = Store::open(&format!("sqlite://{}/model.db", folder.path().display())).await.unwrap();
        let desk = Desk::open(&store, descriptor, &ids).await;
        let ids = Arc::new(ids);
        let process = || {
            let clock = Arc::new(MachineClock::new(time.clone()));
            let node = ModelNode { network, ledger: ledger.clone(), faults: faults.clone() };
            let poll = Duration::from_secs(10);
            let ports = ChainPorts::new(
                Arc::new(MemoryAdapter::default()),
                Arc::new(node),
                None,
                poll,
                BTreeSet::new(),
            );
            let ports = ports.with_replacement(Replacement {
                stuck_after: Duration::from_secs(120),
                ..Replacement::of(chain)
            });
            let context = Context {
                store: store.clone(),
                chains: Arc::new(BTreeMap::from([(network, ports)])),
                signer: signer.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                governance: None,
                screening: None,
                travel_rule: None,
                settings: Settings::default(),
            };
            Process { context, clock }
        };
        let processes = [process(), process()];
        let mut world = Self {
            chain,
            processes,
            ledger,
            faults,
            signer,
            time,
            transfers: vec![],
            fillers: 0,
            asked: BTreeMap::new(),
            jobs_lost: false,
            past: Past::default(),
            sabotage: None,
            desk,
            actors: Default::default(),
            log: vec![],
            _folder: folder,
        };
        world.follow().await;
        for value in [2500, 900, 4000] {
            lock(&world.ledger).endow(&world.desk.account, value);
        }
        world.follow().await;
        for payments in FIRST {
            world.submit(100_000, payments).await;
        }
        world
    }

    pub fn context(&self) -> &Context {
        &self.processes[0].context
    }
    pub fn store(&self) -> &Store {
        &self.processes[0].context.store
    }
    pub async fn transfer(&self, id: TransferId) -> Transfer {
        transfers::get(self.store(), id).await.unwrap().unwrap()
    }
    pub async fn follow(&self) {
        walk(self.context().clone()).await;
    }

    /// Each payment goes to a destination of its own.
    async fn submit(&mut self, lifetime: u64, payments: usize) {
        let name = format!("order-{}", self.transfers.len());
        let payments: Vec<_> =
            (0..payments).map(|index| (format!("{name}-{index}"), 1000 / payments as u64)).collect();
        let (id, now) = (TransferId::new(self.context().ids.uuid()), self.time.now());
        self.transfers.push(id);
        let expires_at = now.plus(Duration::from_secs(lifetime));
        self.desk.submit(self.store(), id, &name, &payments, expires_at, now).await;
    }

    async fn order_to_fill(&mut self, lifetime: u64, nonce: u64) {
        let name = format!("order-{}", self.transfers.len());
        let (id, now) = (TransferId::new(self.context().ids.uuid()), self.time.now());
        self.transfers.push(id);
        self.fillers += 1;
        let expires_at = now.plus(Duration::from_secs(lifetime));
        self.desk.submit_fill(self.store(), id, &name, nonce, expires_at, now).await;
    }

    /// Does it, and holds the rules against everything that it passed through.
    pub async fn perform(&mut self, action: &Action) -> Result<(), Violation> {
        self.log.push(format!("{action:?}"));
        match *action {
            Action::Run { actor, points } => {
                if self.actors[actor].is_idle() {
                    self.begin(actor);
                }
                return self.run(actor, points).await;
            }
            Action::Look { worker, transfer, points } => {
                let id = self.transfers[transfer % self.transfers.len()];
                if self.actors[worker].is_idle() {
                    let context = self.processes[worker].context.clone();
                    self.actors[worker]
                        .begin("look", async move { say(engine::look_at(&context, id).await) });
                }
                return self.run(worker, points).await;
            }
            Action::Crash { actor } => {
                if let Some(what) = self.actors[actor].crash() {
                    self.log.push(format!("    {what} died"));
                }
            }
            Action::Ask { transfer, wish, points } => {
                let id = self.transfers[transfer % self.transfers.len()];
                if self.actors[DESK].is_idle() {
                    *self.asked.entry(id).or_default() += 1;
                    let context = self.context().clone();
                    self.actors[DESK].begin("request", ask(context, id, wish));
                }
                return self.run(DESK, points).await;
            }
            Action::Lift { points } => {
                if self.actors[DESK].is_idle() {
                    let context = self.context().clone();
                    self.actors[DESK].begin("lift", async move { say(lift(&context).await) });
                }
                return self.run(DESK, points).await;
            }
            Action::LoseJobs { points } => {
                if self.actors[DESK].is_idle() {
                    self.jobs_lost = true;
                    let context = self.context().clone();
                    self.actors[DESK].begin("loss", async move { say(lose_jobs(&context).await) });
                }
                return self.run(DESK, points).await;
            }
            Action::Submit { lifetime, payments } => {
                let busy = self.actors.iter().any(|actor| !actor.is_idle());
                // The one who submits waits for the database's writer, which may be held by somebody who is not running.
                if self.transfers.len() < MOST + self.fillers && !busy {
                    self.submit(lifetime.into(), payments).await;
                }
            }
            Action::Fill { lifetime, ahead } => {
                let healed = self.log.iter().any(|line| line == HEALED);
                if self.chain == Chain::Ethereum && (self.fillers < FILLERS || healed) {
                    // As above; here it dies.
                    self.crash_all();
                    let nonce = lock(&self.ledger).used(&self.desk.account) + ahead;
                    self.order_to_fill(lifetime.into(), nonce).await;
                }
            }
            Action::Mine { blocks, mask, fails } => {
                for block in 0..blocks {
                    lock(&self.ledger).mine(mask.rotate_right(u32::from(block) * 5), fails);
                }
            }
            Action::Reorganise { depth, kept, mask } => lock(&self.ledger).reorganise(depth, kept, mask),
            Action::Evict { mask } => {
                let mut bit = 0;
                lock(&self.ledger).pool.retain(|_| {
                    bit += 1;
                    mask >> (bit % 64) & 1 == 1
                });
            }
            Action::Publish { which, lost } => {
                let mut produced = self.signer.produced();
                if lost {
                    produced = self.lost(produced).await;
                }
                if let Some(chosen) = produced.get(which % produced.len().max(1)) {
                    lock(&self.ledger).publish(chosen.signed.clone());
                }
            }
            Action::Rob { choice } => lock(&self.ledger).rob(&self.desk.account, choice),
            Action::Fault(fault) => lock(&self.faults.next).push_back(fault),
            Action::Lag { blocks } => self.faults.lag.store(blocks, SeqCst),
            Action::Fee { fee } => self.faults.fee.store(fee, SeqCst),
            Action::Sessions { next } => lock(&self.signer.next).push_back(next),
            Action::Offline(offline) => self.signer.offline.store(offline, SeqCst),
            Action::Time { seconds } => self.time.shift(seconds),
            Action::Skew { process, seconds } => {
                self.processes[process].clock.wrong_by.store(seconds, SeqCst)
            }
        }
        self.check().await
    }

    async fn check(&mut self) -> Result<(), Violation> {
        if let Some(sabotage) = self.sabotage
            && sabotage::attempt(self, sabotage).await
        {
            self.sabotage = None;
            self.log.push(format!("    {sabotage:?}"));
        }
        rules::check(self).await
    }

    /// Those of which the store has no bytes.
    async fn lost(&self, produced: Vec<Produced>) -> Vec<Produced> {
        let mut lost = Vec::new();
        for one in produced {
            let records = transactions::of_transfer(self.store(), one.transfer).await.unwrap();
            let bytes = serde_json::to_vec(&one.signed).unwrap();
            let kept = records.iter().filter_map(|record| record.signed.as_ref());
            if kept.into_iter().all(|signed| signed.bytes != bytes) {
                lost.push(one);
            }
        }
        lost
    }

    /// Whatever is going on dies.
    pub fn crash_all(&mut self) {
        for actor in &mut self.actors {
            actor.crash();
        }
    }
    /// Until nobody is in the middle of anything.
    pub async fn rest(&mut self) {
        for _ in 0..1000 {
            let Some(actor) = (0..ACTORS).find(|actor| !self.actors[*actor].is_idle()) else { return };
            self.run(actor, 600).await.unwrap();
        }
        panic!("somebody never ends");
    }
    pub fn network(&self) -> Network {
        self.desk.wallet.descriptor.network
    }

    /// What an idle actor does by itself.
    fn begin(&mut self, actor: usize) {
        let context = self.processes[actor % 2].context.clone();
        if WORKERS.contains(&actor) {
            self.actors[actor].begin("job", work(context));
        } else if FOLLOWERS.contains(&actor) {
            self.actors[actor].begin("walk", walk(context));
        } else {
            self.actors[actor].begin("sweep", async move { say(reconciler::sweep(&context).await) });
        }
    }

    async fn run(&mut self, actor: usize, points: u32) -> Result<(), Violation> {
        for _ in 0..points {
            let before = self.mark().await;
            let point = self.actors[actor].point().await;
            if self.mark().await != before {
                self.check().await?;
            }
            match point {
                Point::Reached => {}
                Point::Blocked => break,
                Point::Idle => return Ok(()),
                Point::Ended(how) => {
                    if how.starts_with("sweep: ") && !how.contains("error") {
                        self.jobs_lost = false;
                    }
                    self.log.push(format!("    {how}"));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Changes whenever something happened that the rules are about.
    async fn mark(&self) -> (i64, usize, usize) {
        let events = events::last(self.store()).await.unwrap();
        (events, lock(&self.signer.produced).len(), lock(&self.ledger).pool.len())
    }

    /// Everyone dies, and everything works from now on.
    pub async fn heal(&mut self) {
        self.log.push(HEALED.into());
        self.crash_all();
        for process in &self.processes {
            process.clock.wrong_by.store(0, SeqCst);
        }
        lock(&self.faults.next).clear();
        lock(&self.signer.next).clear();
        self.faults.lag.store(0, SeqCst);
        self.faults.fee.store(FEE, SeqCst);
        self.signer.offline.store(false, SeqCst);
    }

    /// One round of what never ends: blocks, sweeps, jobs, time.
    pub async fn round(&mut self) {
        self.follow().await;
        lift(self.context()).await.unwrap();
        reconciler::sweep(self.context()).await.unwrap();
        self.jobs_lost = false;
        for _ in 0..3 * MOST_AT_ALL {
            let result = work(self.context().clone()).await;
            if result == IDLE {
                break;
            }
            self.log.push(format!("    job: {result}"));
        }
        lock(&self.ledger).mine(u64::MAX, 0);
        self.time.shift(65);
    }

    /// How the transfers stand.
    pub async fn ends(&self) -> Vec<Status> {
        let mut ends = Vec::new();
        for id in &self.transfers {
            ends.push(self.transfer(*id).await.status());
        }
        ends
    }

    /// The same of those that fill a nonce.
    pub async fn fillers_ends(&self) -> Vec<Status> {
        let mut ends = Vec::new();
        for id in &self.transfers {
            let transfer = self.transfer(*id).await;
            if transfer.intent.intent.fills.is_some() {
                ends.push(transfer.status());
            }
        }
        ends
    }

    pub async fn report(&self) -> String {
        let mut lines = self.log.clone();
        for id in &self.transfers {
            let transfer = self.transfer(*id).await;
            lines.push(format!("{id}: {:?} {:?} {:?}", transfer.state, transfer.sub_status, transfer.reason));
            for event in events::of_transfer(self.store(), *id).await.unwrap() {
                lines.push(format!("    {} {}", event.kind, event.payload));
            }
        }
        for produced in self.signer.produced() {
            lines.push(format!("signature: {produced:?}"));
        }
        let ledger = lock(&self.ledger).clone();
        for (height, mined) in ledger.mined() {
            lines.push(format!("in block {height}: {mined:?}"));
        }
        lines.push(format!("tip {}, pool {:?}", ledger.height(), ledger.pool));
        lines.join("\n")
    }
}

const IDLE: &str = "nothing is due";
const HEALED: &str = "everything works from now on";

async fn ask(context: Context, id: TransferId, wish: Wish) -> String {
    let transfer = match transfers::get(&context.store, id).await {
        Ok(Some(transfer)) => transfer,
        other => return format!("{other:?}"),
    };
    let asked = match wish {
        Wish::Abort => frozen::abort(&context, transfer).await,
        Wish::SpeedUp { percent } => {
            requests::replace(&context, transfer, Verb::SpeedUp { raise_percent: Some(percent) }).await
        }
        Wish::CancelOnChain => requests::replace(&context, transfer, Verb::Cancel).await,
        Wish::Recall { payment } => {
            let recall = desk::recall(&transfer, payment, INITIATOR);
            let asked = requests::recall(&context, transfer, recall).await;
            return format!("{wish:?}: {}", say(asked.map(|transfer| transfer.status())));
        }
    };
    format!("{wish:?}: {}", say(asked.map(|transfer| transfer.status())))
}

/// Whatever is not leased, due or not.
pub async fn lose_jobs(context: &Context) -> Result<usize, StoreError> {
    let much_later = context.now().plus(Duration::from_secs(1_000_000));
    let claims = jobs::claim(&context.store, much_later, Duration::from_secs(1), MOST_AT_ALL as u32).await?;
    for claim in &claims {
        jobs::settle(&context.store, claim, much_later, Outcome::Done).await?;
    }
    Ok(claims.len())
}

async fn lift(context: &Context) -> Result<(), StoreError> {
    let network = *context.chains.keys().next().unwrap();
    for halt in halts::standing(&context.store, network).await? {
        let mut tx = context.store.write().await?;
        halts::lift(&mut tx, halt.id, "a person", "looked at it", context.now()).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// As `bursar_workers::queue` does it: claims a job, looks, settles.
async fn work(context: Context) -> String {
    let claims = match jobs::claim(&context.store, context.now(), context.settings.lease, 1).await {
        Ok(claims) => claims,
        Err(error) => return error.to_string(),
    };
    let Some(claim) = claims.into_iter().next() else { return IDLE.into() };
    let result = engine::look_at(&context, claim.transfer).await;
    let now = context.now();
    let outcome = match &result {
        Ok(Next::Rest) => Outcome::Done,
        Ok(Next::LookAgain(pause)) => Outcome::Again(now.plus(*pause)),
        Ok(Next::LeaveToSigner) => Outcome::ForSigner,
        Err(error) => Outcome::Failed { at: now.plus(Duration::from_secs(1)), error: error.to_string() },
    };
    let settled = jobs::settle(&context.store, &claim, now, outcome).await;
    format!("{}, {}", say(result), say(settled))
}

async fn walk(context: Context) -> String {
    let (network, ports) = context.chains.iter().next().unwrap();
    say(follower::catch_up(&context, *network, ports, &CancellationToken::new()).await)
}

fn say<T: std::fmt::Debug, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("error: {error}"),
    }
}
