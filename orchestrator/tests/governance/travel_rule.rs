//! The travel rule by its API: who hands data in, who sees it, who notes an outcome; and an exchange over HTTP in a process of its own.

use crate::{
    orders::submit,
    server::{Server, TestClock, found},
};
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use bursar::travel_rule::HttpExchange;
use bursar_domain::{
    governance::{change::Change, log::Head, testing::TestDesk},
    ids::TransferId,
    lifecycle::{Status, SubStatus},
    travel_rule::{Manual, Thresholds, TravelRuleExchange},
};
use bursar_kyt::secret::Secret;
use bursar_store::{Store, governance as kept, transfers};
use bursar_workers::{
    engine,
    travel_rule::{
        TravelRule, TravelRuleSettings,
        vault::{Vault, VaultKey},
    },
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

struct Told {
    server: Server,
    transfer: TransferId,
}

impl Told {
    /// A transfer that policy wants told, looked at once.
    async fn start(dir: &Path, exchange: Option<String>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut desk = TestDesk::new(0);
        let store = Store::open(&crate::server::database(dir)).await.unwrap();
        found(&store, &desk.entries[0].0, desk.now).await;
        let policy = json!({
            "currency": "USD",
            "priceMaxAgeSeconds": 60,
            "travelRule": { "when": { "amount": { "in": "XRP", "above": "5" } } },
            "rules": [{ "id": "all", "then": { "kind": "ALLOW" } }],
        });
        let policy = serde_json::from_value(policy).unwrap();
        let published = desk.accept(Change::SetPolicy { policy }, &["manager.policy", "platform.policy"]);
        let (entry, at) = desk.entries[1].clone();
        let mut tx = store.write().await.unwrap();
        let head = Head { seq: 1, digest: published.head.digest };
        kept::append(&mut tx, head, desk.pinned(), &entry, at).await.unwrap();
        tx.commit().await.unwrap();
        let settings = TravelRuleSettings {
            manual: exchange.is_none(),
            timeout: Duration::from_secs(60),
            retries: 0,
            retry: Duration::from_secs(1),
        };
        let exchange: Arc<dyn TravelRuleExchange> = match exchange {
            Some(url) => {
                Arc::new(HttpExchange::new(&url, Secret::new("s3cret"), Duration::from_secs(30)).unwrap())
            }
            None => Arc::new(Manual),
        };
        let vault = Vault::new(VaultKey::generate(), None);
        let rule = TravelRule::new(Thresholds::default(), vault, exchange, settings);
        let clock = TestClock::at(desk.now);
        let server = Server::start_telling(dir, desk.pinned(), clock, rule).await;
        let transfer = submit(&server.context, "told", server.context.now()).await;
        let told = Self { server, transfer };
        told.look().await;
        told
    }

    /// As a worker does, as far as it comes: there is no chain here.
    async fn look(&self) {
        match engine::look_at(&self.server.context, self.transfer).await {
            Ok(_) | Err(engine::StepError::UnservedNetwork(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    async fn status(&self) -> (Status, Option<SubStatus>) {
        let transfer = transfers::get(&self.server.store, self.transfer).await.unwrap().unwrap();
        (transfer.status(), transfer.sub_status)
    }
    /// Status, problem and body.
    async fn call(
        &self,
        user: &str,
        method: Method,
        rest: &str,
        body: Option<&Value>,
    ) -> (u16, String, Value) {
        let path = format!("/v1/transfers/{}/{rest}", self.transfer);
        let (status, body) = self.server.call_as(user, method, &path, body).await;
        let kind = body["type"].as_str().unwrap_or_default().trim_start_matches("urn:bursar:problem:");
        (status.as_u16(), kind.to_owned(), body)
    }
    async fn put(&self, user: &str, body: &Value) -> (u16, String, Value) {
        self.call(user, Method::PUT, "travel-rule", Some(body)).await
    }
    async fn post(&self, user: &str, rest: &str, body: &Value) -> (u16, String, Value) {
        self.call(user, Method::POST, &format!("travel-rule/{rest}"), Some(body)).await
    }
    /// Nobody's name is in the log.
    async fn no_names(&self) {
        let events = self.server.get("/v1/events?limit=200").await.to_string();
        assert!(events.contains("travel_rule.") && !events.contains("Muster"), "{events}");
    }
}

fn data() -> Value {
    let person = |name: &str| {
        json!({ "naturalPerson": { "name": { "nameIdentifier": [{ "primaryIdentifier": name, "nameIdentifierType": "LEGL" }] },
        "customerIdentification": "c-1" } })
    };
    json!({
        "originator": { "originatorPersons": [person("Muster")], "accountNumber": ["a-1"] },
        "beneficiary": { "beneficiaryPersons": [person("Muster")], "accountNumber": ["b-1"] },
    })
}

const MISSING: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::TravelRuleDataMissing));
const WAITS: (Status, Option<SubStatus>) = (Status::PendingReview, Some(SubStatus::TravelRulePending));

#[tokio::test(flavor = "multi_thread")]
async fn data__should_be_handed_in_by_operators_and_seen_by_compliance() {
    let dir = tempfile::tempdir().unwrap();
    let told = Told::start(dir.path(), None).await;
    assert_eq!(told.status().await, MISSING);
    let (status, _, shown) = told.call("platform.viewer", Method::GET, "travel-rule", None).await;
    assert_eq!(
        (status, &shown["state"], &shown["round"]),
        (200, &json!("DATA_MISSING"), &json!(0)),
        "{shown}"
    );
    let (_, page) = told.server.call_as("platform.officer", Method::GET, "/v1/reviews", None).await;
    let held = &page["items"][0]["transfer"];
    assert_eq!(
        (&held["heldBy"], &held["needs"]["signatures"]),
        (&json!("TRAVEL_RULE"), &json!("TRAVEL_RULE"))
    );
    assert_eq!(told.post("platform.lead", "disclosures", &json!({})).await.0, 404, "nothing is there");

    let mut invalid = data();
    invalid["originator"]["accountNumber"] = json!(["Muster".repeat(20)]);
    let mut unknown = data();
    unknown["Muster"] = json!(1);
    let mut large = data();
    large["originator"]["accountNumber"] = json!(["x".repeat(40_000)]);
    for (user, body, status, kind) in [
        ("platform.officer", &data(), 403, "forbidden"),
        ("client.operator", &json!([]), 400, "malformed-request"),
        ("client.operator", &unknown, 400, "malformed-request"),
        ("client.operator", &invalid, 422, "invalid-request"),
        ("client.operator", &large, 413, "too-large"),
    ] {
        let (found, problem, answer) = told.put(user, body).await;
        assert_eq!((found, problem.as_str()), (status, kind), "{answer}");
        assert!(!answer.to_string().contains("Muster"), "{answer}");
    }
    assert_eq!(
        told.put("client.operator", &invalid).await.2["errors"][0]["field"],
        "originator.accountNumber[0]"
    );
    let (status, _, taken) = told.put("client.operator", &data()).await;
    assert_eq!((status, &taken["state"], &taken["round"]), (200, &json!("SUBMITTED"), &json!(1)), "{taken}");
    told.look().await;
    assert_eq!(told.status().await, WAITS);

    for user in ["client.operator", "client.approver", "platform.viewer", "platform.auditor"] {
        assert_eq!(told.post(user, "disclosures", &json!({})).await.0, 403, "{user}");
    }
    for user in ["platform.officer", "platform.lead"] {
        let (status, _, seen) = told.post(user, "disclosures", &json!({})).await;
        assert_eq!((status, &seen["ivms101"]), (200, &data()), "{user}");
    }
    let looks = told.server.events("travel_rule.disclosed").await;
    assert_eq!(looks.len(), 2);
    assert!(looks[1]["by"].as_str().unwrap().starts_with("user platform.lead"), "{looks:?}");
    told.no_names().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outcome__should_be_noted_by_compliance_and_count_once() {
    let dir = tempfile::tempdir().unwrap();
    let told = Told::start(dir.path(), None).await;
    let accepted = json!({ "accepted": true, "round": 1, "reference": "letter-7" });
    let (status, kind, _) = told.post("platform.officer", "outcome", &accepted).await;
    assert_eq!((status, kind.as_str()), (409, "not-possible-now"), "there is nothing to tell yet");
    assert_eq!(told.put("client.operator", &data()).await.0, 200);
    told.look().await;
    assert_eq!(told.post("client.operator", "outcome", &accepted).await.0, 403);
    let of_other_data = json!({ "accepted": true, "round": 2, "reference": "letter-7" });
    assert_eq!(told.post("platform.officer", "outcome", &of_other_data).await.0, 409);
    let talks = json!({ "accepted": true, "round": 1, "reference": "Rosa is fine" });
    assert_eq!(told.post("platform.officer", "outcome", &talks).await.0, 422);
    let (status, _, noted) = told.post("platform.officer", "outcome", &accepted).await;
    assert_eq!((status, &noted["state"], &noted["reference"]), (200, &json!("ACCEPTED"), &json!("letter-7")));
    assert_eq!(told.post("platform.officer", "outcome", &accepted).await.0, 409, "it is decided");
    told.look().await;
    assert_eq!(told.status().await.0, Status::Queued);
    assert_eq!(told.put("client.operator", &data()).await.0, 409);
    let verdicts = told.server.events("travel_rule.verdict").await;
    assert_eq!((verdicts.len(), &verdicts[0]["outcome"]), (1, &json!("ACCEPTED")));
    assert!(verdicts[0]["notedBy"].as_str().unwrap().starts_with("user platform.officer"), "{verdicts:?}");
    told.no_names().await;
}

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// An exchange that answers these, one after the other, and keeps idempotency keys and bodies.
async fn exchange(answers: Vec<(u16, Value)>) -> (String, Seen) {
    let seen = Seen::default();
    let (kept, answers) = (seen.clone(), Arc::new(Mutex::new(answers.into_iter())));
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        let name = headers["idempotency-key"].to_str().unwrap().to_owned();
        kept.lock().unwrap().push((name, serde_json::from_slice(&body).unwrap()));
        let (status, answer) = answers.lock().unwrap().next().unwrap();
        (axum::http::StatusCode::from_u16(status).unwrap(), answer.to_string())
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/exchange", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/exchange", post(handler))).await });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn exchange_over_http__should_be_told_once_and_decide() {
    let dir = tempfile::tempdir().unwrap();
    let accepted = json!({ "status": "ACCEPTED", "reference": "trp-1" });
    let (url, seen) = exchange(vec![(503, json!("down")), (200, accepted)]).await;
    let told = Told::start(dir.path(), Some(url)).await;
    assert_eq!(told.put("client.operator", &data()).await.0, 200);
    told.look().await;
    assert_eq!(told.status().await, (Status::PendingReview, Some(SubStatus::TravelRuleUnavailable)));
    // The service is back: the same data is the same exchange.
    assert_eq!(told.put("client.operator", &data()).await.0, 200);
    told.look().await;
    assert_eq!(told.status().await.0, Status::Queued);
    let seen = seen.lock().unwrap().clone();
    let name = format!("{}:1", told.transfer);
    assert_eq!(seen.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), [name.as_str(); 2]);
    assert_eq!((&seen[1].1["ivms101"], &seen[1].1["amount"]), (&data(), &json!("9")));
    let (_, _, shown) = told.call("platform.viewer", Method::GET, "travel-rule", None).await;
    assert_eq!((&shown["state"], &shown["reference"]), (&json!("ACCEPTED"), &json!("trp-1")));
    told.no_names().await;
}
