//! Orders, stand-ins and screeners.

use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{
        log::EntryDigest,
        testing::{FOUNDED, key},
    },
    ids::{DepositId, TransferId},
    intent::{Destination, Intent, Payment, Proof, SignedIntent},
    network::Network,
    screening::{Answer, Assessment, Inquiry, Payee, RiskBand, Screened, ScreeningService as _, Unanswered},
    time::{Clock, Timestamp},
    wallet::{WalletDescriptor, WalletKind},
};
use bursar_kyt::{
    key::ServiceKey,
    mapping::{Mapping, MappingConfig},
    provider::{Coverage, NetworkNames, Provider, call::Limits, call::Server},
    secret::Secret,
    service::{Book, Keep, Screener, Settings},
};
use ed25519_dalek::Signer as _;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use uuid::Uuid;
use wiremock::{MockServer, ResponseTemplate};

pub const PAYEE: &str = "bcrt1qpayee";
pub const OTHER: &str = "bcrt1qother";
pub const TX: &str = "00000000000000000000000000000000000000000000000000000000000000aa";

/// A clock that is set.
pub struct SetClock(AtomicI64);

impl SetClock {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(FOUNDED.0)))
    }
    pub fn pass(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_micros()).unwrap(), Ordering::SeqCst);
    }
}
impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

pub fn network() -> Network {
    "bitcoin:regtest".parse().unwrap()
}

pub fn order(payees: &[&str]) -> SignedIntent {
    let payment = |address: &&str| Payment {
        destination: Destination { address: (*address).to_owned(), tag: None },
        amount: Amount::from_u64(150_000_000),
    };
    let intent = Intent {
        external_id: "invoice-1".parse().unwrap(),
        wallet: WalletDescriptor::new(network(), WalletKind::P2tr, 0).unwrap(),
        asset: Asset::Btc,
        source: None,
        payments: payees.iter().map(payment).collect(),
        max_fee: Amount::from_u64(10_000),
        expires_at: FOUNDED.plus(Duration::from_secs(86_400)),
        fills: None,
        terms: None,
    };
    let operator = key("client.operator");
    let signature = operator.secret.sign(intent.canonical().as_bytes()).to_bytes();
    SignedIntent::by_key(intent, operator.initiator(), signature)
}

/// A bare key's signature that is none.
pub fn spoil(order: &mut SignedIntent) {
    let Proof::Key { signature, .. } = &mut order.proof else { panic!("a bare key's order") };
    signature[0] ^= 1;
}

pub fn outbound() -> Inquiry {
    Inquiry::outbound(order(&[PAYEE]))
}

pub fn broadcast() -> Inquiry {
    let payee =
        Payee { address: PAYEE.into(), tag: None, asset: Asset::Btc, amount: Amount::from_u64(150_000_000) };
    Inquiry::Broadcast {
        transfer: TransferId::new(Uuid::from_u128(1)),
        intent: order(&[PAYEE]).intent.digest(),
        network: network(),
        tx_id: TX.into(),
        payments: vec![payee],
    }
}

pub fn deposit_id() -> DepositId {
    DepositId::new(Uuid::from_u128(2))
}

pub fn deposit() -> Inquiry {
    Inquiry::Deposit {
        deposit: deposit_id(),
        network: network(),
        asset: Asset::Btc,
        tx_id: TX.into(),
        index: 1,
        address: "bcrt1qours".into(),
        from: vec![OTHER.into()],
        amount: Amount::from_u64(5),
    }
}

pub fn address(address: &str) -> Inquiry {
    Inquiry::Address { network: network(), address: address.into() }
}

/// Of an earlier scene something may still be on its way to the disk.
fn open(path: &std::path::Path) -> Book {
    for _ in 0..400 {
        if let Ok(book) = Book::open(path, Keep::default()) {
            return book;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    Book::open(path, Keep::default()).expect("the store can be opened within 10 s")
}

/// Fast, and small enough to be exceeded.
pub const LIMITS: Limits =
    Limits { timeout_millis: 2000, attempts: 3, backoff_millis: 1, max_answer_bytes: 64 * 1024 };

pub fn server(url: &str) -> Server {
    Server::new(url, LIMITS).ok().unwrap()
}

/// The vendor's word for its own bitcoin, for regtest.
pub fn coverage(names: NetworkNames) -> Coverage {
    let networks = BTreeMap::from([("bitcoin:regtest".to_owned(), names.bitcoin.to_owned())]);
    Coverage::new(names, Some(&networks), &[]).unwrap()
}

pub fn service_key(genesis: EntryDigest) -> ServiceKey {
    let key = key("platform.screening");
    ServiceKey::new(key.user.clone(), key.id.clone(), genesis, key.secret)
}

pub const SETTINGS: Settings = Settings {
    validity: Duration::from_secs(600),
    patience: Duration::from_millis(1500),
    max_concurrent: 8,
    max_cached: 1000,
};

pub struct Scene {
    pub screener: Arc<Screener>,
    pub clock: Arc<SetClock>,
    /// Of the screener's store.
    pub dir: tempfile::TempDir,
}

impl Scene {
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self::with(provider, SETTINGS, MappingConfig::default())
    }

    pub fn with(provider: Arc<dyn Provider>, settings: Settings, mapping: MappingConfig) -> Self {
        Self::within(tempfile::tempdir().unwrap(), provider, settings, mapping)
    }

    /// With the store of an earlier one.
    pub fn within(
        dir: tempfile::TempDir,
        provider: Arc<dyn Provider>,
        settings: Settings,
        mapping: MappingConfig,
    ) -> Self {
        Self::signing(dir, provider, settings, mapping, service_key(EntryDigest([3; 32])))
    }

    /// As [`Self::within`], with this key.
    pub fn signing(
        dir: tempfile::TempDir,
        provider: Arc<dyn Provider>,
        settings: Settings,
        mapping: MappingConfig,
        key: ServiceKey,
    ) -> Self {
        let clock = SetClock::new();
        let book = open(&dir.path().join("screener.redb"));
        let mapping = Mapping::new(mapping).unwrap();
        let screener = Screener::new(provider, key, mapping, settings, clock.clone(), Arc::new(book));
        Self { screener: Arc::new(screener), clock, dir }
    }

    pub async fn screen(&self, inquiry: &Inquiry) -> Result<Answer, Unanswered> {
        self.screener.screen(inquiry, 0).await
    }

    pub async fn assessment(&self, inquiry: &Inquiry) -> Assessment {
        match self.screen(inquiry).await.unwrap() {
            Answer::Complete { assessment, verdict } => {
                assert_eq!(verdict.is_some(), matches!(inquiry, Inquiry::Outbound { .. }));
                assessment
            }
            Answer::Pending { .. } => panic!("it is pending"),
        }
    }

    pub async fn outcome(&self, inquiry: &Inquiry) -> (Screened, RiskBand, bool) {
        let Assessment { outcome, risk, sanctions, .. } = self.assessment(inquiry).await;
        (outcome, risk, sanctions)
    }
}

pub const CLEAR: (Screened, RiskBand, bool) = (Screened::Clear, RiskBand::Low, false);
pub const SANCTIONED: (Screened, RiskBand, bool) = (Screened::Block, RiskBand::Severe, true);

pub fn json(status: u16, body: serde_json::Value) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(body)
}

pub fn secret(text: &str) -> Secret {
    Secret::new(text)
}

/// The bodies that were sent to this path, in order.
pub async fn bodies(stand_in: &MockServer, path: &str) -> Vec<serde_json::Value> {
    let requests = stand_in.received_requests().await.unwrap();
    let of_path = requests.iter().filter(|request| request.url.path() == path);
    of_path.map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

pub async fn count(stand_in: &MockServer) -> usize {
    stand_in.received_requests().await.unwrap().len()
}
