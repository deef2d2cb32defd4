//! Webhooks by the API: made and used freely without a governance log, named by it where there is one.

use crate::server::{Server, TestClock, database, found, lenient};
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use bursar::{api::auth::Authentication, compose::SystemClock};
use bursar_domain::{
    governance::{change::Change, testing::TestDesk},
    signing::PartyRole,
    time::Timestamp,
};
use bursar_store::{
    Store,
    webhooks::{self as kept, Endpoint, Target},
};
use bursar_workers::webhooks::{
    WebhookSettings, Webhooks,
    address::Networks,
    deliver::Deliverer,
    keys::{KeyFile, Keys},
    send::SystemLookup,
};
use futures::StreamExt as _;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use zeroize::Zeroizing;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn webhooks() -> Arc<Webhooks> {
    let keys = Keys::new(KeyFile::from_seed(Zeroizing::new([5; 32])), None, BTreeMap::new());
    let allow = Networks(vec!["127.0.0.1/32".parse().unwrap()]);
    let settings = WebhookSettings { allow, parallel: 1, ..WebhookSettings::default() };
    Arc::new(Webhooks::new(keys, settings, Arc::new(SystemLookup)).unwrap())
}

type Inbox = Arc<Mutex<Vec<(String, Value)>>>;

/// Takes everything, and keeps it.
async fn receiver() -> (String, Inbox) {
    async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) {
        let id = headers["webhook-id"].to_str().unwrap().to_owned();
        inbox.lock().unwrap().push((id, serde_json::from_slice(&body).unwrap()));
    }
    let inbox = Inbox::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route("/hooks", post(take)).with_state(inbox.clone());
    tokio::spawn(axum::serve(listener, router).into_future());
    (url, inbox)
}

async fn deliver(deliverer: &mut Deliverer) {
    for _ in 0..100 {
        let more = deliverer.round().await.unwrap();
        if !more && deliverer.under_way() == 0 {
            return;
        }
        deliverer.settle().await;
    }
    panic!("it goes on for ever");
}

fn kind(answer: &(StatusCode, Value)) -> (u16, &str) {
    let kind = answer.1["type"].as_str().unwrap_or_default();
    (answer.0.as_u16(), kind.trim_start_matches("urn:bursar:problem:"))
}

/// As somebody who may.
async fn read(server: &Server, path: &str) -> Value {
    let (status, body) = server.call_as("manager.security", Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

async fn server(webhooks: Option<Arc<Webhooks>>) -> (Server, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let auth = Authentication::new(lenient(), Arc::new(SystemClock));
    let server = Server::start_sending(dir.path(), None, TestClock::at(NOW), auth, webhooks).await;
    (server, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_views__should_show_the_same_events_in_the_same_order() {
    let webhooks = webhooks();
    let (server, _dir) = server(Some(webhooks.clone())).await;
    let (url, inbox) = receiver().await;
    let created = server.post("/v1/webhooks", &json!({ "url": url, "cursor": "0" })).await;
    assert_eq!(created.0, StatusCode::CREATED, "{}", created.1);
    let id = created.1["webhook"]["id"].as_str().unwrap().to_owned();
    let store = &server.context.store;
    for n in 0..9 {
        let mut tx = store.write().await.unwrap();
        let payload =
            json!({ "n": n, "amount": "115792089237316195423570985008687907853269984665640564039457" });
        bursar_store::events::append(&mut tx, "test.happened", None, Timestamp(NOW.0 + n), &payload)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    let mut deliverer = Deliverer::new(server.context.clone(), webhooks);
    deliver(&mut deliverer).await;

    let paged = server.get("/v1/events?limit=200").await["items"].as_array().unwrap().clone();
    assert!(paged.len() >= 10, "{paged:?}");
    let told: Vec<Value> = inbox.lock().unwrap().iter().map(|(_, body)| body["data"].clone()).collect();
    assert_eq!(told, paged, "webhooks tell what the pages do");
    let request = reqwest::Client::new().get(format!("{}/v1/events/stream", server.url));
    let response = request.bearer_auth(&server.key).header("last-event-id", "0").send().await.unwrap();
    let (mut chunks, mut text) = (response.bytes_stream(), String::new());
    let reading = async {
        while text.matches("\n\n").count() < paged.len() {
            text.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.unwrap();
    let streamed: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(streamed, paged, "the stream tells what the pages do");

    let ids: Vec<_> = inbox.lock().unwrap().iter().map(|(id, _)| id.clone()).collect();
    let expected: Vec<_> = paged.iter().map(|event| format!("evt_{}_{id}", event["sequence"])).collect();
    assert_eq!(ids, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook__should_be_made_used_and_forgotten() {
    let webhooks = webhooks();
    let (server, _dir) = server(Some(webhooks.clone())).await;
    let (url, inbox) = receiver().await;
    for (body, field) in [
        (json!({ "url": "http://10.0.0.1/" }), "url"),
        (json!({ "url": "https://[::1]/" }), "url"),
        (json!({ "url": "https://desk.example/#x" }), "url"),
        (json!({ "url": url, "events": [] }), "events"),
        (json!({ "url": url, "events": ["transfer."] }), "events"),
        (json!({ "url": url, "cursor": "x" }), "cursor"),
        (json!({ "url": url, "cursor": "4711" }), "cursor"),
    ] {
        let refused = server.post("/v1/webhooks", &body).await;
        assert_eq!(refused.0, StatusCode::UNPROCESSABLE_ENTITY, "{body}: {}", refused.1);
        assert_eq!(refused.1["errors"][0]["field"], field, "{}", refused.1);
    }
    let body = json!({ "url": url, "events": ["webhook.enabled", "webhook.secret_rotated"] });
    let (status, created) = server.post("/v1/webhooks", &body).await;
    assert_eq!(status, StatusCode::CREATED);
    let secret = created["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{created}");
    assert!(created["webhook"]["publicKey"].as_str().unwrap().starts_with("whpk_"), "{created}");
    let id = created["webhook"]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/webhooks/{id}");
    let one = server.get(&path).await;
    assert_eq!((&one["state"], &one["pending"]), (&json!("ENABLED"), &json!(0)));
    let list = server.get("/v1/webhooks").await;
    assert_eq!(list["items"][0], one);
    assert!(!list.to_string().contains(secret) && !one.to_string().contains("whsec_"));

    let (status, tested) = server.post(&format!("{path}/test"), &json!({})).await;
    assert_eq!((status, &tested["outcome"]), (StatusCode::OK, &json!("DELIVERED")), "{tested}");
    assert_eq!(inbox.lock().unwrap()[0].1["type"], "webhook.test");
    let (status, rotated) = server.post(&format!("{path}/secret"), &json!({})).await;
    assert_eq!((status, &rotated["webhook"]["secretGeneration"]), (StatusCode::OK, &json!(2)), "{rotated}");
    assert_ne!(rotated["secret"], created["secret"]);
    assert!(rotated["webhook"]["previousSecretUntil"].is_string(), "{rotated}");

    let (status, off) =
        server.call(Method::PATCH, &path, Some(&json!({ "enabled": false, "reason": "moving" }))).await;
    assert_eq!((status, &off["state"]), (StatusCode::OK, &json!("DISABLED")), "{off}");
    assert!(off["disabledBecause"].as_str().unwrap().ends_with("moving"), "{off}");
    let refused = server.post(&format!("{path}/resend"), &json!({ "sequence": 1 })).await;
    assert_eq!(kind(&refused), (409, "webhook-disabled"));
    let (_, on) = server.call(Method::PATCH, &path, Some(&json!({ "enabled": true }))).await;
    assert_eq!(on["state"], "ENABLED", "{on}");

    let mut deliverer = Deliverer::new(server.context.clone(), webhooks);
    deliver(&mut deliverer).await;
    let deliveries = server.get(&format!("{path}/deliveries")).await;
    let items = deliveries["items"].as_array().unwrap();
    let told: Vec<_> = items.iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(told, ["webhook.enabled", "webhook.secret_rotated"], "newest first");
    assert_eq!(items[0]["attempts"][0]["outcome"], "DELIVERED", "{}", items[0]);
    let sequence = &items[0]["sequence"];
    for (body, expected) in [
        (json!({ "sequence": sequence }), 1),
        (json!({ "transferId": "01936d0e-0000-7000-8000-000000000001" }), 0),
        (json!({ "depositId": "01936d0e-0000-7000-8000-000000000001" }), 0),
        (json!({ "from": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z" }), 2),
    ] {
        let (status, resent) = server.post(&format!("{path}/resend"), &body).await;
        assert_eq!((status, &resent["events"]), (StatusCode::ACCEPTED, &json!(expected)), "{body}: {resent}");
    }
    for body in [
        json!({}),
        json!({ "sequence": 4711 }),
        json!({ "sequence": sequence, "from": "2020-01-01T00:00:00Z" }),
        json!({ "from": "2020-01-01T00:00:00Z" }),
        json!({ "from": "2020-01-02T00:00:00Z", "until": "2020-01-01T00:00:00Z" }),
        json!({ "from": "yesterday", "until": "2020-01-01T00:00:00Z" }),
    ] {
        let refused = server.post(&format!("{path}/resend"), &body).await;
        assert_eq!(kind(&refused), (422, "invalid-request"), "{body}");
    }
    let before = inbox.lock().unwrap().len();
    deliver(&mut deliverer).await;
    assert_eq!(inbox.lock().unwrap().len(), before + 2);

    let gone = server.call(Method::DELETE, &path, None).await;
    assert_eq!(gone.0, StatusCode::NO_CONTENT);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::DELETE, path.clone()),
        (Method::GET, format!("{path}/deliveries")),
        (Method::POST, format!("{path}/test")),
    ] {
        assert_eq!(kind(&server.call(method, &path, None).await), (404, "not-found"), "{path}");
    }
    assert_eq!(server.get("/v1/webhooks").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn installation_without_a_key_file__should_say_so() {
    let (server, _dir) = server(None).await;
    let refused = server.post("/v1/webhooks", &json!({ "url": "https://desk.example/" })).await;
    assert_eq!(kind(&refused), (409, "webhooks-not-configured"));
    assert_eq!(server.get("/v1/webhooks").await["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn governed_installation__should_have_the_endpoints_that_the_log_names() {
    let dir = tempfile::tempdir().unwrap();
    let mut desk = TestDesk::new(60);
    let store = Store::open(&database(dir.path())).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    let webhooks = webhooks();
    let clock = TestClock::at(desk.now);
    let auth = Authentication::new(lenient(), Arc::new(SystemClock));
    let server =
        Server::start_sending(dir.path(), Some(desk.pinned()), clock, auth, Some(webhooks.clone())).await;
    let (url, inbox) = receiver().await;
    let refused = server.post("/v1/webhooks", &json!({ "url": url })).await;
    assert_eq!(kind(&refused), (409, "webhooks-governed"));

    let webhook = |url: &str, private: bool| {
        let party = serde_json::to_value(PartyRole::Client).unwrap();
        let webhook = json!({ "id": "desk", "url": url, "events": ["webhook"], "party": party, "allowPrivate": private });
        Change::PutWebhook { webhook: serde_json::from_value(webhook).unwrap() }
    };
    let governance = server.context.governance.clone().unwrap();
    let mut deliverer = Deliverer::new(server.context.clone(), webhooks);
    // From before it was governed, made by whoever could call the API then.
    let former = Target {
        url: "https://former.example/".into(),
        events: ["*".to_owned()].into(),
        allow_private: false,
        entry: None,
        shared_secret: None,
        public_key: None,
    };
    let mut tx = store.write().await.unwrap();
    for id in ["desk", "former"] {
        let endpoint = Endpoint::new(id.parse().unwrap(), former.clone(), "key".into(), 0, desk.now);
        kept::insert(&mut tx, &endpoint, desk.now).await.unwrap();
    }
    tx.commit().await.unwrap();
    deliver(&mut deliverer).await;
    assert_eq!(read(&server, "/v1/webhooks").await["items"], json!([]), "the log names neither");
    assert_eq!(server.events("webhook.deleted").await.len(), 2);
    let mut append = async |change: Change, deliverer: &mut Deliverer| {
        let entry = desk.entry(change, &["manager.security", "platform.security"]);
        let mut tx = server.context.store.write().await.unwrap();
        governance.append(&mut tx, &entry, desk.now).await.unwrap();
        tx.commit().await.unwrap();
        desk.try_append(entry).unwrap();
        // Every loosening waits.
        desk.wait(61);
        let waiting: Vec<u64> = desk.state.pending().map(|pending| pending.seq).collect();
        for seq in waiting {
            let entry = desk.entry(Change::Enact { seq }, &["client.service"]);
            let mut tx = server.context.store.write().await.unwrap();
            governance.append(&mut tx, &entry, desk.now).await.unwrap();
            tx.commit().await.unwrap();
            desk.try_append(entry).unwrap();
        }
        deliver(deliverer).await;
    };
    append(webhook(&url, true), &mut deliverer).await;
    let one = read(&server, "/v1/webhooks/desk").await;
    assert_eq!((&one["url"], &one["state"]), (&json!(url), &json!("ENABLED")), "{one}");
    assert!(one["governedBy"].is_u64(), "{one}");
    assert_eq!(one["url"], json!(url), "not the former one's");
    deliver(&mut deliverer).await;
    assert_eq!(inbox.lock().unwrap()[0].1["type"], "webhook.created");
    let refused = server.call(Method::DELETE, "/v1/webhooks/desk", None).await;
    assert_eq!(kind(&refused), (409, "webhooks-governed"));
    // One person is shown its secret and stops it; for another secret, and to go on, it takes the log.
    let secret = async || {
        let (status, shown) = server.post("/v1/webhooks/desk/secret", &json!({})).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
        (shown["webhook"]["secretGeneration"].clone(), shown["secret"].clone())
    };
    let first = secret().await;
    assert_eq!(secret().await, first);
    let patch = async |enabled: bool| {
        server.call(Method::PATCH, "/v1/webhooks/desk", Some(&json!({ "enabled": enabled }))).await
    };
    assert_eq!(patch(false).await.1["state"], "DISABLED");
    assert_eq!(kind(&patch(true).await), (409, "webhooks-governed"));
    append(webhook(&url, true), &mut deliverer).await;
    let state = async || read(&server, "/v1/webhooks/desk").await["state"].clone();
    assert_eq!(state().await, "DISABLED", "the same again takes one person only");
    let Change::PutWebhook { webhook: mut renewed } = webhook(&url, true) else { unreachable!() };
    renewed.renewed = 1;
    append(Change::PutWebhook { webhook: renewed }, &mut deliverer).await;
    assert_eq!(state().await, "ENABLED");
    let second = secret().await;
    assert_ne!(second, first);
    assert_eq!(second.0, json!(first.0.as_u64().unwrap() + 1));

    append(Change::RemoveWebhook { id: "desk".parse().unwrap() }, &mut deliverer).await;
    assert_eq!(read(&server, "/v1/webhooks").await["items"], json!([]));
}
