//! The API in this process, over a database of its own.

use bursar::{
    api::{
        self, ApiState,
        access::{self, Found},
        auth::{self, Authentication, Settings},
        ratelimit::Rate,
        state::Assets,
    },
    client::Client,
    compose::{SystemClock, SystemIds},
};
use bursar_domain::{
    amount::Drops,
    asset::AssetInfo,
    audit::{
        Place,
        record::{EntryRecord, FORMAT, Record},
        verify::{Keys, Report, Verifier, order_of},
    },
    governance::{
        log::{Entry, EntryDigest, Head},
        testing::{PEOPLE, key},
    },
    ids::{ApiKeyId, IdSource as _, WalletId},
    network::Network,
    time::{Clock, Timestamp},
};
use bursar_store::{
    Store,
    api_keys::{self, ApiKey},
    audit_log, governance as kept, transfers,
    wallets::Wallet,
};
use bursar_workers::{
    ChainPorts, Context, NoSigner, Settings as Engine, governance::Governance, screening::Screening,
    travel_rule::TravelRule, webhooks::Webhooks,
};
use bursar_xrp::{FeeBounds, XrpAdapter, XrpNode, XrpNodeConfig};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    num::NonZeroU32,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

pub struct TestClock(AtomicI64);

impl TestClock {
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.micros())))
    }
    pub fn wait(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// What an installation may have besides.
#[derive(Default)]
struct Beside {
    webhooks: Option<Arc<Webhooks>>,
    travel_rule: Option<TravelRule>,
    screening: Option<Screening>,
    chains: Arc<BTreeMap<Network, ChainPorts>>,
}

pub struct Server {
    pub clock: Arc<TestClock>,
    pub store: Store,
    pub context: Context,
    pub url: String,
    /// A bearer key: it does everything where nothing is governed, and reads where something is.
    pub key: String,
    governed: bool,
}

pub fn database(dir: &Path) -> String {
    format!("sqlite://{}/bursar.db", dir.display())
}

/// Puts a first entry into the database, as `bursar governance load` does.
pub async fn found(store: &Store, genesis: &Entry, now: Timestamp) {
    let head = Head { seq: 0, digest: genesis.digest() };
    let mut tx = store.write().await.unwrap();
    kept::append(&mut tx, head, EntryDigest::NONE, genesis, now).await.unwrap();
    tx.commit().await.unwrap();
}

/// The desk's first on XRP, where [`Server::start_paying`] pays.
pub fn xrp_wallet(created_at: Timestamp) -> Wallet {
    let descriptor = "xrp:63456/xrp-ed25519/0".parse().unwrap();
    let id = WalletId::new(uuid::Uuid::from_u128(0x0193_6d0e_0000_7000_8000_0000_0000_0001));
    Wallet { id, name: "desk".into(), descriptor, created_at }
}

pub fn rate(per_second: u32, burst: u32) -> Rate {
    Rate::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
}

/// As many requests as tests make, and bearer keys also where something is governed.
pub fn lenient() -> Settings {
    let often = rate(1_000_000, 1_000_000);
    Settings { bearer: Some(true), callers: often, strangers: often, ..Settings::default() }
}

impl Server {
    /// Serves what is in the database. `pinned`: `None` for an installation without governance. Requests are timely by the system's
    /// clock, everything else is by `clock`.
    pub async fn start(dir: &Path, pinned: Option<EntryDigest>, clock: Arc<TestClock>) -> Self {
        Self::start_with(dir, pinned, clock, Authentication::new(lenient(), Arc::new(SystemClock))).await
    }

    pub async fn start_with(
        dir: &Path,
        pinned: Option<EntryDigest>,
        clock: Arc<TestClock>,
        auth: Authentication,
    ) -> Self {
        Self::start_sending(dir, pinned, clock, auth, None).await
    }

    /// With what sends webhooks.
    pub async fn start_sending(
        dir: &Path,
        pinned: Option<EntryDigest>,
        clock: Arc<TestClock>,
        auth: Authentication,
        webhooks: Option<Arc<Webhooks>>,
    ) -> Self {
        Self::start_all(dir, pinned, clock, auth, Beside { webhooks, ..Beside::default() }).await
    }

    /// With a travel rule.
    pub async fn start_telling(
        dir: &Path,
        pinned: EntryDigest,
        clock: Arc<TestClock>,
        travel_rule: TravelRule,
    ) -> Self {
        let auth = Authentication::new(lenient(), Arc::new(SystemClock));
        let beside = Beside { travel_rule: Some(travel_rule), ..Beside::default() };
        Self::start_all(dir, Some(pinned), clock, auth, beside).await
    }

    /// With a screening service.
    pub async fn start_screening(
        dir: &Path,
        pinned: Option<EntryDigest>,
        clock: Arc<TestClock>,
        screening: Screening,
    ) -> Self {
        let auth = Authentication::new(lenient(), Arc::new(SystemClock));
        let beside = Beside { screening: Some(screening), ..Beside::default() };
        Self::start_all(dir, pinned, clock, auth, beside).await
    }

    /// With a chain, so that it takes orders in: there is no key yet, and its node is never asked.
    pub async fn start_paying(dir: &Path, pinned: Option<EntryDigest>, clock: Arc<TestClock>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let auth = Authentication::new(lenient(), Arc::new(SystemClock));
        let node = XrpNode::new(XrpNodeConfig {
            network_id: 63_456,
            url: "http://127.0.0.1:1/".into(),
            fees: FeeBounds { floor: Drops(10), cap: Drops(100) },
            ledger_window: 20,
            timeout: Duration::from_secs(1),
        });
        let poll = Duration::from_secs(1);
        let ports =
            ChainPorts::new(Arc::new(XrpAdapter), Arc::new(node.unwrap()), None, poll, BTreeSet::new());
        let chains = Arc::new(BTreeMap::from([(Network::Xrp(63_456), ports)]));
        Self::start_all(dir, pinned, clock, auth, Beside { chains, ..Beside::default() }).await
    }

    async fn start_all(
        dir: &Path,
        pinned: Option<EntryDigest>,
        clock: Arc<TestClock>,
        auth: Authentication,
        Beside { webhooks, travel_rule, screening, chains }: Beside,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = Store::open(&database(dir)).await.unwrap();
        let governance = match pinned {
            Some(pinned) => Some(Governance::load(&store, pinned).await.unwrap()),
            None => None,
        };
        let (key, hash) = auth::new_key(&mut rand::rngs::OsRng);
        let record = ApiKey::new(ApiKeyId::new(SystemIds.uuid()), "test", clock.now());
        let mut tx = store.write().await.unwrap();
        api_keys::insert(&mut tx, &record, &hash).await.unwrap();
        tx.commit().await.unwrap();
        // What no chain pays, nobody can ask for.
        let assets = if chains.is_empty() { Vec::new() } else { AssetInfo::natives().into() };
        let context = Context {
            store: store.clone(),
            chains,
            signer: Arc::new(NoSigner),
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            governance,
            screening,
            travel_rule,
            settings: Engine::default(),
        };
        let state = ApiState {
            context: context.clone(),
            assets: Arc::new(Assets::new(assets)),
            coordinator: None,
            single_key: false,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            auth: Arc::new(auth),
            webhooks,
            streams: api::events::Streams::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = api::router(state).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        Self { clock, store, context, url, key: key.to_string(), governed: pinned.is_some() }
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
    /// By the bearer key; where something is governed and more is wanted than to read, as somebody of the test desk whose roles do.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        if self.governed && method != Method::GET {
            return self.call_as(who_may(&method, path), method, path, body).await;
        }
        answer(&Client::new(&self.url, self.key.clone().into()).unwrap(), method, path, body).await
    }
    /// Signed by this user of the test desk.
    pub async fn call_as(
        &self,
        user: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        answer(&self.client_of(user), method, path, body).await
    }
    pub fn client_of(&self, user: &str) -> Client {
        Client::signing(&self.url, key(user).secret.clone()).unwrap()
    }
    /// The payloads of the events of this kind, oldest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.get("/v1/events?limit=200").await;
        let events = page["items"].as_array().unwrap().iter();
        events.filter(|event| event["type"] == kind).map(|event| event["payload"].clone()).collect()
    }
    /// Who did it and from where, of each event of a kind.
    pub async fn acts(&self, kind: &str) -> Vec<Value> {
        let entries = audit_log::entries(&self.store, 0, 1_000).await.unwrap();
        let acts = entries.into_iter().filter(|entry| entry.kind == kind).map(|entry| entry.act.unwrap());
        acts.map(|act| serde_json::from_str(&act).unwrap()).collect()
    }
    /// What `bursar audit verify` finds in an export of the log as it is now, which nobody has signed.
    pub async fn audited(&self, genesis: EntryDigest) -> Report {
        let keys = Keys { parties: BTreeMap::new(), threshold: 1, genesis: Some(genesis) };
        let mut verifier = Verifier::new(keys);
        let mut last = Place::START;
        let header =
            Record::Header { format: FORMAT, desk: genesis, after: last, exported_at: self.clock.now() };
        let mut records = vec![header];
        for stored in kept::entries(&self.store, 0, 100).await.unwrap() {
            let Entry { document, signatures } = stored.entry;
            let (seq, seen_at) = (stored.seq, stored.seen_at);
            records.push(Record::Governance { seq, document, signatures, seen_at });
        }
        for entry in audit_log::entries(&self.store, 0, 1_000).await.unwrap() {
            last = last.next(entry.digest());
            let order = match order_of(entry.signed.as_deref(), entry.transfer.as_deref()) {
                Some(id) => transfers::get(&self.store, id).await.unwrap().map(|transfer| transfer.intent),
                None => None,
            };
            records.push(Record::Entry(EntryRecord::new(entry, last.hash, order)));
        }
        records.push(Record::End { last });
        for record in records {
            verifier.line(&serde_json::to_string(&record).unwrap()).unwrap();
        }
        verifier.finish().unwrap()
    }
}

/// The status, and the body if it is JSON.
pub async fn answer(
    client: &Client,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> (StatusCode, Value) {
    let response = client.call(method, path, body).await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

/// Somebody of the test desk who may call this.
fn who_may(method: &Method, path: &str) -> &'static str {
    let path = path.split('?').next().unwrap_or_default();
    let fits = |pattern: &str| {
        pattern.split('/').count() == path.split('/').count()
            && pattern
                .split('/')
                .zip(path.split('/'))
                .all(|(part, said)| part.starts_with('{') || part == said)
    };
    let patterns = access::ROUTES.iter().map(|route| route.path).filter(|pattern| fits(pattern));
    let rule = patterns.filter_map(|pattern| match access::find(method.as_str(), pattern) {
        Found::Route(route) => Some(route.rule),
        Found::OtherMethod | Found::Missing => None,
    });
    let roles = rule.filter_map(|rule| rule.roles()).next();
    let may = |(_, _, role): &&(&str, _, _)| roles.as_ref().is_none_or(|roles| roles.contains(role));
    PEOPLE.iter().find(may).map(|(user, _, _)| *user).unwrap()
}
