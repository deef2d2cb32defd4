//! One wallet, one chain, and the levers that tests pull.

use super::{chain::FakeChain, signer::FakeSigner};
use crate::shared::{
    adapter::MemoryAdapter,
    basics::{CounterIds, MachineClock, Time},
    desk::Desk,
    payload::{Payload, Signed},
};
use bursar_domain::{
    effects::Resource,
    ids::{AddressId, TransferId},
    lifecycle::{Fact, Status, SubStatus, Transfer},
    network::Network,
    package::SigningPackage,
    time::Clock as _,
    wallet::WalletDescriptor,
};
use bursar_store::{
    Store, events, reservations,
    transactions::{self, Ended, TransactionRecord},
    transfers::{self, Saved},
};
use bursar_workers::{
    ChainPorts, Context, Replacement, Settings,
    engine::{self, MoveError, Next, Progress, StepError},
    follower, frozen,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub const ETHEREUM: &str = "ethereum:31337/ethereum/0";
pub const XRP: &str = "xrp:63456/xrp-ed25519/0";

/// Blocks until final, the one that holds it included.
pub const DEPTH: u64 = 3;

pub struct World {
    pub context: Context,
    pub chain: Arc<FakeChain>,
    pub adapter: Arc<MemoryAdapter>,
    pub signer: Arc<FakeSigner>,
    pub clock: Arc<MachineClock>,
    pub network: Network,
    pub desk: Desk,
    pub account: String,
}

impl World {
    pub async fn ethereum() -> Self {
        Self::new(ETHEREUM).await
    }

    pub async fn new(descriptor: &str) -> Self {
        let descriptor: WalletDescriptor = descriptor.parse().unwrap();
        let network = descriptor.network;
        let (clock, ids) = (Arc::new(MachineClock::new(Arc::new(Time::new()))), CounterIds::new());
        let chain = Arc::new(FakeChain::new(network, DEPTH, "genesis"));
        let adapter = Arc::new(MemoryAdapter::default());
        let signer = Arc::new(FakeSigner::new());
        let store = Store::open("sqlite::memory:").await.unwrap();
        let desk = Desk::open(&store, descriptor, &ids).await;
        let account = desk.account.clone();
        let context = Context {
            store,
            chains: Arc::default(),
            signer: signer.clone(),
            clock: clock.clone(),
            ids: Arc::new(ids),
            governance: None,
            screening: None,
            travel_rule: None,
            settings: Settings {
                queue_poll: Duration::from_millis(5),
                sweep: Duration::from_millis(5),
                // The clock of these tests jumps; no lease may end by that.
                lease: Duration::from_secs(1_000_000),
                ..Settings::default()
            },
        };
        let world = Self { context, chain: chain.clone(), adapter, signer, clock, network, desk, account };
        let world = world.with_node(chain);
        world.follow().await;
        world
    }

    /// The same world seen through another node.
    pub fn with_node(mut self, node: Arc<FakeChain>) -> Self {
        let poll = Duration::from_millis(5);
        let ports = ChainPorts::new(self.adapter.clone(), node, None, poll, BTreeSet::new());
        // Where it is not what is tested, the clock's jumps must not make anything look stuck.
        let policy = Replacement { automatic: false, ..Replacement::of(self.network.chain()) };
        let ports = ports.with_replacement(policy);
        self.context.chains = Arc::new(BTreeMap::from([(self.network, ports)]));
        self
    }

    pub fn store(&self) -> &Store {
        &self.context.store
    }

    /// Changes what is done about transactions that no block takes.
    pub fn policy(&mut self, change: impl FnOnce(&mut Replacement)) {
        let ports = Arc::make_mut(&mut self.context.chains).get_mut(&self.network).unwrap();
        change(&mut ports.replacement);
    }

    /// A transfer to a destination of its own, named after it.
    pub async fn submit(&self, name: &str) -> TransferId {
        self.submit_batch(name, &[name]).await
    }

    pub async fn submit_batch(&self, name: &str, to: &[&str]) -> TransferId {
        let payments: Vec<_> = to.iter().map(|to| ((*to).to_owned(), 1000)).collect();
        let (id, now) = (TransferId::new(self.context.ids.uuid()), self.clock.now());
        let expires_at = now.plus(Duration::from_secs(100_000));
        self.desk.submit(self.store(), id, name, &payments, expires_at, now).await;
        id
    }

    /// One more account of ours, whose money is no transfer's: the wallet's address at `index`.
    pub async fn another_account(&self, index: u32) -> String {
        self.desk.address(self.store(), AddressId::new(self.context.ids.uuid()), index).await
    }

    /// A transfer from an account of its own: the wallet's address at `index`, which is made for it.
    pub async fn submit_from(&self, name: &str, index: u32) -> TransferId {
        let source = self.another_account(index).await;
        let (id, now) = (TransferId::new(self.context.ids.uuid()), self.clock.now());
        let expires_at = now.plus(Duration::from_secs(100_000));
        let payments = [(name.to_owned(), 1000)];
        self.desk.submit_from(self.store(), id, name, &payments, Some(source), expires_at, now).await;
        id
    }

    pub async fn transfer(&self, id: TransferId) -> Transfer {
        transfers::get(self.store(), id).await.unwrap().unwrap()
    }
    pub async fn status(&self, id: TransferId) -> (Status, Option<SubStatus>) {
        let transfer = self.transfer(id).await;
        (transfer.status(), transfer.sub_status)
    }
    pub async fn look(&self, id: TransferId) -> Result<Next, StepError> {
        engine::look_at(&self.context, id).await
    }
    pub async fn follow(&self) {
        let ports = self.context.chain(self.network).unwrap();
        follower::catch_up(&self.context, self.network, ports, &CancellationToken::new()).await.unwrap();
    }
    pub async fn mine(&self) {
        self.chain.mine();
        self.follow().await;
    }
    /// Past every pause.
    pub fn later(&self) {
        self.clock.advance(Duration::from_secs(121));
    }

    /// Single steps until the transfer has this status.
    pub async fn until(&self, id: TransferId, status: Status) -> Transfer {
        let transfer = self.transfer(id).await;
        if transfer.status() == status {
            return transfer;
        }
        let passed = Fact::ScreeningPassed { sub_status: None };
        match status {
            // Nobody stays in these: they are passed within one commit. A database of an earlier version may have them.
            Status::PendingScreening => self.put(transfer, [Fact::ScreeningStarted]).await,
            Status::PendingAuthorization => self.put(transfer, [Fact::ScreeningStarted, passed]).await,
            Status::Signed => self.sign_without_sending(id).await,
            // Nor in this one, if the co-signers can be asked at once.
            Status::PendingSignature => self.step_until_frozen(id).await,
            _ => self.step_until(id, status).await,
        }
    }

    /// As if this had happened.
    pub async fn put<const N: usize>(&self, mut transfer: Transfer, facts: [Fact; N]) -> Transfer {
        let mut tx = self.store().write().await.unwrap();
        for fact in facts {
            let moved = transfer.apply(fact, self.clock.now()).unwrap();
            assert_eq!(transfers::save(&mut tx, &moved).await.unwrap(), Saved::Applied);
            transfer = moved.transfer;
        }
        tx.commit().await.unwrap();
        transfer
    }

    async fn sign_without_sending(&self, id: TransferId) -> Transfer {
        let transfer = self.step_until_frozen(id).await;
        let record = transactions::of_transfer(self.store(), id).await.unwrap().pop().unwrap();
        let key = self.context.group_key(record.unsigned.wallet.scheme()).await.unwrap().unwrap();
        let adapter = &self.context.chain(self.network).unwrap().adapter;
        let payloads = adapter.signing_payloads(&record.unsigned, &key).unwrap();
        let mut tx = self.store().write().await.unwrap();
        transactions::start_signing(&mut tx, record.id, self.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        let transfer = self.put(transfer, [Fact::SigningStarted]).await;
        let package = SigningPackage {
            transfer: id,
            transaction: record.id,
            intent: transfer.intent.clone(),
            recalls: vec![],
            purpose: record.purpose.clone(),
            unsigned: record.unsigned.clone(),
            authorization: None,
        };
        let signatures = self.context.signer.sign(&package, &payloads).await.unwrap();
        let signed = adapter.assemble(&record.unsigned, &key, &signatures).unwrap();
        let mut tx = self.store().write().await.unwrap();
        transactions::store_signed(&mut tx, record.id, &signed, self.clock.now()).await.unwrap();
        tx.commit().await.unwrap();
        self.put(transfer, [Fact::Signed]).await
    }

    /// With a package that nobody was asked to sign.
    async fn step_until_frozen(&self, id: TransferId) -> Transfer {
        let online = self.signer.online.swap(1, Ordering::SeqCst);
        let transfer = self.step_until(id, Status::PendingSignature).await;
        self.signer.online.store(online, Ordering::SeqCst);
        transfer
    }

    async fn step_until(&self, id: TransferId, status: Status) -> Transfer {
        for _ in 0..40 {
            let transfer = self.transfer(id).await;
            if transfer.status() == status {
                return transfer;
            }
            match engine::run_step(&self.context, transfer).await.unwrap() {
                Progress::Moved => {}
                Progress::Wait(_) => self.later(),
                Progress::Rest => {}
            }
            if self.status(id).await.0 >= Status::Broadcasting && status > Status::Broadcasting {
                self.mine().await;
            }
        }
        panic!("{status} not reached: {:?}", self.transfer(id).await);
    }

    /// What the engine, blocks and time make of it, until it ends.
    pub async fn finish(&self, id: TransferId) -> Transfer {
        let mut error = None;
        for _ in 0..60 {
            error = self.look(id).await.err();
            let transfer = self.transfer(id).await;
            if transfer.status().is_terminal() {
                return transfer;
            }
            self.mine().await;
            self.later();
        }
        panic!("does not end: {:?}, last error {error:?}", self.transfer(id).await);
    }

    /// The three rules, for a transfer that was completed.
    pub async fn assert_paid_once(&self, id: TransferId) {
        let transfer = self.finish(id).await;
        assert_eq!(transfer.status(), Status::Completed, "{transfer:?}");
        let to = &transfer.intent.intent.payments[0].destination.address;
        assert_eq!(self.chain.paid(to), 1, "{transfer:?}");
        assert_eq!(self.signer.asked_for(id).len(), 1, "a signature may exist for two transactions");
        let records = transactions::of_transfer(self.store(), id).await.unwrap();
        let signed: Vec<_> = records.iter().filter_map(|record| record.signed.as_ref()).collect();
        assert_eq!(signed.len(), 1, "{records:?}");
        for handed in self.handed_for(to) {
            assert_eq!(handed, signed[0].bytes, "a node was handed other bytes than those that are kept");
        }
    }

    /// The rules for a transfer of which several transactions may have been made: it ends so, what a block holds is one of them,
    /// the others have ended with a proof, any two exclude each other, and no bytes left us that are not kept.
    pub async fn assert_ended(&self, id: TransferId, status: Status) -> Vec<TransactionRecord> {
        let transfer = self.finish(id).await;
        assert_eq!(transfer.status(), status, "{transfer:?}");
        self.assert_at_most_one(id).await
    }

    /// As [`assert_ended`](Self::assert_ended), whichever of its transactions won.
    pub async fn assert_at_most_one(&self, id: TransferId) -> Vec<TransactionRecord> {
        let transfer = self.finish(id).await;
        let records = transactions::of_transfer(self.store(), id).await.unwrap();
        let made = || {
            let own = records.iter().filter(|record| !record.is_child());
            own.filter(|record| record.ended != Some(Ended::Released))
        };
        let final_ones: Vec<_> = made().filter(|record| record.finalized_at.is_some()).collect();
        assert_eq!(final_ones.len(), 1, "{records:?}");
        assert_eq!(transfer.state.transaction(), Some(final_ones[0].id));
        for one in made() {
            let superseded = matches!(one.ended, Some(Ended::Superseded { .. }));
            assert_eq!(superseded, one.id != final_ones[0].id, "{one:?}");
            for other in made() {
                assert!(one.claim().shared(&other.claim()).is_some(), "{one:?} {other:?}");
            }
        }
        for payment in transfer.remaining().unwrap().payments {
            let paid = self.chain.paid(&payment.destination.address);
            let expected = matches!(transfer.status(), Status::Completed | Status::Failed);
            assert_eq!(paid, usize::from(expected), "{transfer:?}");
        }
        for asked in self.signer.asked_for(id) {
            assert!(records.iter().any(|record| record.unsigned.bytes == asked), "signed and not kept");
        }
        let kept = |bytes: &Vec<u8>| {
            records.iter().any(|record| record.signed.as_ref().is_some_and(|signed| signed.bytes == *bytes))
        };
        for handed in self.chain.handed() {
            let signed: Signed = serde_json::from_slice(&handed).unwrap();
            let same = signed.payload.number().1 == number(&final_ones[0].unsigned.bytes);
            assert!(!same || kept(&handed), "handed over and not kept");
        }
        records
    }

    pub fn handed_for(&self, to: &str) -> Vec<Vec<u8>> {
        let pays = |bytes: &Vec<u8>| {
            let signed: Signed = serde_json::from_slice(bytes).unwrap();
            signed.payload.pays(to)
        };
        self.chain.handed().into_iter().filter(pays).collect()
    }

    /// All that a step could have changed.
    pub async fn snapshot(&self, id: TransferId) -> Snapshot {
        Snapshot {
            transfer: self.transfer(id).await,
            events: events::last(self.store()).await.unwrap(),
            records: transactions::of_transfer(self.store(), id).await.unwrap(),
            taken: self.taken().await,
            sessions: self.signer.sessions(),
        }
    }

    /// Reserved and used numbers of the account.
    pub async fn taken(&self) -> BTreeSet<u64> {
        reservations::taken(self.store(), self.network, &self.account).await.unwrap()
    }
    pub fn resource(&self, number: u64) -> Resource {
        Resource::Nonce { account: self.account.clone(), nonce: number }
    }

    /// As the API does it.
    pub async fn abort(&self, id: TransferId) -> Result<(), MoveError> {
        frozen::abort(&self.context, self.transfer(id).await).await.map(|_| ())
    }
}

fn number(unsigned: &[u8]) -> u64 {
    serde_json::from_slice::<Payload>(unsigned).unwrap().number().1
}

#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub transfer: Transfer,
    pub events: i64,
    pub records: Vec<transactions::TransactionRecord>,
    pub taken: BTreeSet<u64>,
    pub sessions: usize,
}
