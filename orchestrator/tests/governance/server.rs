//! The API in this process, over a database of its own.

use bursar::{
    api::{self, ApiState, auth, state::Assets},
    compose::{NoSigner, SystemIds},
};
use bursar_domain::{
    governance::log::{Entry, EntryDigest, Head},
    ids::{ApiKeyId, IdSource as _},
    time::{Clock, Timestamp},
};
use bursar_store::{
    Store,
    api_keys::{self, ApiKey},
    governance as kept,
};
use bursar_workers::{Context, Settings, governance::Governance};
use metrics_exporter_prometheus::PrometheusBuilder;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
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

pub struct Server {
    pub clock: Arc<TestClock>,
    pub url: String,
    pub key: String,
    http: reqwest::Client,
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

impl Server {
    /// Serves what is in the database. `pinned`: `None` for an installation without governance.
    pub async fn start(dir: &Path, pinned: Option<EntryDigest>, clock: Arc<TestClock>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let store = Store::open(&database(dir)).await.unwrap();
        let governance = match pinned {
            Some(pinned) => Some(Governance::load(&store, pinned).await.unwrap()),
            None => None,
        };
        let (key, hash) = auth::new_key(&mut rand::rngs::OsRng);
        let id = ApiKeyId::new(SystemIds.uuid());
        let record = ApiKey { id, name: "test".into(), created_at: clock.now(), revoked_at: None };
        let mut tx = store.write().await.unwrap();
        api_keys::insert(&mut tx, &record, &hash).await.unwrap();
        tx.commit().await.unwrap();
        let context = Context {
            store,
            chains: Arc::default(),
            signer: Arc::new(NoSigner),
            clock: clock.clone(),
            ids: Arc::new(SystemIds),
            governance,
            screening: None,
            settings: Settings::default(),
        };
        let state = ApiState {
            context,
            assets: Arc::new(Assets::new(Vec::new())),
            coordinator: None,
            single_key: false,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, api::router(state)).into_future());
        Self { clock, url, key: key.to_string(), http: reqwest::Client::new() }
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {body}");
        body
    }
    pub async fn post(&self, path: &str, body: &Value) -> (StatusCode, Value) {
        self.call(Method::POST, path, Some(body)).await
    }
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }
    /// The payloads of the events of this kind, oldest first.
    pub async fn events(&self, kind: &str) -> Vec<Value> {
        let page = self.get("/v1/events?limit=200").await;
        let events = page["items"].as_array().unwrap().iter();
        events.filter(|event| event["type"] == kind).map(|event| event["payload"].clone()).collect()
    }
}
