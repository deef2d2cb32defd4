//! The node side against answers that a real rippled 3.1.2 gave, replayed over HTTP.
#![allow(non_snake_case)]

use bursar_domain::{
    amount::{Amount, Drops},
    chain::{ObservedBlock, TransactionOutcome, WatchSet},
    effects::Resource,
    package::SignedTransaction,
    ports::{BroadcastOutcome, BroadcastTransaction, NodeError, ObserveChain},
    time::Timestamp,
};
use bursar_xrp::{FeeBounds, XrpNode, XrpNodeConfig};
use serde_json::{Value, json};
use std::time::Duration;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_partial_json, method},
};

macro_rules! recorded {
    ($name:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("recorded/", $name, ".json"))).unwrap()["response"]
            .clone()
    };
}

pub fn node_at(url: String, network_id: u32) -> XrpNode {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    XrpNode::new(XrpNodeConfig {
        network_id,
        url,
        fees: FeeBounds { floor: Drops(10), cap: Drops(2_000) },
        ledger_window: 4,
        timeout: Duration::from_secs(10),
    })
    .unwrap()
}

pub async fn server(answers: &[(&str, Value)]) -> MockServer {
    let server = MockServer::start().await;
    for (name, answer) in answers {
        answering(&server, name, ResponseTemplate::new(200).set_body_json(answer)).await;
    }
    server
}

async fn answering(server: &MockServer, name: &str, template: ResponseTemplate) {
    Mock::given(method("POST"))
        .and(body_partial_json(json!({ "method": name })))
        .respond_with(template)
        .mount(server)
        .await;
}

async fn broadcast(answers: &[(&str, Value)]) -> BroadcastOutcome {
    let mut answers = answers.to_vec();
    answers.push(("server_state", recorded!("server-state")));
    let server = server(&answers).await;
    node_at(server.uri(), 0).broadcast(&SignedTransaction { tx_id: "AB".repeat(32), bytes: vec![0x12] }).await
}

#[tokio::test]
async fn submission__should_be_read_as_what_it_proves() {
    let accepted = BroadcastOutcome::Accepted;
    assert_eq!(broadcast(&[("submit", recorded!("submit-ed25519"))]).await, accepted);
    assert_eq!(broadcast(&[("submit", recorded!("submit-pre-sequence"))]).await, accepted);
    for (answer, code) in [
        (recorded!("submit-max-ledger"), "tefMAX_LEDGER"),
        (recorded!("submit-fee-too-low"), "telINSUF_FEE_P"),
        (recorded!("submit-invalid-signature"), "invalidTransaction"),
    ] {
        match broadcast(&[("submit", answer)]).await {
            BroadcastOutcome::Rejected { reason } => assert!(reason.contains(code), "{reason}"),
            other => panic!("{code}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn submission__should_look_for_the_transaction_when_its_turn_is_gone() {
    for gone in [recorded!("submit-past-sequence"), recorded!("submit-no-ticket")] {
        let known = broadcast(&[("submit", gone.clone()), ("tx", recorded!("tx-validated"))]).await;
        assert_eq!(known, BroadcastOutcome::AlreadyKnown);
        let unknown = broadcast(&[("submit", gone.clone()), ("tx", recorded!("tx-not-found"))]).await;
        assert!(matches!(unknown, BroadcastOutcome::Rejected { .. }), "{unknown:?}");
        let unanswered = broadcast(&[("submit", gone)]).await;
        assert!(matches!(unanswered, BroadcastOutcome::MaybeSent { .. }), "{unanswered:?}");
    }
}

#[tokio::test]
async fn submission__should_be_maybe_sent_without_a_clear_answer() {
    let unclear = [
        ResponseTemplate::new(503).set_body_string("Server is overloaded"),
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(200).set_body_json(json!({ "result": { "status": "success" } })),
        ResponseTemplate::new(200)
            .set_body_json(json!({ "result": { "status": "error", "error": "slowDown" } })),
        ResponseTemplate::new(200).set_body_json(json!({ "result": {} })),
        ResponseTemplate::new(200).set_body_json(json!({})),
        ResponseTemplate::new(307).insert_header("location", "http://127.0.0.1:1/"),
    ];
    for template in unclear {
        let server = server(&[("server_state", recorded!("server-state"))]).await;
        answering(&server, "submit", template).await;
        let signed = SignedTransaction { tx_id: "AB".repeat(32), bytes: vec![0x12] };
        let outcome = node_at(server.uri(), 0).broadcast(&signed).await;
        assert!(matches!(outcome, BroadcastOutcome::MaybeSent { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn node__should_be_refused_when_it_serves_another_network() {
    let server = server(&[
        ("server_state", recorded!("server-state")),
        ("submit", recorded!("submit-ed25519")),
        ("ledger", recorded!("ledger")),
    ])
    .await;
    let node = node_at(server.uri(), 1);
    assert!(matches!(node.tips().await, Err(NodeError::WrongNetwork { .. })));
    assert!(matches!(node.block(62, &WatchSet::default()).await, Err(NodeError::WrongNetwork { .. })));
    let signed = SignedTransaction { tx_id: "AB".repeat(32), bytes: vec![0x12] };
    assert!(matches!(node.broadcast(&signed).await, BroadcastOutcome::Rejected { .. }));
    let asked = server.received_requests().await.unwrap();
    assert!(asked.iter().all(|request| !String::from_utf8_lossy(&request.body).contains("submit")));
}

#[tokio::test]
async fn node__should_be_asked_for_its_network_again_after_an_outage_and_before_each_broadcast() {
    let first = server(&[
        ("server_state", recorded!("server-state")),
        ("ledger", recorded!("ledger")),
        ("submit", recorded!("submit-ed25519")),
    ])
    .await;
    let node = node_at(first.uri(), 0);
    let watch = WatchSet::default();
    node.block(62, &watch).await.unwrap();
    node.block(62, &watch).await.unwrap();
    assert_eq!(asked_for(&first, "server_state").await, 1, "once while all goes well");

    // The same URL is served by another network, with the same ledgers to offer.
    let mut elsewhere = recorded!("server-state");
    elsewhere["result"]["state"]["network_id"] = 1.into();
    first.reset().await;
    answering(&first, "server_state", ResponseTemplate::new(200).set_body_json(&elsewhere)).await;
    answering(&first, "submit", ResponseTemplate::new(200).set_body_json(recorded!("submit-ed25519"))).await;
    let signed = SignedTransaction { tx_id: "AB".repeat(32), bytes: vec![0x12] };
    let outcome = node.broadcast(&signed).await;
    assert!(matches!(outcome, BroadcastOutcome::Rejected { .. }), "{outcome:?}");
    assert_eq!(asked_for(&first, "submit").await, 0);

    // A follower's node goes down and comes back as another.
    let second =
        server(&[("server_state", recorded!("server-state")), ("ledger", recorded!("ledger"))]).await;
    let node = node_at(second.uri(), 0);
    node.block(62, &watch).await.unwrap();
    second.reset().await;
    answering(&second, "ledger", ResponseTemplate::new(502)).await;
    assert!(matches!(node.block(62, &watch).await, Err(NodeError::Unavailable { .. })));
    second.reset().await;
    answering(&second, "server_state", ResponseTemplate::new(200).set_body_json(elsewhere)).await;
    answering(&second, "ledger", ResponseTemplate::new(200).set_body_json(recorded!("ledger"))).await;
    assert!(matches!(node.block(62, &watch).await, Err(NodeError::WrongNetwork { .. })));
    assert_eq!(asked_for(&second, "ledger").await, 0);
}

async fn asked_for(server: &MockServer, name: &str) -> usize {
    let asked = server.received_requests().await.unwrap();
    let names = |request: &wiremock::Request| serde_json::from_slice::<Value>(&request.body).unwrap();
    asked.iter().filter(|request| names(request)["method"] == name).count()
}

#[tokio::test]
async fn tips__should_be_the_validated_ledger() {
    let server = server(&[("server_state", recorded!("server-state"))]).await;
    let tips = node_at(server.uri(), 0).tips().await.unwrap();
    assert_eq!((tips.tip.height, tips.final_height), (2, 2));
    assert_eq!(tips.tip.hash, "D5C3A992DCE210713D0E0A50B16619509BC0E323A7B1A44DCE01A77A696837CB");
}

#[tokio::test]
async fn block__should_show_a_failed_transaction_of_ours_with_its_sequence_and_fee() {
    let account = "rMfCbrRSYu7ZWwGLxAQe655W9XpTTS3X3J";
    let server =
        server(&[("server_state", recorded!("server-state")), ("ledger", recorded!("ledger"))]).await;
    let node = node_at(server.uri(), 0);
    let watch = WatchSet { addresses: [account.to_owned()].into(), ..WatchSet::default() };
    let block = node.block(62, &watch).await.unwrap();
    assert_eq!(block.block.height, 62);
    assert_eq!(block.block.hash, "F9897CB662C756F8BB838E383D51AA9B34061958A0595AAF92D9005AFE700133");
    assert_eq!(block.parent_hash, "D8ACAA588C19A00ED746DD30410635CA66DE3684E7D166DD472EE27BDD275314");
    // 2026-11-20T22:20:20Z, as the same answer says in words.
    assert_eq!(block.time, Timestamp::from_secs(1_795_213_220));
    let [transaction] = block.transactions.as_slice() else { panic!("{:?}", block.transactions) };
    assert_eq!(transaction.outcome, TransactionOutcome::Failed { reason: "tecTOO_SOON".into() });
    assert_eq!(transaction.spends, [Resource::Sequence { account: account.into(), sequence: 34 }]);
    assert_eq!(transaction.fee, Some(Amount::from_u64(200_000)));
    assert_eq!(transaction.credits, []);

    let nobody = node.block(62, &WatchSet::default()).await.unwrap();
    assert_eq!(nobody.transactions, []);
    assert!(
        matches!(node.block(63, &watch).await, Err(NodeError::Malformed { .. })),
        "not the ledger asked for"
    );
}

/// The recorded ledger with these transactions besides its own.
async fn block_with(others: &[Value], watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
    let mut ledger = recorded!("ledger");
    ledger["result"]["ledger"]["transactions"].as_array_mut().unwrap().extend_from_slice(others);
    let server = server(&[("server_state", recorded!("server-state")), ("ledger", ledger)]).await;
    node_at(server.uri(), 0).block(62, watch).await
}

#[tokio::test]
async fn block__should_not_stop_at_what_others_send() {
    let account = "rMfCbrRSYu7ZWwGLxAQe655W9XpTTS3X3J";
    let stranger = "rpsuFnBqdq4UEUZYX8GtN7xkqdRTgN2qL8";
    let watch = WatchSet { addresses: [account.to_owned()].into(), ..WatchSet::default() };
    let pool = json!({ "CreatedNode": { "LedgerEntryType": "AccountRoot",
        "NewFields": { "Account": stranger, "AMMID": "AB", "Sequence": 0 } } });
    let amm = json!({ "TransactionType": "AMMCreate", "Account": stranger, "Fee": "200000", "hash": "A1", "metaData": {
        "TransactionResult": "tesSUCCESS", "TransactionIndex": 1, "AffectedNodes": [pool] } });
    let strangers = [
        amm.clone(),
        json!({ "metaData": { "AffectedNodes": [] } }),
        json!({ "metaData": { "AffectedNodes": [null, 7] }, "TransactionType": "FromTheFuture" }),
        json!({ "metaData": { "TransactionResult": "xyzNEW", "AffectedNodes": [] }, "Account": [], "hash": 7 }),
        json!({ "tx_json": 5, "meta": { "AffectedNodes": [{ "MovedNode": { "Account": stranger } }] } }),
        json!({ "TransactionType": "Payment", "Destination": stranger, "hash": "A2",
            "metaData": { "TransactionResult": "tesSUCCESS", "AffectedNodes": [] } }),
    ];
    let block = block_with(&strangers, &watch).await.unwrap();
    assert_eq!(block.transactions.len(), 1, "{:?}", block.transactions);

    // What it changed is unknown, so it may have paid us.
    for blind in [json!("A1"), json!({ "hash": "A1" }), json!({ "hash": "A1", "metaData": {} })] {
        assert!(matches!(block_with(&[blind], &watch).await, Err(NodeError::Malformed { .. })));
    }
    // The same defects where we are named.
    for field in ["hash", "Account", "/metaData/TransactionResult", "/metaData/TransactionIndex"] {
        let mut ours = amm.clone();
        ours["Destination"] = account.into();
        let block = block_with(&[ours.clone()], &watch).await.unwrap();
        assert_eq!(block.transactions.len(), 1, "named, and neither sent by us nor paid to us");
        let path = if field.starts_with('/') { field.to_owned() } else { format!("/{field}") };
        *ours.pointer_mut(&path).unwrap() = Value::Null;
        assert!(matches!(block_with(&[ours], &watch).await, Err(NodeError::Malformed { .. })), "{field}");
    }
}

#[tokio::test]
async fn block__should_wait_for_validation() {
    let mut closed = recorded!("ledger");
    closed["result"]["validated"] = false.into();
    for answer in [closed, recorded!("ledger-not-found")] {
        let server = server(&[("server_state", recorded!("server-state")), ("ledger", answer)]).await;
        let block = node_at(server.uri(), 0).block(62, &WatchSet::default()).await;
        assert!(matches!(block, Err(NodeError::NoBlock { height: 62, .. })), "{block:?}");
    }
}
