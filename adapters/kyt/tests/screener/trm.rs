//! Stand-in of TRM's wallet screening and transaction monitoring.

use crate::support::*;
use axum::http::HeaderMap;
use bursar_domain::{
    governance::testing::FOUNDED,
    screening::{Answer, RiskBand, Screened, Unanswered},
};
use bursar_kyt::provider::{
    Callback, CallbackRefused, Level, Provider,
    trm::{NETWORKS, Trm},
};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json as value};
use sha2::Sha256;
use std::sync::Arc;
use wiremock::{
    Mock, MockServer,
    matchers::{basic_auth, method, path},
};

const ADDRESSES: &str = "/public/v2/screening/addresses";
const TRANSFERS: &str = "/public/v2/tm/transfers";
const UUID: &str = "00000000-0000-4000-8000-0000000000aa";

fn trm(url: &str) -> Trm {
    Trm::new(server(url), secret("k3y"), "desk".into(), coverage(NETWORKS), Some(secret("callback")))
}

pub fn provider(url: &str) -> Arc<dyn Provider> {
    Arc::new(trm(url))
}

async fn answering(verb: &str, at: &str, status: u16, body: Value) -> MockServer {
    let stand_in = MockServer::start().await;
    and(&stand_in, verb, at, status, body).await;
    stand_in
}

async fn and(stand_in: &MockServer, verb: &str, at: &str, status: u16, body: Value) {
    let mock = Mock::given(method(verb)).and(path(at)).and(basic_auth("k3y", "k3y"));
    mock.respond_with(json(status, body)).mount(stand_in).await;
}

fn indicator(category: &str, level: Value, kind: &str) -> Value {
    value!({
        "category": category, "categoryId": "1", "categoryRiskScoreLevel": level, "categoryRiskScoreLevelLabel": "x",
        "incomingVolumeUsd": "0", "outgoingVolumeUsd": "10.5", "riskType": kind, "totalVolumeUsd": "10.5"
    })
}

fn screened(indicators: Value, entities: Value) -> Value {
    value!([{
        "accountExternalId": "desk", "address": PAYEE, "addressRiskIndicators": indicators, "addressSubmitted": PAYEE,
        "chain": "bitcoin", "entities": entities, "trmAppUrl": "https://my.trmlabs.com/address/x"
    }])
}

fn transfer(status: &str, level: Value) -> Value {
    value!({ "uuid": UUID, "screenStatus": status, "riskScoreLevel": level, "trmAppUrl": null, "screenStatusFailedReason": null })
}

#[tokio::test]
async fn indicators_and_entities_lead_to_outcomes() {
    let none = || value!([]);
    let entity = |category: &str, level: Value| value!([{ "category": category, "categoryId": "1", "entity": "Somebody", "riskScoreLevel": level, "riskScoreLevelLabel": "x" }]);
    for (indicators, entities, expected) in [
        (none(), none(), CLEAR),
        (value!([indicator("Exchange", value!(1), "COUNTERPARTY")]), none(), CLEAR),
        (
            value!([indicator("Gambling", value!(5), "COUNTERPARTY")]),
            none(),
            (Screened::Review, RiskBand::Medium, false),
        ),
        (
            value!([indicator("Mixer", value!(10), "INDIRECT")]),
            none(),
            (Screened::Block, RiskBand::High, false),
        ),
        (
            value!([indicator("Hack", value!(15), "OWNERSHIP")]),
            none(),
            (Screened::Block, RiskBand::Severe, false),
        ),
        (
            value!([indicator("Something", value!(null), "OWNERSHIP")]),
            none(),
            (Screened::Review, RiskBand::Unknown, false),
        ),
        (value!([indicator("Sanctions", value!(1), "INDIRECT")]), none(), SANCTIONED),
        (none(), entity("Exchange", value!(1)), CLEAR),
        (none(), entity("Scam", value!(15)), (Screened::Block, RiskBand::Severe, false)),
    ] {
        let body = screened(indicators.clone(), entities);
        let stand_in = answering("POST", ADDRESSES, 201, body).await;
        let scene = Scene::new(provider(&stand_in.uri()));
        assert_eq!(scene.outcome(&outbound()).await, expected, "{indicators}");
        assert_eq!(scene.outcome(&address(PAYEE)).await, expected);
        let sent = bodies(&stand_in, ADDRESSES).await;
        let id = outbound().external_id(0, 0);
        let asked =
            value!([{ "address": PAYEE, "chain": "bitcoin", "accountExternalId": "desk", "externalId": id }]);
        assert_eq!(sent[0], asked);
    }
}

#[tokio::test]
async fn answers_about_something_else_do_not_count() {
    let mut other = screened(value!([]), value!([]));
    other[0]["addressSubmitted"] = value!(OTHER);
    let mut two = screened(value!([]), value!([]));
    let again = two[0].clone();
    two.as_array_mut().unwrap().push(again);
    for body in [other, two, value!([])] {
        let stand_in = answering("POST", ADDRESSES, 201, body).await;
        let refused = Scene::new(provider(&stand_in.uri())).screen(&outbound()).await;
        assert!(matches!(refused, Err(Unanswered::Malformed(_))));
    }
}

#[tokio::test]
async fn transfers_are_registered_once_and_looked_at_until_they_are_screened() {
    for (inquiry, kind) in [(broadcast(), "CRYPTO_WITHDRAWAL"), (deposit(), "CRYPTO_DEPOSIT")] {
        for (level, expected) in [
            (value!(null), CLEAR),
            (value!(0), CLEAR),
            (value!(1), CLEAR),
            (value!(10), (Screened::Block, RiskBand::High, false)),
        ] {
            let stand_in = answering("POST", TRANSFERS, 201, transfer("PROCESSING", value!(null))).await;
            let scene = Scene::new(provider(&stand_in.uri()));
            assert!(matches!(scene.screen(&inquiry).await, Ok(Answer::Pending { .. })));
            and(&stand_in, "GET", &format!("{TRANSFERS}/{UUID}"), 200, transfer("SUCCEEDED", level)).await;
            assert_eq!(scene.outcome(&inquiry).await, expected);
            let sent = bodies(&stand_in, TRANSFERS).await;
            assert_eq!(sent.len(), 1);
            assert_eq!(sent[0]["transferType"], kind);
            assert_eq!(sent[0]["externalId"], inquiry.external_id(0, 0));
            assert_eq!((&sent[0]["asset"], &sent[0]["onchainReference"]), (&value!("btc"), &value!(TX)));
        }
    }
    let stand_in = answering("POST", TRANSFERS, 201, transfer("FAILED", value!(null))).await;
    let refused = Scene::new(provider(&stand_in.uri())).screen(&broadcast()).await;
    assert!(matches!(refused, Err(Unanswered::Unsupported(_))));
}

#[tokio::test]
async fn alerts_are_taken_with_their_signature_only() {
    let body = value!({
        "event": "alert.created",
        "alert": {
            "uuid": "al-1", "category": "Sanctions", "riskScoreLevel": 15, "createdOn": "2026-01-02T00:00:00Z",
            "transfer": { "uuid": UUID, "externalId": "ours", "onchainReference": TX, "destinationAddress": PAYEE, "chain": "bitcoin" }
        }
    })
    .to_string();
    let signed = |body: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"callback").unwrap();
        mac.update(body.as_bytes());
        let mac = hex::encode(mac.finalize().into_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-trm-signature", mac.parse().unwrap());
        headers
    };
    let (trm, headers) = (trm("http://127.0.0.1:1"), signed(&body));
    let call = Callback { headers: &headers, body: body.as_bytes(), now: FOUNDED };
    let alerts = trm.callback(&call).unwrap();
    assert_eq!((alerts[0].id.as_str(), alerts[0].about.id.as_deref()), ("al-1", Some("ours")));
    assert_eq!(alerts[0].about.network, Some(network()));
    assert_eq!(alerts[0].level, Level::Band(RiskBand::Severe));
    let changed = body.replace("al-1", "al-2");
    let forged = trm.callback(&Callback { body: changed.as_bytes(), ..call });
    assert_eq!(forged, Err(CallbackRefused::Unauthenticated));
    let none = HeaderMap::new();
    assert_eq!(trm.callback(&Callback { headers: &none, ..call }), Err(CallbackRefused::Unauthenticated));
    let headers = signed("{}");
    let empty = trm.callback(&Callback { headers: &headers, body: b"{}", now: FOUNDED });
    assert!(matches!(empty, Err(CallbackRefused::Malformed(_))));
}
