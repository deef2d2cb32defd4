//! A fresh database for each test, and things to put in it.

use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, ContractPayments, Credit, ObservedBlock, ObservedTransaction, TransactionOutcome},
    effects::{Effects, OutPoint, Resource, Validity},
    ids::{AddressId, TransactionId, TransferId, WalletId},
    intent::{Destination, InitiatorKey, Intent, Payment, SignedIntent},
    lifecycle::{Fact, Transfer},
    network::Network,
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    time::Timestamp,
    wallet::{Branch, WalletDescriptor},
};
use bursar_store::{
    Store,
    addresses::{self, AddressRecord},
    transactions::{self, ReservationConflict, TransactionRecord},
    transfers::{self, Saved, Submitted},
    wallets::{self, Wallet},
};
use sqlx::Connection;
use std::sync::atomic::{AtomicU32, Ordering};
use uuid::Uuid;

pub const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

pub fn at(seconds: i64) -> Timestamp {
    Timestamp(T0.micros() + seconds * 1_000_000)
}

/// The `n`-th id in order of creation.
pub fn uuid(n: u64) -> Uuid {
    Uuid::from_u128(0x0193_6d0e_0000_7000_8000_0000_0000_0000 + u128::from(n))
}
pub fn transfer_id(n: u64) -> TransferId {
    TransferId::new(uuid(n))
}
pub fn transaction_id(n: u64) -> TransactionId {
    TransactionId::new(uuid(n))
}

pub const BTC: &str = "bitcoin:regtest/p2tr/0";
pub const ETH: &str = "ethereum:31337/ethereum/0";

/// The variable that names a Postgres to make databases on; without it they are SQLite's.
pub const SERVER: &str = "BURSAR_CONFORMANCE_POSTGRES";

pub struct Database {
    pub store: Store,
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

/// How many random cases: fewer where each makes its tables on a server.
pub fn cases(usual: u32) -> u32 {
    match std::env::var_os(SERVER) {
        None => usual,
        Some(_) => usual / 4,
    }
}

/// A new, empty database of its own.
async fn empty() -> (String, Option<tempfile::TempDir>) {
    let Ok(server) = std::env::var(SERVER) else {
        let folder = tempfile::tempdir().unwrap();
        return (format!("sqlite://{}/a b.db", folder.path().display()), Some(folder));
    };
    // A schema costs less than a database, and that all take turns at one lock is a test more.
    static MADE: AtomicU32 = AtomicU32::new(0);
    let schema = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
    sqlx::any::install_default_drivers();
    let mut connection = sqlx::AnyConnection::connect(&server).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    (format!("{server}?options[search_path]={schema}"), None)
}

impl Database {
    /// With the Bitcoin wallet 1 and the Ethereum wallet 2 in it.
    pub async fn open() -> Self {
        let (url, folder) = empty().await;
        let store = Store::open(&url).await.unwrap();
        let database = Self { store, url, _folder: folder };
        database.wallet(1, BTC).await;
        database.wallet(2, ETH).await;
        database
    }

    /// The same database after the process has ended.
    pub async fn reopen(self) -> Self {
        let Self { store, url, _folder } = self;
        drop(store);
        let store = Store::open(&url).await.unwrap();
        Self { store, url, _folder }
    }

    pub async fn wallet(&self, n: u64, descriptor: &str) -> Wallet {
        let wallet = Wallet {
            id: WalletId::new(uuid(n)),
            name: format!("wallet {n}"),
            descriptor: descriptor.parse().unwrap(),
            created_at: T0,
        };
        let mut tx = self.store.write().await.unwrap();
        wallets::insert(&mut tx, &wallet).await.unwrap();
        tx.commit().await.unwrap();
        wallet
    }

    /// The next address on a branch, named after the wallet and its place.
    pub async fn address(&self, wallet: u64, branch: Branch) -> AddressRecord {
        let id = WalletId::new(uuid(wallet));
        let descriptor = wallets::get(&self.store, id).await.unwrap().unwrap().descriptor;
        let mut tx = self.store.write().await.unwrap();
        let index = addresses::next_index(&mut tx, id, branch).await.unwrap();
        let path = descriptor.path(branch, index);
        let number = wallet * 1_000_000 + u64::from(index) * 2 + u64::from(branch == Branch::Change);
        let record = AddressRecord {
            id: AddressId::new(uuid(number)),
            wallet: id,
            path,
            address: format!("{descriptor}:{path}"),
            label: (index == 0).then(|| "first".into()),
            created_at: T0,
        };
        addresses::insert(&mut tx, &record).await.unwrap();
        tx.commit().await.unwrap();
        record
    }

    pub async fn submit(&self, transfer: &Transfer) -> Submitted {
        let mut tx = self.store.write().await.unwrap();
        let submitted = transfers::submit(&mut tx, transfer).await.unwrap();
        tx.commit().await.unwrap();
        submitted
    }

    /// A submitted transfer of the wallet with this descriptor.
    pub async fn transfer(&self, n: u64, descriptor: &str) -> Transfer {
        let transfer = transfer(n, descriptor);
        assert_eq!(self.submit(&transfer).await, Submitted::New);
        transfer
    }

    /// Moves a transfer through these facts.
    pub async fn drive(&self, mut transfer: Transfer, facts: Vec<Fact>) -> Transfer {
        for fact in facts {
            let mut tx = self.store.write().await.unwrap();
            let now = Timestamp(transfer.updated_at.micros() + 1);
            let transition = transfer.apply(fact, now).unwrap();
            assert_eq!(transfers::save(&mut tx, &transition).await.unwrap(), Saved::Applied);
            tx.commit().await.unwrap();
            transfer = transition.transfer;
        }
        transfer
    }

    pub async fn insert(&self, record: &TransactionRecord) -> Result<(), ReservationConflict> {
        let mut tx = self.store.write().await.unwrap();
        let inserted = transactions::insert(&mut tx, record).await.unwrap();
        tx.commit().await.unwrap();
        inserted
    }

    /// A signed transaction for a transfer.
    pub async fn signed(&self, record: &TransactionRecord, tx_id: &str) {
        assert_eq!(self.insert(record).await, Ok(()));
        let mut tx = self.store.write().await.unwrap();
        transactions::start_signing(&mut tx, record.id, T0).await.unwrap();
        let signed = SignedTransaction { tx_id: tx_id.into(), bytes: vec![1, 2, 3] };
        transactions::store_signed(&mut tx, record.id, &signed, T0).await.unwrap();
        tx.commit().await.unwrap();
    }
}

pub fn network(descriptor: &str) -> Network {
    descriptor.parse::<WalletDescriptor>().unwrap().network
}

/// Wallet 1 is Bitcoin's, wallet 2 Ethereum's.
pub fn transfer(n: u64, descriptor: &str) -> Transfer {
    let wallet: WalletDescriptor = descriptor.parse().unwrap();
    let intent = Intent {
        external_id: format!("ext-{n}").parse().unwrap(),
        wallet,
        asset: Asset::native(wallet.network.chain()),
        source: None,
        payments: vec![Payment {
            destination: Destination { address: "somewhere".into(), tag: None },
            amount: Amount::from_u64(1000 + n),
        }],
        max_fee: Amount::from_u64(500),
        expires_at: at(3600),
        fills: None,
        terms: None,
    };
    let intent = SignedIntent::by_key(intent, InitiatorKey([7; 32]), [9; 64]);
    let wallet = WalletId::new(uuid(if descriptor == BTC { 1 } else { 2 }));
    Transfer::submitted(transfer_id(n), wallet, intent, at(n.try_into().unwrap()))
}

pub fn record(n: u64, transfer: &Transfer, resources: Vec<Resource>) -> TransactionRecord {
    let wallet = transfer.intent.intent.wallet;
    TransactionRecord {
        id: transaction_id(n),
        transfer: transfer.id,
        network: wallet.network,
        purpose: Purpose::Pay,
        unsigned: UnsignedTransaction { wallet, source: None, bytes: vec![0, 255, n as u8] },
        effects: Effects {
            network: wallet.network,
            asset: transfer.intent.intent.asset,
            from: vec!["ours".into()],
            payments: transfer.intent.intent.payments.clone(),
            fee: Amount::from_u64(10),
            change: vec![],
            resources,
            validity: Validity::Unlimited,
        },
        signed: None,
        signing_attempts: 0,
        inclusion: None,
        created_at: at(n.try_into().unwrap()),
        signing_started_at: None,
        signed_at: None,
        broadcast_at: None,
        finalized_at: None,
        ended: None,
    }
}

pub fn nonce(n: u64) -> Resource {
    Resource::Nonce { account: "0xA".into(), nonce: n }
}
pub fn outpoint(n: u64) -> OutPoint {
    let mut txid = [0; 32];
    txid[..8].copy_from_slice(&n.to_be_bytes());
    OutPoint { txid, vout: 1 }
}
pub fn utxo(n: u64) -> Resource {
    Resource::Utxo(outpoint(n))
}

/// Up to PENDING_SIGNATURE, no session begun.
pub fn until_frozen(transaction: TransactionId) -> Vec<Fact> {
    vec![
        Fact::ScreeningStarted,
        Fact::ScreeningPassed { sub_status: None },
        Fact::Authorized { sub_status: None },
        Fact::Frozen { transaction },
    ]
}

pub fn block_ref(height: u64, fork: &str) -> BlockRef {
    BlockRef { height, hash: format!("{fork}{height}") }
}

/// The block at `height` of a fork that left the main chain `""` above `from`.
pub fn block(height: u64, fork: &str, parent: &str, transactions: Vec<ObservedTransaction>) -> ObservedBlock {
    ObservedBlock {
        block: block_ref(height, fork),
        parent_hash: format!("{parent}{}", height - 1),
        time: T0,
        transactions,
        contract_payments: ContractPayments::NotSought,
    }
}

pub fn observed(tx_id: &str, spends: Vec<Resource>, credits: Vec<Credit>) -> ObservedTransaction {
    ObservedTransaction {
        tx_id: tx_id.into(),
        outcome: TransactionOutcome::Succeeded,
        spends,
        fee: Some(Amount::from_u64(3)),
        credits,
    }
}

pub fn credit(address: &AddressRecord, n: u64, amount: u64) -> Credit {
    Credit {
        address: address.address.clone(),
        from: vec![],
        tag: None,
        asset: Asset::Btc,
        amount: Amount::from_u64(amount),
        outpoint: Some(outpoint(n)),
        index: 1,
    }
}
