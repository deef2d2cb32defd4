use super::*;
use axum::{Router, body::Bytes, http::HeaderMap, routing::post};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    ids::TransferId,
    intent::{Destination, IntentDigest},
    travel_rule::Ivms101,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// A service that answers this, and keeps what it was sent.
async fn serve(status: u16, answer: String) -> (String, Arc<Mutex<Vec<(HeaderMap, Value)>>>) {
    let seen: Arc<Mutex<Vec<(HeaderMap, Value)>>> = Arc::default();
    let kept = seen.clone();
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
        (axum::http::StatusCode::from_u16(status).unwrap(), answer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/exchange", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/exchange", post(handler))).await });
    (url, seen)
}

async fn ask(url: &str) -> Result<ExchangeAnswer, NoExchange> {
    let data: Ivms101 = serde_json::from_value(json!({
        "originator": { "originatorPersons": [], "accountNumber": ["Rosa-1"] },
        "beneficiary": { "beneficiaryPersons": [] },
    }))
    .unwrap();
    let message = TransferMessage {
        transfer: TransferId::new(uuid::Uuid::from_u128(7)),
        round: 2,
        intent: IntentDigest([1; 32]),
        network: "bitcoin:regtest/p2tr/0".parse::<bursar_domain::wallet::WalletDescriptor>().unwrap().network,
        asset: Asset::Btc,
        amount: Amount::from_u64(1234),
        destination: &Destination { address: "there".into(), tag: None },
        ivms101: &data,
    };
    HttpExchange::new(url, Secret::new("s3cret"), Duration::from_secs(20)).unwrap().exchange(&message).await
}

#[tokio::test]
async fn what_is_asked_is_as_documented() {
    let (url, seen) = serve(200, json!({ "status": "ACCEPTED", "reference": "r-1" }).to_string()).await;
    assert_eq!(ask(&url).await, Ok(ExchangeAnswer::Accepted { reference: "r-1".into() }));
    let seen = seen.lock().unwrap();
    let (headers, body) = &seen[0];
    assert_eq!(headers["authorization"], "Bearer s3cret");
    assert_eq!(headers["idempotency-key"], "00000000-0000-0000-0000-000000000007:2");
    assert_eq!(body["amount"], "1234");
    assert_eq!(body["destination"], json!({ "address": "there" }));
    assert_eq!(body["ivms101"]["originator"]["accountNumber"][0], "Rosa-1");
}

#[tokio::test]
async fn answers_are_bounded_and_never_repeated() {
    let pending = json!({ "status": "PENDING", "reference": "r", "retryAfterSeconds": 9 }).to_string();
    let retry_after = Duration::from_secs(9);
    let is = ExchangeAnswer::Pending { reference: "r".into(), retry_after };
    assert_eq!(ask(&serve(200, pending).await.0).await, Ok(is));
    let rejected =
        json!({ "status": "REJECTED", "reference": "r-2", "reason": "Rosa is unknown" }).to_string();
    let is = ExchangeAnswer::Rejected { reference: "r-2".into() };
    assert_eq!(ask(&serve(200, rejected).await.0).await, Ok(is));
    let long = json!({ "status": "ACCEPTED", "reference": "x".repeat(101) }).to_string();
    for answer in [long, "Rosa".into(), "x".repeat(MAX_ANSWER + 1), json!({ "status": "NEW" }).to_string()] {
        let refused = ask(&serve(200, answer).await.0).await.unwrap_err();
        assert!(matches!(refused, NoExchange::Malformed(_)) && !refused.to_string().contains("Rosa"));
    }
    for (status, transient) in [(503, true), (429, true), (400, false), (302, false)] {
        let refused = ask(&serve(status, "Rosa".into()).await.0).await.unwrap_err();
        assert_eq!(refused.is_transient(), transient, "{status}");
        assert!(!refused.to_string().contains("Rosa"));
    }
}

#[test]
fn only_protected_addresses_are_taken() {
    let new = |url: &str| HttpExchange::new(url, Secret::new("x"), Duration::from_secs(1)).map(|_| ());
    assert!(matches!(new("http://exchange.example/"), Err(InvalidExchange::Scheme)));
    assert!(matches!(new("https://a:b@exchange.example/"), Err(InvalidExchange::Parts)));
    assert!(matches!(new("exchange"), Err(InvalidExchange::Url)));
    assert!(new("https://exchange.example/v1").is_ok());
}
