//! A group of co-signers with keys made in the test, and payments for them to sign.

use crate::network::{ecdsa_fixture, shares_of};
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo, XrpAccount, XrpDestination},
    amount::{Amount, Drops, Satoshi},
    asset::Asset,
    effects::{OutPoint, Resource},
    ids::{TransactionId, TransferId},
    intent::{Destination, InitiatorKey, Intent, Payment, SignedIntent},
    network::{BitcoinNetwork, Network},
    package::{Purpose, SignedTransaction, SigningPackage, UnsignedTransaction},
    ports::{BuildRequest, SignError, ThresholdSigner as _},
    signing::{GroupKey, PartyIndex, PartyRole, Scheme, SigningPayload},
    time::{Clock, Timestamp},
    wallet::{Branch, WalletDescriptor, WalletKind},
};
use bursar_signer::{
    adapters::by_chain,
    config::{Config, Peer, RelayAddress},
    confirm::{Confirm, Verifier},
    daemon::{self, Cosigner, Orders},
    governance::Governance,
    protocol::Share,
    rules::{AssetRule, Destinations, FeesWithoutPayment, Initiator, Rules},
    store::{RecordedRefusal, Store},
};
use bursar_signer_client::{
    Coordinator, Deadlines, Identity, PartyConfig, PublicIdentity, Relay, RelayConfig, RelayError, RelayTask,
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// Far above what anything here takes.
pub const LIMIT: Duration = Duration::from_secs(120);

pub const NOW: Timestamp = Timestamp::from_secs(1_763_000_000);
pub const BTC: Network = Network::Bitcoin(BitcoinNetwork::Regtest);
pub const XRP: Network = Network::Xrp(63_456);

pub const RELAY_SECRET: [u8; 32] = [99; 32];

pub struct FixedClock;
impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// Stands still until it is moved.
pub struct TestClock(AtomicI64);
impl TestClock {
    pub fn advance(&self, seconds: u64) {
        self.0.store(self.now().plus(Duration::from_secs(seconds)).0, Ordering::SeqCst);
    }
}
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub struct Daemon {
    pub cosigner: Arc<Cosigner>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub struct Group {
    pub coordinator: Coordinator,
    pub relay: Option<RelayTask>,
    pub relay_address: SocketAddr,
    pub relay_key: PublicIdentity,
    pub daemons: BTreeMap<u16, Daemon>,
    pub keys: BTreeMap<Scheme, GroupKey>,
    pub initiator: SigningKey,
    pub rules: Rules,
    /// For co-signers that are started from now on.
    pub confirm: Confirm,
    /// The time of all co-signers.
    pub clock: Arc<TestClock>,
    deadlines: Deadlines,
    threshold: u16,
    secrets: Vec<[u8; 32]>,
    shares: Vec<BTreeMap<Scheme, Arc<Share>>>,
    folder: tempfile::TempDir,
}

pub fn role(index: u16) -> PartyRole {
    match index {
        0 => PartyRole::Client,
        1 => PartyRole::WealthManager,
        _ => PartyRole::CustodyPlatform,
    }
}

fn party_secret(index: u16) -> [u8; 32] {
    [u8::try_from(index).unwrap() + 1; 32]
}

pub fn identity(secret: [u8; 32]) -> Identity {
    Identity::from_secret(Zeroizing::new(secret))
}

pub fn deadlines() -> Deadlines {
    Deadlines { answer: Duration::from_secs(30), session: Duration::from_secs(60), ..Deadlines::default() }
}

async fn relay(
    listen: SocketAddr,
    parties: u16,
    deadlines: Deadlines,
) -> Result<(Coordinator, RelayTask), RelayError> {
    let parties = (0..parties)
        .map(|index| PartyConfig {
            index: PartyIndex(index),
            name: format!("party {index}"),
            role: role(index),
            public_key: identity(party_secret(index)).public(),
        })
        .collect();
    let (identity, clock) = (identity(RELAY_SECRET), Arc::new(FixedClock));
    Relay::bind(RelayConfig { listen, identity, parties, deadlines, clock }).await
}

impl Group {
    /// A relay and `parties` co-signers with FROST keys, all linked.
    pub async fn new(threshold: u16, parties: u16) -> Self {
        Self::with(threshold, parties, false, deadlines(), |_| {}).await
    }

    pub async fn with(
        threshold: u16,
        parties: u16,
        ecdsa: bool,
        deadlines: Deadlines,
        change: impl FnOnce(&mut Rules),
    ) -> Self {
        let initiator = SigningKey::from_bytes(&[42; 32]);
        let mut shares = vec![BTreeMap::new(); usize::from(parties)];
        let mut keys = BTreeMap::new();
        let mut sets = vec![
            shares_of(Scheme::Bip340, threshold, parties).await,
            shares_of(Scheme::Ed25519, threshold, parties).await,
        ];
        if ecdsa {
            sets.push(ecdsa_fixture(threshold, parties));
        }
        for set in sets {
            keys.insert(set[0].scheme(), set[0].group_key());
            for (place, share) in set.into_iter().enumerate() {
                shares[place].insert(share.scheme(), share);
            }
        }
        let mut rules = rules(&initiator);
        change(&mut rules);
        let secrets: Vec<[u8; 32]> = (0..parties).map(party_secret).collect();
        let any = "127.0.0.1:0".parse().unwrap();
        let (coordinator, relay) = relay(any, parties, deadlines).await.unwrap();
        let mut group = Self {
            coordinator,
            relay_address: relay.local_addr(),
            relay: Some(relay),
            relay_key: identity(RELAY_SECRET).public(),
            deadlines,
            daemons: BTreeMap::new(),
            keys,
            initiator,
            rules,
            confirm: Confirm::None,
            clock: Arc::new(TestClock(AtomicI64::new(NOW.0))),
            threshold,
            secrets,
            shares,
            folder: tempfile::tempdir().unwrap(),
        };
        for index in 0..group.secrets.len() {
            group.start(u16::try_from(index).unwrap()).await;
        }
        group
    }

    /// What an orchestrator that was killed and started again does: the same address and key, and no memory.
    pub async fn restart_relay(&mut self) {
        self.relay.take().unwrap().shutdown().await;
        let parties = u16::try_from(self.secrets.len()).unwrap();
        let wait = async {
            loop {
                match relay(self.relay_address, parties, self.deadlines).await {
                    Ok(bound) => return bound,
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let (coordinator, task) = tokio::time::timeout(LIMIT, wait).await.expect("the port is free again");
        (self.coordinator, self.relay) = (coordinator, Some(task));
    }

    pub fn store_path(&self, index: u16) -> PathBuf {
        self.folder.path().join(format!("state-{index}.redb"))
    }

    /// Starts a co-signer and waits until the relay has it.
    pub async fn start(&mut self, index: u16) {
        self.start_unseen(index).await;
        self.wait_online(index, true).await;
    }

    pub async fn start_unseen(&mut self, index: u16) {
        let store = eventually("the store opens", || Store::create(&self.store_path(index)).ok()).await;
        let governance = self.rules.governance.map(|pinned| Governance::replay(pinned, &store).unwrap());
        let verifier = match &self.confirm {
            Confirm::Verifier { url, timeout, valid } => {
                Some(Verifier::new(url, *timeout, *valid, true).unwrap())
            }
            Confirm::None | Confirm::Person => None,
        };
        let cosigner = Arc::new(Cosigner {
            config: self.config(index),
            identity: Arc::new(identity(self.secrets[usize::from(index)])),
            rules: self.rules.clone(),
            shares: self.shares[usize::from(index)].clone(),
            governance,
            verifier,
            store,
            orders: Orders::default(),
            adapters: by_chain,
            clock: self.clock.clone(),
        });
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(daemon::run(cosigner.clone(), shutdown.clone()));
        self.daemons.insert(index, Daemon { cosigner, shutdown, task });
    }

    pub fn config(&self, index: u16) -> Config {
        Config {
            index: PartyIndex(index),
            name: format!("party {index}"),
            role: role(index),
            threshold: self.threshold,
            session_seconds: 60,
            confirm: self.confirm.clone(),
            relays: vec![RelayAddress {
                address: self.relay_address.to_string(),
                public_key: self.relay_key,
            }],
            peers: (0..)
                .zip(&self.secrets)
                .filter(|(peer, _)| *peer != index)
                .map(|(peer, secret)| Peer {
                    index: PartyIndex(peer),
                    name: format!("party {peer}"),
                    role: Some(role(peer)),
                    public_key: identity(*secret).public(),
                })
                .collect(),
        }
    }

    pub fn secret(&self, index: u16) -> [u8; 32] {
        self.secrets[usize::from(index)]
    }

    pub async fn stop(&mut self, index: u16) {
        let Daemon { cosigner, shutdown, task } = self.daemons.remove(&index).unwrap();
        shutdown.cancel();
        task.await.unwrap();
        drop(cosigner);
        self.wait_online(index, false).await;
    }

    pub async fn wait_online(&self, index: u16, online: bool) {
        eventually("a party's link changes", || {
            (self.coordinator.status()[usize::from(index)].online == online).then_some(())
        })
        .await;
    }

    pub fn payloads(&self, package: &SigningPackage) -> Vec<SigningPayload> {
        let wallet = package.unsigned.wallet;
        by_chain(wallet.network.chain())
            .signing_payloads(&package.unsigned, &self.keys[&wallet.kind.scheme()])
            .unwrap()
    }

    /// Has a package signed and the transaction put together, which verifies each signature once more.
    pub async fn sign(&self, package: &SigningPackage) -> Result<SignedTransaction, SignError> {
        let wallet = package.unsigned.wallet;
        let payloads = self.payloads(package);
        let signatures =
            tokio::time::timeout(LIMIT, self.coordinator.sign(package, &payloads)).await.unwrap()?;
        let key = &self.keys[&wallet.kind.scheme()];
        Ok(by_chain(wallet.network.chain()).assemble(&package.unsigned, key, &signatures).unwrap())
    }

    /// The newest refusal of a co-signer, from its own durable store.
    pub fn last_refusal(&self, index: u16) -> Option<RecordedRefusal> {
        self.daemons[&index].cosigner.store.refusals(1).unwrap().pop()
    }

    pub fn sessions_burnt(&self) -> Vec<u64> {
        self.daemons.values().map(|daemon| daemon.cosigner.store.sessions().unwrap()).collect()
    }

    pub fn sign_intent(&self, intent: Intent) -> SignedIntent {
        signed_by(&self.initiator, intent)
    }

    pub fn package(&self, payment: &Payments) -> SigningPackage {
        package(self.sign_intent(payment.intent.clone()), self.build(payment))
    }

    /// The unsigned transaction for exactly this intent.
    pub fn build(&self, payment: &Payments) -> UnsignedTransaction {
        let wallet = payment.intent.wallet;
        let network = wallet.network;
        by_chain(network.chain())
            .build(&BuildRequest {
                intent: &payment.intent,
                key: &self.keys[&wallet.kind.scheme()],
                state: &payment.state,
                source: (network != BTC).then(|| wallet.path(Branch::Receive, 0)),
                resource: payment.resource.as_ref(),
                change: (network == BTC).then(|| wallet.path(Branch::Change, 0)),
            })
            .unwrap()
    }

    /// XRP to another account, at a Sequence.
    pub fn xrp(&self, kind: WalletKind, amount: u64, sequence: u32) -> Payments {
        let wallet = WalletDescriptor::new(XRP, kind, 0).unwrap();
        let key = &self.keys[&kind.scheme()];
        let address = by_chain(XRP.chain()).address(&wallet, key, &wallet.path(Branch::Receive, 0)).unwrap();
        let state = XrpAccount {
            address: address.clone(),
            balance: Drops(1_000_000_000),
            sequence: 1,
            owner_count: 0,
            reserve_base: Drops(1_000_000),
            reserve_increment: Drops(200_000),
            fee: Drops(12),
            validated_ledger: 100,
            ledger_window: 20,
            destination: XrpDestination { exists: true, requires_tag: false, refuses_deposit: false },
        };
        let to = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
        Payments {
            intent: intent(wallet, Asset::Xrp, vec![(to.into(), Some(7), amount)], 100),
            state: AccountState::Xrp(state),
            resource: Some(Resource::Sequence { account: address, sequence }),
        }
    }

    /// BTC from outputs with these txids, taproot ones here, to other people.
    pub fn btc(&self, inputs: &[u8], amounts: &[u64]) -> Payments {
        self.btc_from(WalletKind::P2tr, inputs, amounts)
    }

    pub fn btc_from(&self, kind: WalletKind, inputs: &[u8], amounts: &[u64]) -> Payments {
        let wallet = WalletDescriptor::new(BTC, kind, 0).unwrap();
        let utxos = inputs
            .iter()
            .map(|byte| Utxo {
                outpoint: OutPoint { txid: [*byte; 32], vout: 0 },
                value: Satoshi(100_000),
                path: wallet.path(Branch::Receive, u32::from(*byte)),
            })
            .collect();
        let to = amounts.iter().enumerate().map(|(place, amount)| (stranger(place), None, *amount)).collect();
        Payments {
            intent: intent(wallet, Asset::Btc, to, 20_000),
            state: AccountState::Bitcoin(BitcoinAccount { fee_rate: Satoshi(2_000), utxos }),
            resource: None,
        }
    }
}

/// An intent and what its transaction is built from.
#[derive(Clone)]
pub struct Payments {
    pub intent: Intent,
    pub state: AccountState,
    pub resource: Option<Resource>,
}

/// A taproot address of someone else: of a key that is not the group's.
pub fn stranger(place: usize) -> String {
    let wallet = WalletDescriptor::new(BTC, WalletKind::P2tr, 0).unwrap();
    let generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
    let key = GroupKey {
        scheme: Scheme::Bip340,
        public_key: hex::decode(generator).unwrap(),
        chain_code: [1; 32],
        threshold: 2,
        parties: 3,
        generation: 0,
    };
    let path = wallet.path(Branch::Receive, u32::try_from(place).unwrap());
    by_chain(BTC.chain()).address(&wallet, &key, &path).unwrap()
}

fn intent(
    wallet: WalletDescriptor,
    asset: Asset,
    to: Vec<(String, Option<u32>, u64)>,
    max_fee: u64,
) -> Intent {
    Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet,
        asset,
        source: None,
        payments: to
            .into_iter()
            .map(|(address, tag, amount)| Payment {
                destination: Destination { address, tag },
                amount: Amount::from_u64(amount),
            })
            .collect(),
        max_fee: Amount::from_u64(max_fee),
        expires_at: NOW.plus(Duration::from_secs(3600)),
        fills: None,
        terms: None,
    }
}

pub fn signed_by(key: &SigningKey, intent: Intent) -> SignedIntent {
    let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, InitiatorKey(key.verifying_key().to_bytes()), signature)
}

pub fn package(intent: SignedIntent, unsigned: UnsignedTransaction) -> SigningPackage {
    SigningPackage {
        transfer: TransferId::new(uuid::Uuid::from_u128(1)),
        transaction: TransactionId::new(uuid::Uuid::from_u128(2)),
        intent,
        recalls: Vec::new(),
        purpose: Purpose::Pay,
        unsigned,
        authorization: None,
    }
}

fn rules(initiator: &SigningKey) -> Rules {
    let asset = |asset, amount, fee| AssetRule {
        asset,
        max_amount: Amount::from_u64(amount),
        max_fee: Amount::from_u64(fee),
    };
    Rules {
        networks: [BTC, XRP].into(),
        governance: None,
        initiators: vec![Initiator {
            name: "desk".into(),
            role: PartyRole::Client,
            public_key: InitiatorKey(initiator.verifying_key().to_bytes()),
        }],
        assets: vec![asset(Asset::Btc, 10_000_000, 10_000), asset(Asset::Xrp, 50_000_000, 50)],
        destinations: Destinations::Any,
        max_expiry: Duration::from_secs(7200),
        fees_without_payment: FeesWithoutPayment::default(),
    }
}

/// Asks until there is an answer, bounded.
pub async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(LIMIT, wait).await {
        Ok(answer) => answer,
        Err(_) => panic!("did not happen in time: {what}"),
    }
}
