//! Stand-in of the AML API v2: signed requests, synchronous analyses.

use crate::support::*;
use axum::http::HeaderMap;
use base64ct::{Base64, Encoding as _};
use bursar_domain::{
    governance::testing::FOUNDED,
    screening::{Answer, RiskBand, Screened, Unanswered},
    time::Clock,
};
use bursar_kyt::{
    mapping::MappingConfig,
    provider::{
        Callback, CallbackRefused, Level, Provider,
        elliptic::{Elliptic, NETWORKS},
    },
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json as value};
use sha2::Sha256;
use std::sync::Arc;
use wiremock::{Mock, MockServer, Request, matchers::method};

const WALLET: &str = "/v2/wallet/synchronous";
const ANALYSES: &str = "/v2/analyses/synchronous";

fn elliptic(url: &str) -> Elliptic {
    let clock: Arc<dyn Clock> = SetClock::new();
    let signing = secret("c2VjcmV0");
    let callback = Some(secret("callback-t0ken"));
    Elliptic::new(server(url), secret("k3y"), &signing, coverage(NETWORKS), callback, clock).ok().unwrap()
}

pub fn provider(url: &str) -> Arc<dyn Provider> {
    Arc::new(elliptic(url))
}

/// As the vendor verifies it.
fn is_signed(request: &Request) -> bool {
    let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").unwrap();
    let text = format!(
        "{}{}{}{}",
        header("x-access-timestamp"),
        request.method,
        request.url.path().to_lowercase(),
        String::from_utf8_lossy(&request.body)
    );
    mac.update(text.as_bytes());
    let millis = (FOUNDED.0 / 1000).to_string();
    header("x-access-key") == "k3y"
        && header("x-access-timestamp") == millis
        && header("x-access-sign") == Base64::encode_string(&mac.finalize().into_bytes())
}

fn analysis(score: Value, hash: &str) -> Value {
    value!({
        "id": "b7535048-76f8-4f60-bdd3-9d659298f9e7", "type": "wallet_exposure",
        "subject": { "asset": "holistic", "type": "address", "hash": hash, "blockchain": "holistic" },
        "customer": { "id": "c", "reference": "foobar" }, "analysed_at": "2026-01-01T00:00:00.000Z",
        "process_status": "complete", "risk_score": score, "error": null, "cluster_entities": [],
        "evaluation_detail": { "source": [], "destination": [] }
    })
}

async fn answering(status: u16, body: Value) -> MockServer {
    let stand_in = MockServer::start().await;
    let signed = Mock::given(method("POST")).and(is_signed).respond_with(json(status, body));
    signed.mount(&stand_in).await;
    stand_in
}

fn rule(score: f64, category: &str, sanctioned: bool) -> Value {
    value!([{
        "rule_id": "r", "rule_name": "Illicit", "risk_score": score, "rule_type": "exposure",
        "matched_elements": [{
            "category": category, "contribution_percentage": 1.5,
            "contributions": [{ "entity": "Somebody", "risk_triggers": { "name": "x", "is_sanctioned": sanctioned } }]
        }]
    }])
}

#[tokio::test]
async fn scores_lead_to_outcomes() {
    for (score, expected) in [
        (value!(0), CLEAR),
        (value!(0.5), CLEAR),
        (value!(2.5), (Screened::Review, RiskBand::Medium, false)),
        (value!(6), (Screened::Block, RiskBand::High, false)),
        (value!(9.038_007), (Screened::Block, RiskBand::Severe, false)),
        (value!(null), (Screened::Review, RiskBand::Unknown, false)),
        (value!(11), (Screened::Review, RiskBand::Unknown, false)),
    ] {
        let stand_in = answering(200, analysis(score.clone(), PAYEE)).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected, "{score}");
    }
    // What "no rule fired" means can be said.
    let stand_in = answering(200, analysis(value!(null), PAYEE)).await;
    let lenient = MappingConfig { nothing_found: Some(RiskBand::Low), ..MappingConfig::default() };
    let scene = Scene::with(provider(&stand_in.uri()), SETTINGS, lenient);
    assert_eq!(scene.outcome(&outbound()).await, CLEAR);
}

#[tokio::test]
async fn sanctions_block_whatever_the_score() {
    let with = |field: &str, what: Value| {
        let mut body = analysis(value!(0), PAYEE);
        body[field] = what;
        body
    };
    let entity = |category: &str, sanctioned: Value| value!([{ "name": "Somebody", "category": category, "is_after_sanction_date": sanctioned }]);
    let directions = |rules: Value| value!({ "source": [], "destination": rules });
    for (body, expected) in [
        (with("evaluation_detail", directions(rule(0.1, "Exchange", false))), CLEAR),
        (with("evaluation_detail", directions(rule(0.1, "Exchange", true))), SANCTIONED),
        (with("evaluation_detail", directions(rule(0.1, "Sanctioned Entity", false))), SANCTIONED),
        (with("evaluation_detail", rule(0.1, "OFAC SDN", false)), SANCTIONED),
        (with("cluster_entities", entity("Exchange", value!(null))), CLEAR),
        (with("cluster_entities", entity("Exchange", value!(true))), SANCTIONED),
    ] {
        let stand_in = answering(200, body.clone()).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected, "{body}");
    }
}

#[tokio::test]
async fn what_is_asked_is_what_is_documented() {
    for (inquiry, at, kind, hash) in [
        (outbound(), WALLET, "wallet_exposure", PAYEE),
        (address(PAYEE), WALLET, "wallet_exposure", PAYEE),
        (broadcast(), ANALYSES, "destination_of_funds", TX),
        (deposit(), ANALYSES, "source_of_funds", TX),
    ] {
        let stand_in = answering(200, analysis(value!(0), hash)).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&inquiry).await, CLEAR);
        let sent = bodies(&stand_in, at).await;
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0]["type"], kind);
        assert_eq!(sent[0]["subject"]["hash"], hash);
        assert_eq!(sent[0]["customer_reference"], inquiry.external_id(0, 0));
        let output = &sent[0]["subject"]["output_address"];
        assert_eq!(output.is_null(), at == WALLET, "{output}");
    }
}

#[tokio::test]
async fn analyses_that_run_are_pending_and_failed_ones_are_no_answer() {
    let with = |status: &str| {
        let mut body = analysis(value!(0), PAYEE);
        body["process_status"] = value!(status);
        body["error"] = value!({ "message": "something went wrong" });
        body
    };
    for (http, body) in [(200, with("running")), (202, value!({}))] {
        let stand_in = answering(http, body).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert!(matches!(scene.screen(&outbound()).await, Ok(Answer::Pending { .. })));
        stand_in.reset().await;
        let done = Mock::given(method("POST")).and(is_signed);
        done.respond_with(json(200, analysis(value!(0), PAYEE))).mount(&stand_in).await;
        assert_eq!(scene.outcome(&outbound()).await, CLEAR);
    }
    for (body, code) in [
        (with("error"), "UNAVAILABLE"),
        (with("whatever"), "MALFORMED"),
        (analysis(value!(0), OTHER), "MALFORMED"),
    ] {
        let stand_in = answering(200, body).await;
        let refused = Scene::new(provider(&stand_in.uri())).screen(&outbound()).await.unwrap_err();
        assert_eq!(refused.code(), code);
    }
    let stand_in = answering(404, value!({ "name": "NotInBlockchain" })).await;
    let refused = Scene::new(provider(&stand_in.uri())).screen(&outbound()).await;
    assert!(matches!(refused, Err(Unanswered::Unknown(_))));
}

#[tokio::test]
async fn alerts_are_taken_with_the_token_only() {
    let elliptic = elliptic("http://127.0.0.1:1");
    let headers = |token: &str| -> HeaderMap {
        [(axum::http::header::AUTHORIZATION, token.parse().unwrap())].into_iter().collect()
    };
    let (good, bad) = (headers("Bearer callback-t0ken"), headers("Bearer other"));
    let now = FOUNDED;
    let cloud = value!({
        "id": "e-1", "type": "co.elliptic.wallet_screening.completed", "specversion": "1.0",
        "data": { "analysis": analysis(value!(10), PAYEE) }
    });
    let older = value!({ "team_id": "t", "body": { "data": { "analysis": analysis(value!(10), PAYEE) } } });
    for event in [cloud, older] {
        let body = event.to_string();
        let call = Callback { headers: &good, body: body.as_bytes(), now };
        let alerts = elliptic.callback(&call).unwrap();
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].about.id.as_deref(), Some("foobar"));
        assert_eq!(alerts[0].level, Level::Score(10.0));
        let refused = elliptic.callback(&Callback { headers: &bad, ..call });
        assert_eq!(refused, Err(CallbackRefused::Unauthenticated));
        let none = HeaderMap::new();
        assert_eq!(
            elliptic.callback(&Callback { headers: &none, ..call }),
            Err(CallbackRefused::Unauthenticated)
        );
    }
    for body in ["", "{}", "[]", "{\"data\":{}}"] {
        let refused = elliptic.callback(&Callback { headers: &good, body: body.as_bytes(), now });
        assert!(matches!(refused, Err(CallbackRefused::Malformed(_))), "{body}");
    }
}
