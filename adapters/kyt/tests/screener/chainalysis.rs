//! Stand-in of docs.chainalysis.com/api/kyt: registrations that are processed later, alerts, exposures, identifications, entities.

use crate::support::*;
use bursar_domain::screening::{Answer, RiskBand, Screened, ScreeningService as _, Unanswered};
use bursar_kyt::provider::{
    Provider,
    chainalysis::{Chainalysis, NETWORKS},
};
use serde_json::{Value, json as value};
use std::sync::Arc;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{header, method, path, query_param},
};

const ATTEMPTS: &str = "/api/kyt/v2/users/desk/withdrawal-attempts";
const TRANSFERS: &str = "/api/kyt/v2/users/desk/transfers";
const EXTERNAL: &str = "9855b826-2bad-31f2-8a89-96f164293a83";

pub fn provider(url: &str) -> Arc<dyn Provider> {
    let coverage = coverage(NETWORKS);
    let alerts = "/api/kyt/v1/alerts".to_owned();
    Arc::new(Chainalysis::new(server(url), secret("k3y"), "desk".into(), coverage, alerts, SetClock::new()))
}

fn registration(updated: Option<&str>) -> Value {
    value!({
        "updatedAt": updated, "asset": "BTC", "assetId": null, "network": "Bitcoin", "attemptIdentifier": "x",
        "assetAmount": 1.5, "usdAmount": null, "externalId": EXTERNAL
    })
}

async fn answer(stand_in: &MockServer, verb: &str, at: &str, response: ResponseTemplate) {
    Mock::given(method(verb))
        .and(path(at))
        .and(header("token", "k3y"))
        .respond_with(response)
        .mount(stand_in)
        .await;
}

/// Everything registered is processed, with these alerts and whom the funds touch.
async fn processed(kind: &str, alerts: Value, exposures: Value, identifications: Value) -> MockServer {
    let stand_in = MockServer::start().await;
    let (post, get) = (format!("/api/kyt/v2/users/desk/{kind}"), format!("/api/kyt/v2/{kind}/{EXTERNAL}"));
    answer(&stand_in, "POST", &post, json(202, registration(None))).await;
    answer(&stand_in, "GET", &get, json(200, registration(Some("2026-01-01T00:00:01.000Z")))).await;
    answer(&stand_in, "GET", &format!("{get}/alerts"), json(200, value!({ "alerts": alerts }))).await;
    answer(&stand_in, "GET", &format!("{get}/exposures"), json(200, exposures)).await;
    let known = value!({ "chainalysisIdentifications": identifications, "customAddresses": [] });
    answer(&stand_in, "GET", &format!("{get}/address-identifications"), json(200, known)).await;
    stand_in
}

fn alert(level: &str, category: &str, id: u64) -> Value {
    value!({
        "alertLevel": level, "category": category, "service": "somewhere", "externalId": "a-1", "alertAmount": 100.5,
        "exposureType": "DIRECT", "categoryId": id
    })
}

fn nobody() -> Value {
    value!({ "direct": null, "indirect": [] })
}

#[tokio::test]
async fn alerts_lead_to_outcomes() {
    for (alerts, expected) in [
        (value!([]), CLEAR),
        (value!([alert("LOW", "exchange", 1)]), CLEAR),
        (value!([alert("MEDIUM", "gambling", 5)]), (Screened::Review, RiskBand::Medium, false)),
        (
            value!([alert("LOW", "exchange", 1), alert("HIGH", "mixing", 9)]),
            (Screened::Block, RiskBand::High, false),
        ),
        (value!([alert("SEVERE", "stolen funds", 11)]), (Screened::Block, RiskBand::Severe, false)),
        (value!([alert("NEW LEVEL", "x", 11)]), (Screened::Review, RiskBand::Unknown, false)),
        (value!([alert("LOW", "sanctions", 1)]), SANCTIONED),
        (value!([alert("LOW", "x", 3)]), SANCTIONED),
    ] {
        let stand_in = processed("withdrawal-attempts", alerts.clone(), nobody(), value!([])).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected, "{alerts}");
    }
}

#[tokio::test]
async fn sanctions_are_seen_in_exposures_and_identifications_without_an_alert() {
    let sanctioned =
        value!({ "name": "SomeExchange", "category": "sanctioned entity", "categoryId": 3, "value": 1 });
    let harmless = value!({ "name": "Other", "category": "exchange", "categoryId": 1, "value": 1 });
    for (exposures, known, expected) in [
        (value!({ "direct": harmless, "indirect": [harmless] }), value!([]), CLEAR),
        (value!({ "direct": sanctioned, "indirect": [] }), value!([]), SANCTIONED),
        (value!({ "direct": harmless, "indirect": [sanctioned] }), value!([]), SANCTIONED),
        (
            nobody(),
            value!([{ "addressName": "SANCTIONS: OFAC SDN: Somebody", "description": "this address", "categoryId": 3 }]),
            SANCTIONED,
        ),
    ] {
        let stand_in = processed("withdrawal-attempts", value!([]), exposures, known).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected);
    }
}

#[tokio::test]
async fn what_is_asked_is_what_is_documented() {
    let stand_in = processed("withdrawal-attempts", value!([]), nobody(), value!([])).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    let assessment = scene.assessment(&outbound()).await;
    assert_eq!((assessment.provider.as_str(), assessment.reference.as_str()), ("chainalysis", EXTERNAL));
    let id = outbound().external_id(0, 0);
    assert_eq!(
        bodies(&stand_in, ATTEMPTS).await,
        [value!({
            "network": "Bitcoin", "asset": "BTC", "address": PAYEE, "attemptIdentifier": id, "assetAmount": 1.5,
            "attemptTimestamp": "2026-01-01T00:00:00.000Z"
        })]
    );
    for (inquiry, direction, reference) in
        [(broadcast(), "sent", format!("{TX}:{PAYEE}")), (deposit(), "received", format!("{TX}:bcrt1qours"))]
    {
        let stand_in =
            processed("transfers", value!([alert("HIGH", "mixing", 9)]), nobody(), value!([])).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&inquiry).await.0, Screened::Block);
        let sent = bodies(&stand_in, TRANSFERS).await;
        assert_eq!((sent.len(), &sent[0]["direction"]), (1, &value!(direction)));
        assert_eq!(sent[0]["transferReference"], reference);
    }
}

#[tokio::test]
async fn what_is_not_processed_is_pending_and_registered_once() {
    let stand_in = MockServer::start().await;
    answer(&stand_in, "POST", ATTEMPTS, json(202, registration(None))).await;
    let found = format!("/api/kyt/v2/withdrawal-attempts/{EXTERNAL}");
    // It is not found at first, then not processed.
    let absent = Mock::given(method("GET")).and(path(&found)).respond_with(ResponseTemplate::new(404));
    absent.up_to_n_times(1).mount(&stand_in).await;
    let unprocessed =
        Mock::given(method("GET")).and(path(&found)).respond_with(json(200, registration(None)));
    unprocessed.up_to_n_times(1).mount(&stand_in).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    for _ in 0..2 {
        assert!(matches!(scene.screen(&outbound()).await, Ok(Answer::Pending { .. })));
    }
    answer(&stand_in, "GET", &found, json(200, registration(Some("2026-01-01T00:00:01.000Z")))).await;
    answer(&stand_in, "GET", &format!("{found}/alerts"), json(200, value!({ "alerts": [] }))).await;
    assert_eq!(scene.outcome(&outbound()).await, CLEAR);
    assert_eq!(bodies(&stand_in, ATTEMPTS).await.len(), 1);
    // And it is not asked about again while it counts.
    let before = count(&stand_in).await;
    assert_eq!(scene.outcome(&outbound()).await, CLEAR);
    assert_eq!(count(&stand_in).await, before);
    // A screener that was started anew registers it under the same name; another round under another.
    let anew = Scene::new(provider(&stand_in.uri()));
    anew.outcome(&outbound()).await;
    anew.screener.screen(&outbound(), 1).await.unwrap();
    let sent = bodies(&stand_in, ATTEMPTS).await;
    assert_eq!(sent[0]["attemptIdentifier"], sent[1]["attemptIdentifier"]);
    assert_ne!(sent[1]["attemptIdentifier"], sent[2]["attemptIdentifier"]);
}

#[tokio::test]
async fn addresses_are_entities() {
    for (risk, status, expected) in [
        ("Low", "COMPLETE", Some(CLEAR)),
        ("Medium", "COMPLETE", Some((Screened::Review, RiskBand::Medium, false))),
        ("Severe", "COMPLETE", Some((Screened::Block, RiskBand::Severe, false))),
        ("Low", "PENDING", None),
    ] {
        let stand_in = MockServer::start().await;
        answer(&stand_in, "POST", "/api/risk/v2/entities", json(201, value!({ "address": PAYEE }))).await;
        let entity = value!({
            "address": PAYEE, "risk": risk, "riskReason": null, "status": status, "addressType": "PRIVATE_WALLET",
            "cluster": { "name": "x", "category": "exchange" }, "addressIdentifications": [], "triggers": [],
            "exposures": [{ "category": "exchange", "value": 10.5, "exposureType": "direct", "direction": "both_directions" }]
        });
        answer(&stand_in, "GET", &format!("/api/risk/v2/entities/{PAYEE}"), json(200, entity)).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        match expected {
            Some(expected) => assert_eq!(scene.outcome(&address(PAYEE)).await, expected, "{risk}"),
            None => assert!(matches!(scene.screen(&address(PAYEE)).await, Ok(Answer::Pending { .. }))),
        }
    }
}

#[tokio::test]
async fn answers_about_something_else_do_not_count() {
    let stand_in = MockServer::start().await;
    answer(&stand_in, "POST", ATTEMPTS, json(202, registration(None))).await;
    let other = value!({ "externalId": "other", "updatedAt": "2026-01-01T00:00:01.000Z" });
    answer(&stand_in, "GET", &format!("/api/kyt/v2/withdrawal-attempts/{EXTERNAL}"), json(200, other)).await;
    answer(&stand_in, "POST", "/api/risk/v2/entities", json(201, value!({}))).await;
    let entity = value!({ "address": OTHER, "risk": "Low", "status": "COMPLETE" });
    answer(&stand_in, "GET", &format!("/api/risk/v2/entities/{PAYEE}"), json(200, entity)).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    for inquiry in [outbound(), address(PAYEE)] {
        assert!(matches!(scene.screen(&inquiry).await, Err(Unanswered::Malformed(_))));
    }
}

#[tokio::test]
async fn alerts_are_read_page_by_page_from_where_it_was() {
    let stand_in = MockServer::start().await;
    let alert = |n: usize, created: &str| {
        value!({
            "alertIdentifier": format!("a-{n}"), "level": "SEVERE", "category": "stolen funds", "service": null, "createdAt": created,
            "transferReference": format!("{TX}:{PAYEE}"), "transactionHash": TX, "direction": "sent", "alertAmountUsd": 10,
            "exposureType": "INDIRECT", "transferOutputAddress": PAYEE, "asset": "BTC", "userId": "desk"
        })
    };
    let first: Vec<Value> = (0..100).map(|n| alert(n, "2026-01-02T00:00:00.000Z")).collect();
    let page = |offset: &str, data: Vec<Value>| {
        let body = value!({ "total": 101, "limit": 100, "offset": 0, "data": data });
        Mock::given(method("GET"))
            .and(path("/api/kyt/v1/alerts"))
            .and(header("token", "k3y"))
            .and(query_param("offset", offset))
            .respond_with(json(200, body))
    };
    page("0", first).mount(&stand_in).await;
    page("100", vec![alert(100, "2026-01-03T00:00:00.000Z")]).mount(&stand_in).await;
    let read = provider(&stand_in.uri()).alerts(None).await.unwrap();
    assert_eq!((read.alerts.len(), read.next.as_deref()), (101, Some("2026-01-03T00:00:00.000Z")));
    assert_eq!(read.alerts[0].about.tx_id.as_deref(), Some(TX));
    let again = provider(&stand_in.uri()).alerts(read.next.as_deref()).await.unwrap();
    assert_eq!(again.next, read.next);
    let requests = stand_in.received_requests().await.unwrap();
    let query = requests.last().unwrap().url.query().unwrap().to_owned();
    assert!(query.contains("createdAt_gte=2026-01-03T00%3A00%3A00.000Z"), "{query}");
}

#[tokio::test]
async fn the_first_poll_looks_back_thirty_days_and_its_place_is_kept() {
    let stand_in = MockServer::start().await;
    // By a clock that stands at the beginning of 2026.
    let since = "2025-12-02T00:00:00.000Z";
    let page = Mock::given(method("GET")).and(path("/api/kyt/v1/alerts"));
    let page = page.and(query_param("createdAt_gte", since)).and(query_param("offset", "0"));
    page.respond_with(json(200, value!({ "total": 0, "data": [] }))).mount(&stand_in).await;
    let provider = provider(&stand_in.uri());
    for cursor in [None, Some(since)] {
        let read = provider.alerts(cursor).await.unwrap();
        assert_eq!((read.alerts.len(), read.next.as_deref(), read.more), (0, Some(since), false));
    }
}

#[tokio::test]
async fn more_alerts_than_fit_into_one_go_are_read_on_in_the_next() {
    let stand_in = MockServer::start().await;
    let alert = |n: usize, created: &str| {
        value!({
            "alertIdentifier": format!("a-{n}"), "level": "SEVERE", "category": "stolen funds", "createdAt": created,
            "transferReference": format!("{TX}:{PAYEE}"), "transactionHash": TX, "transferOutputAddress": PAYEE
        })
    };
    // The newest comes first: the order is not promised.
    for page in 0..=20 {
        let count = if page == 20 { 1 } else { 100 };
        let created = if page == 0 { "2026-01-03T00:00:00.000Z" } else { "2026-01-02T00:00:00.000Z" };
        let data: Vec<Value> = (0..count).map(|n| alert(page * 100 + n, created)).collect();
        Mock::given(method("GET"))
            .and(path("/api/kyt/v1/alerts"))
            .and(query_param("createdAt_gte", "2026-01-01T00:00:00.000Z"))
            .and(query_param("offset", (page * 100).to_string()))
            .respond_with(json(200, value!({ "total": 2001, "data": data })))
            .mount(&stand_in)
            .await;
    }
    let provider = provider(&stand_in.uri());
    let first = provider.alerts(Some("2026-01-01T00:00:00.000Z")).await.unwrap();
    assert_eq!((first.alerts.len(), first.more), (2000, true));
    let rest = provider.alerts(first.next.as_deref()).await.unwrap();
    assert_eq!((rest.alerts.len(), rest.more), (1, false));
    assert_eq!(rest.alerts[0].id, "a-2000");
    assert_eq!(rest.next.as_deref(), Some("2026-01-03T00:00:00.000Z"));
}
