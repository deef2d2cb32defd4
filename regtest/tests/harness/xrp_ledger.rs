use std::time::Duration;

use bursar_regtest::{RegtestError, XrpLedger, XrpLedgerOptions, eventually};
use serde_json::json;

/// An account of the XRP Ledger's own documentation; nobody here has its key.
const RECIPIENT: &str = "rPT1Sjq2YGrBMTttX4GZHjKu9dyfzbpAYe";

#[tokio::test]
async fn xrp_ledger__should_create_and_fund_an_account_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let node = XrpLedger::start(XrpLedgerOptions::new(dir.path())).await.unwrap();
    node.fund(RECIPIENT, 25_000_000).await.unwrap();
    node.fund(RECIPIENT, 1).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 25_000_001);
}

#[tokio::test]
async fn xrp_ledger__should_say_why_a_payment_was_not_applied() {
    let dir = tempfile::tempdir().unwrap();
    let node = XrpLedger::start(XrpLedgerOptions::new(dir.path())).await.unwrap();
    // Below the reserve of a new account.
    let error = node.fund(RECIPIENT, 10).await.unwrap_err();
    assert!(matches!(error, RegtestError::Invalid { field: "payment", .. }), "{error}");
    assert!(error.to_string().contains("tecNO_DST_INSUF_XRP"), "{error}");
}

#[tokio::test]
async fn xrp_ledger__should_go_on_after_kill9_over_the_same_folder_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = XrpLedger::start(XrpLedgerOptions::new(dir.path())).await.unwrap();
    node.fund(RECIPIENT, 30_000_000).await.unwrap();
    let port = node.port();
    node.process().kill9().unwrap();
    assert!(node.balance(RECIPIENT).await.is_err());

    let node = XrpLedger::start(XrpLedgerOptions::new(dir.path()).with_port(port)).await.unwrap();
    assert_eq!((node.port(), node.balance(RECIPIENT).await.unwrap()), (port, 30_000_000));
    node.fund(RECIPIENT, 5).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 30_000_005);
}

#[tokio::test]
async fn xrp_ledger__should_close_by_itself_when_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let options = XrpLedgerOptions::new(dir.path()).closing_every(Duration::from_millis(50));
    let node = XrpLedger::start(options).await.unwrap();
    let index = async || {
        let answer = node.call("ledger", json!({ "ledger_index": "validated" })).await.unwrap();
        answer["ledger_index"].as_u64().unwrap()
    };
    let first = index().await;
    eventually(Duration::from_secs(30), Duration::from_millis(20), "three ledgers", || async {
        let now = index().await;
        if now >= first + 3 { Ok(()) } else { Err(format!("from {first} to {now}")) }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn views_of_a_ledger__should_lag_and_be_whole_apart_from_each_other_and_a_fork_go_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let options = XrpLedgerOptions { views: 2, ..XrpLedgerOptions::new(dir.path().join("one")) };
    let node = XrpLedger::start(options).await.unwrap();
    node.fund(RECIPIENT, 25_000_000).await.unwrap();
    let fork = node.fork(XrpLedgerOptions::new(dir.path().join("other"))).await.unwrap();
    assert_eq!(fork.balance(RECIPIENT).await.unwrap(), 25_000_000);

    let [late, early] = node.views() else { panic!("two views") };
    late.call("standin_fault", json!({ "stale": 1 })).await.unwrap();
    node.fund(RECIPIENT, 1).await.unwrap();
    let request = json!({ "account": RECIPIENT, "ledger_index": "validated" });
    let mut seen = Vec::new();
    for view in [late, early] {
        let info = view.call("account_info", request.clone()).await.unwrap();
        seen.push(info["account_data"]["Balance"].clone());
    }
    assert_eq!(seen, [json!("25000000"), json!("25000001")]);
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 25_000_001);

    for _ in 0..3 {
        fork.accept().await.unwrap();
    }
    assert_eq!(fork.balance(RECIPIENT).await.unwrap(), 25_000_000, "it heard of nothing");
}
