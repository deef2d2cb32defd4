//! A service of the desk's own, in the JSON of docs/screening.md.

use crate::support::*;
use axum::http::HeaderMap;
use base64ct::{Base64, Encoding as _};
use bursar_domain::{
    governance::{
        log::EntryDigest,
        testing::{FOUNDED, TestDesk, key},
    },
    intent::{Intent, Terms},
    screening::{Answer, Assessment, RiskBand, Screened, ScreeningService as _, Unanswered},
    time::Clock,
};
use bursar_kyt::provider::{Callback, CallbackRefused, Provider, http::Hook};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json as value};
use sha2::Sha256;
use std::{sync::Arc, time::Duration};
use wiremock::{
    Mock, MockServer, Request,
    matchers::{header, method},
};

fn hook(url: &str) -> Hook {
    let clock: Arc<dyn Clock> = SetClock::new();
    let signing = secret("whsec_c2VjcmV0");
    Hook::new(server(url), Some(secret("t0ken")), Some(&signing), clock).ok().unwrap()
}

pub fn provider(url: &str) -> Arc<dyn Provider> {
    Arc::new(hook(url))
}

fn mac(id: &str, seconds: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    format!("v1,{}", Base64::encode_string(&mac.finalize().into_bytes()))
}

fn is_signed(request: &Request) -> bool {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let seconds = FOUNDED.0 / 1_000_000;
    header("webhook-timestamp") == seconds.to_string()
        && header("webhook-signature") == mac(header("webhook-id"), seconds, &request.body)
}

async fn answering(body: Value) -> MockServer {
    let stand_in = MockServer::start().await;
    let good = Mock::given(method("POST")).and(header("authorization", "Bearer t0ken")).and(is_signed);
    good.respond_with(json(200, body)).mount(&stand_in).await;
    stand_in
}

fn complete(risk: &str) -> Value {
    value!({ "status": "complete", "reference": "case 7", "risk": risk })
}

#[tokio::test]
async fn answers_lead_to_outcomes() {
    let with = |field: &str, what: Value| {
        let mut body = complete("LOW");
        body[field] = what;
        body
    };
    let finding =
        |category: &str, risk: &str| value!([{ "category": category, "risk": risk, "description": "d" }]);
    for (body, expected) in [
        (complete("LOW"), CLEAR),
        (complete("MEDIUM"), (Screened::Review, RiskBand::Medium, false)),
        (complete("UNKNOWN"), (Screened::Review, RiskBand::Unknown, false)),
        (complete("SEVERE"), (Screened::Block, RiskBand::Severe, false)),
        (with("sanctions", value!(true)), SANCTIONED),
        (with("outcome", value!("REVIEW")), (Screened::Review, RiskBand::Low, false)),
        (with("findings", finding("mixing", "HIGH")), (Screened::Block, RiskBand::High, false)),
        (with("findings", finding("Sanctions", "LOW")), SANCTIONED),
    ] {
        let stand_in = answering(body.clone()).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn everything_that_is_known_is_asked_with_it() {
    let stand_in = answering(complete("LOW")).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    for inquiry in [outbound(), broadcast(), deposit(), address(PAYEE)] {
        assert_eq!(scene.outcome(&inquiry).await, CLEAR);
    }
    let sent = bodies(&stand_in, "/").await;
    let (amount, network) = ("150000000", "bitcoin:regtest");
    let id = |inquiry: bursar_domain::screening::Inquiry| inquiry.external_id(0, 0);
    let out = value!({ "id": id(outbound()), "kind": "OUTBOUND", "network": network, "address": PAYEE, "asset": "BTC", "amount": amount });
    assert_eq!(sent[0], out);
    assert_eq!((&sent[1]["kind"], &sent[1]["txId"]), (&value!("BROADCAST"), &value!(TX)));
    let deposit = value!({
        "id": id(deposit()), "kind": "DEPOSIT", "network": network, "address": "bcrt1qours", "asset": "BTC", "amount": "5",
        "txId": TX, "index": 1, "from": [OTHER]
    });
    assert_eq!(sent[2], deposit);
    let only = value!({ "id": id(address(PAYEE)), "kind": "ADDRESS", "network": network, "address": PAYEE });
    assert_eq!(sent[3], only);
}

#[tokio::test]
async fn pending_is_waited_for_and_then_given_on() {
    // Soon enough to be waited for.
    let pending =
        |seconds: u64| value!({ "status": "pending", "reference": "p", "retryAfterSeconds": seconds });
    let stand_in = MockServer::start().await;
    Mock::given(method("POST")).respond_with(json(200, pending(1))).up_to_n_times(1).mount(&stand_in).await;
    Mock::given(method("POST")).respond_with(json(200, complete("LOW"))).mount(&stand_in).await;
    assert_eq!(Scene::new(provider(&stand_in.uri())).outcome(&outbound()).await, CLEAR);
    // Too late for that.
    let stand_in = answering(pending(60)).await;
    let answer = Scene::new(provider(&stand_in.uri())).screen(&outbound()).await.unwrap();
    assert_eq!(answer, Answer::Pending { reference: "p".into(), retry_after: Duration::from_secs(60) });
}

#[tokio::test]
async fn what_it_cannot_say_is_no_answer() {
    for (body, code) in [
        (value!({ "status": "unsupported", "reason": "no bitcoin here" }), "UNSUPPORTED"),
        (value!({ "status": "unknown", "reason": "never seen" }), "UNKNOWN"),
        (value!({ "status": "complete", "reference": "r", "risk": "NONE" }), "MALFORMED"),
        (value!({ "status": "complete", "reference": "r", "risk": "LOW", "extra": 1 }), "MALFORMED"),
        (value!({ "status": "complete", "reference": "r", "risk": "LOW", "expiresAt": "soon" }), "MALFORMED"),
        (
            value!({ "status": "complete", "reference": "r", "risk": "LOW", "expiresAt": "2025-01-01T00:00:00Z" }),
            "MALFORMED",
        ),
    ] {
        let stand_in = answering(body.clone()).await;
        let refused = Scene::new(provider(&stand_in.uri())).screen(&outbound()).await.unwrap_err();
        assert_eq!(refused.code(), code, "{body}");
    }
}

#[tokio::test]
async fn the_worst_payee_counts_and_each_is_asked_once() {
    let of_payee = |request: &Request| {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        match asked["address"].as_str().unwrap() {
            OTHER => json(
                200,
                value!({ "status": "complete", "reference": "bad", "risk": "HIGH", "expiresAt": "2026-01-01T00:05:00Z" }),
            ),
            "bcrt1qlate" => {
                json(200, value!({ "status": "pending", "reference": "late", "retryAfterSeconds": 60 }))
            }
            _ => json(200, complete("LOW")),
        }
    };
    let stand_in = MockServer::start().await;
    Mock::given(method("POST")).respond_with(of_payee).mount(&stand_in).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    let batch = bursar_domain::screening::Inquiry::outbound(order(&[PAYEE, OTHER]));
    let Assessment { outcome, risk, expires_at, reference, .. } = scene.assessment(&batch).await;
    assert_eq!((outcome, risk), (Screened::Block, RiskBand::High));
    assert_eq!(expires_at, FOUNDED.plus(Duration::from_secs(300)));
    assert_eq!(reference, "bad and 1 more");
    // One that is late keeps the others waiting, but they are not asked about again.
    let late = bursar_domain::screening::Inquiry::outbound(order(&[PAYEE, "bcrt1qlate"]));
    for expected in [4, 5] {
        assert!(matches!(scene.screen(&late).await, Ok(Answer::Pending { .. })));
        assert_eq!(count(&stand_in).await, expected);
    }
}

#[tokio::test]
async fn an_answer_is_the_same_until_it_expires() {
    let stand_in = answering(complete("LOW")).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    let first = scene.screen(&outbound()).await.unwrap();
    scene.clock.pass(SETTINGS.validity - Duration::from_secs(1));
    assert_eq!(scene.screen(&outbound()).await.unwrap(), first);
    assert_eq!(count(&stand_in).await, 1);
    scene.clock.pass(Duration::from_secs(1));
    assert_ne!(scene.screen(&outbound()).await.unwrap(), first);
    assert_eq!(count(&stand_in).await, 2);
    // A new round asks anew, under another id.
    scene.screener.screen(&outbound(), 1).await.unwrap();
    let sent = bodies(&stand_in, "/").await;
    assert_eq!(sent[0]["id"], sent[1]["id"]);
    assert_ne!(sent[1]["id"], sent[2]["id"]);
}

#[tokio::test]
async fn many_that_ask_the_same_at_once_ask_the_provider_once() {
    let stand_in = answering(complete("LOW")).await;
    let scene = Arc::new(Scene::new(provider(&stand_in.uri())));
    let asking = (0..20).map(|_| {
        let scene = scene.clone();
        tokio::spawn(async move { scene.screen(&outbound()).await.unwrap() })
    });
    let answers = futures::future::join_all(asking).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
    assert_eq!(count(&stand_in).await, 1);
}

#[tokio::test]
async fn alerts_are_taken_with_their_signature_only() {
    let hook = hook("http://127.0.0.1:1");
    let body = value!({ "alerts": [
        { "id": "1", "about": "ours", "risk": "HIGH", "category": "mixing" },
        { "id": "2", "network": "bitcoin:regtest", "address": PAYEE, "risk": "LOW", "sanctions": true, "raisedAt": "2026-01-02T00:00:00Z" }
    ]})
    .to_string();
    let seconds = FOUNDED.0 / 1_000_000;
    let signed = |body: &str, at: i64| {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "m-1".parse().unwrap());
        headers.insert("webhook-timestamp", at.to_string().parse().unwrap());
        headers.insert("webhook-signature", mac("m-1", at, body.as_bytes()).parse().unwrap());
        headers
    };
    let take = |body: &str, headers: &HeaderMap| {
        hook.callback(&Callback { headers, body: body.as_bytes(), now: FOUNDED })
    };
    let alerts = take(&body, &signed(&body, seconds)).unwrap();
    assert_eq!((alerts.len(), alerts[1].sanctions), (2, true));
    assert_eq!(take(&body, &HeaderMap::new()), Err(CallbackRefused::Unauthenticated));
    assert_eq!(take(&body, &signed("{}", seconds)), Err(CallbackRefused::Unauthenticated));
    assert_eq!(take(&body, &signed(&body, seconds - 301)), Err(CallbackRefused::Stale));
    for wrong in ["{}", "{\"alerts\":[{}]}", "[]", "{\"alerts\":[],\"x\":1}"] {
        let refused = take(wrong, &signed(wrong, seconds));
        assert!(matches!(refused, Err(CallbackRefused::Malformed(_))), "{wrong}");
    }
    // Without a secret there are none.
    let clock: Arc<dyn Clock> = SetClock::new();
    let open = Hook::new(server("http://127.0.0.1:1"), None, None, clock).ok().unwrap();
    let headers = signed(&body, seconds);
    let refused = open.callback(&Callback { headers: &headers, body: body.as_bytes(), now: FOUNDED });
    assert_eq!(refused, Err(CallbackRefused::None));
}

#[tokio::test]
async fn orders_that_make_no_sense_reach_nobody() {
    let stand_in = answering(complete("LOW")).await;
    let scene = Scene::new(provider(&stand_in.uri()));
    let mut forged = order(&[PAYEE]);
    spoil(&mut forged);
    let terms = TestDesk::new(0).terms();
    let of_another_desk =
        key("client.operator").order(Intent { terms: Some(terms.clone()), ..order(&[PAYEE]).intent });
    let mut changed = order(&[PAYEE]);
    changed.intent.payments[0].destination.address = OTHER.into();
    let mut empty = order(&[PAYEE]);
    empty.intent.payments.clear();
    for wrong in [forged, changed, empty, of_another_desk] {
        let refused = scene.screen(&bursar_domain::screening::Inquiry::outbound(wrong)).await;
        assert!(matches!(refused, Err(Unanswered::Refused(_))));
    }
    assert_eq!(count(&stand_in).await, 0);
    // Whose signature is under one of this desk, co-signers say, who have its log.
    let terms = Terms { desk: EntryDigest([3; 32]), ..terms };
    let order = key("nobody").order(Intent { terms: Some(terms), ..order(&[PAYEE]).intent });
    scene.screen(&bursar_domain::screening::Inquiry::outbound(order)).await.unwrap();
    assert_eq!(count(&stand_in).await, 1);
}
