use bursar_regtest::{Bitcoind, RegtestError, StartOptions};
use serde_json::json;

/// The key hash of the BIP-173 vectors, as a regtest address.
const RECIPIENT: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

#[tokio::test]
async fn bitcoind__should_fund_an_address_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(StartOptions::new(dir.path())).await.unwrap();
    let txid = node.fund(RECIPIENT, 123_456_789).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 123_456_789);
    let seen = node.call("getrawtransaction", json!([txid, true])).await.unwrap();
    assert_eq!(seen["confirmations"], json!(1));

    // The second payment must not spend coins that the mempool has spent.
    node.send(RECIPIENT, 1_000).await.unwrap();
    node.send(RECIPIENT, 2_000).await.unwrap();
    node.mine(1).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 123_459_789);
}

#[tokio::test]
async fn bitcoind__should_put_transactions_back_after_a_reorg() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(StartOptions::new(dir.path())).await.unwrap();
    let txid = node.fund(RECIPIENT, 50_000).await.unwrap();
    let height = node.height().await.unwrap();
    let replaced = node.call("getbestblockhash", json!([])).await.unwrap();

    let new = node.reorg(2).await.unwrap();
    assert_eq!(new.len(), 3);
    assert!(!new.iter().any(|hash| json!(hash) == replaced));
    assert_eq!(node.height().await.unwrap(), height + 1);
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 0);
    assert_eq!(node.call("getrawmempool", json!([])).await.unwrap(), json!([txid]));

    node.mine(1).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 50_000);
    let error = node.reorg(100_000).await.unwrap_err();
    assert!(matches!(error, RegtestError::Invalid { field: "depth", .. }), "{error}");
}

#[tokio::test]
async fn bitcoind__should_go_on_after_kill9_over_the_same_folder_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Bitcoind::start(StartOptions::new(dir.path())).await.unwrap();
    node.fund(RECIPIENT, 70_000).await.unwrap();
    let waiting = node.send(RECIPIENT, 30_000).await.unwrap();
    node.checkpoint().await.unwrap();
    let (port, height) = (node.port(), node.height().await.unwrap());
    node.process().kill9().unwrap();
    assert!(node.height().await.is_err());

    let node = Bitcoind::start(StartOptions::new(dir.path()).with_port(port)).await.unwrap();
    assert_eq!((node.port(), node.height().await.unwrap()), (port, height));
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), 70_000);
    assert_eq!(node.call("getrawmempool", json!([])).await.unwrap(), json!([waiting]));
}

#[tokio::test]
async fn bitcoind__should_refuse_an_address_of_another_network() {
    let dir = tempfile::tempdir().unwrap();
    let node = Bitcoind::start(StartOptions::new(dir.path())).await.unwrap();
    let error = node.fund("1BoatSLRHtKNngkdXEeobR76b53LETtpyT", 1_000).await.unwrap_err();
    assert!(matches!(error, RegtestError::Invalid { field: "address", .. }), "{error}");
    assert_eq!(node.height().await.unwrap(), 0);
}
