//! A database, a clock, and what delivers.

use crate::receiver::Receiver;
use bursar_domain::{
    ids::{IdSource, TransferId},
    time::{Clock, Timestamp},
};
use bursar_store::{
    Store, events,
    webhooks::{self, Endpoint, EndpointId, Target, deliveries::Delivery},
};
use bursar_workers::{
    Context, NoSigner, Settings,
    webhooks::{
        WebhookSettings, Webhooks,
        address::Networks,
        deliver::Deliverer,
        keys::{KeyFile, Keys},
        send::{Lookup, SystemLookup},
    },
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use zeroize::Zeroizing;

pub const T0: Timestamp = Timestamp::from_secs(1_800_000_000);

pub struct TestClock(AtomicI64);
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

struct Ids;
impl IdSource for Ids {
    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(1)
    }
}

pub struct World {
    pub context: Context,
    pub clock: Arc<TestClock>,
    pub webhooks: Arc<Webhooks>,
    pub deliverer: Deliverer,
}

pub fn keys() -> Keys {
    Keys::new(KeyFile::from_seed(Zeroizing::new([1; 32])), None, BTreeMap::new())
}

pub fn settings() -> WebhookSettings {
    let allow = Networks(vec!["127.0.0.1/32".parse().unwrap()]);
    WebhookSettings { allow, timeout: Duration::from_secs(10), ..WebhookSettings::default() }
}

impl World {
    pub async fn new() -> Self {
        Self::with(settings(), Arc::new(SystemLookup)).await
    }

    pub async fn with(settings: WebhookSettings, lookup: Arc<dyn Lookup>) -> Self {
        let clock = Arc::new(TestClock(AtomicI64::new(T0.micros())));
        let context = Context {
            store: Store::open("sqlite::memory:").await.unwrap(),
            chains: Arc::default(),
            signer: Arc::new(NoSigner),
            clock: clock.clone(),
            ids: Arc::new(Ids),
            governance: None,
            screening: None,
            travel_rule: None,
            settings: Settings::default(),
        };
        let webhooks = Arc::new(Webhooks::new(keys(), settings, lookup).unwrap());
        let deliverer = Deliverer::new(context.clone(), webhooks.clone());
        Self { context, clock, webhooks, deliverer }
    }

    /// The same database, and a process that knows nothing yet.
    pub fn restart(&mut self) {
        self.deliverer = Deliverer::new(self.context.clone(), self.webhooks.clone());
    }

    pub fn store(&self) -> &Store {
        &self.context.store
    }

    pub fn wait(&self, span: Duration) {
        self.clock.0.fetch_add(span.as_micros() as i64, Ordering::SeqCst);
    }

    pub async fn endpoint(&self, id: &str, receiver: &Receiver, events: &[&str]) -> EndpointId {
        self.endpoint_at(id, &receiver.url(), events).await
    }

    /// From the beginning of the log.
    pub async fn endpoint_at(&self, id: &str, url: &str, events: &[&str]) -> EndpointId {
        let id: EndpointId = id.parse().unwrap();
        let target = Target {
            url: url.to_owned(),
            events: events.iter().map(|kind| (*kind).to_owned()).collect(),
            allow_private: true,
            entry: None,
            shared_secret: None,
            public_key: None,
        };
        let now = self.clock.now();
        let endpoint = Endpoint::new(id.clone(), target, self.webhooks.keys.name().to_owned(), 0, now);
        let mut tx = self.store().write().await.unwrap();
        webhooks::insert(&mut tx, &endpoint, now).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    pub async fn get(&self, id: &EndpointId) -> Endpoint {
        webhooks::get(self.store(), id).await.unwrap().unwrap()
    }

    /// The sequence of an event that happens now.
    pub async fn happens(&self, kind: &str) -> i64 {
        let transfer: Option<TransferId> = None;
        let mut tx = self.store().write().await.unwrap();
        events::append(&mut tx, kind, transfer, self.clock.now(), &json!({ "amount": "1" })).await.unwrap();
        tx.commit().await.unwrap();
        events::last(self.store()).await.unwrap()
    }

    /// Until nothing is to be done at this time.
    pub async fn deliver(&mut self) {
        for _ in 0..200 {
            let more = self.deliverer.round().await.unwrap();
            if !more && self.deliverer.under_way() == 0 {
                return;
            }
            self.deliverer.settle().await;
        }
        panic!("it goes on for ever");
    }

    /// Oldest event first.
    pub async fn deliveries(&self, id: &EndpointId) -> Vec<Delivery> {
        let mut all = webhooks::deliveries::list(self.store(), id, None, 1000).await.unwrap().items;
        all.reverse();
        all
    }

    pub async fn kinds(&self) -> Vec<String> {
        let all = events::after(self.store(), 0, 1000).await.unwrap();
        all.into_iter().map(|event| event.kind).collect()
    }
}
