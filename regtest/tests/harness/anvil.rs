use alloy::primitives::U256;
use bursar_regtest::{Anvil, AnvilOptions, Mining, TokenKind};
use serde_json::{Value, json};

const RECIPIENT: &str = "0x00000000000000000000000000000000000B0b00";

#[tokio::test]
async fn anvil__should_fund_an_address_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let node = Anvil::start(AnvilOptions::new(dir.path())).await.unwrap();
    let wei = U256::from(1_234_567_890_123_456_789_u64);
    let id = node.fund(RECIPIENT, wei).await.unwrap();
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), wei);
    assert_eq!(node.height().await.unwrap(), 1);

    let before = node.call("eth_getBlockByNumber", json!(["0x1", false])).await.unwrap();
    node.reorg(1).await.unwrap();
    let after = node.call("eth_getBlockByNumber", json!(["0x1", false])).await.unwrap();
    assert_ne!(before["hash"], after["hash"]);
    assert_eq!(node.call("eth_getTransactionReceipt", json!([id])).await.unwrap(), Value::Null);
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), U256::ZERO);
}

#[tokio::test]
async fn anvil__should_mine_only_on_command_when_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let node = Anvil::start(AnvilOptions::new(dir.path()).with_mining(Mining::Manual)).await.unwrap();
    let transaction = json!([{ "from": bursar_regtest::anvil::BANK, "to": RECIPIENT, "value": "0x5" }]);
    let id = node.call("eth_sendTransaction", transaction).await.unwrap();
    assert_eq!(node.call("eth_getTransactionReceipt", json!([id])).await.unwrap(), Value::Null);
    node.mine(3).await.unwrap();
    assert_eq!(node.height().await.unwrap(), 3);
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), U256::from(5));
    // `finalized` is two slots behind with one slot per epoch.
    let finalized = node.call("eth_getBlockByNumber", json!(["finalized", false])).await.unwrap();
    assert_eq!(finalized["number"], json!("0x1"));
}

#[tokio::test]
async fn tokens__should_answer_a_transfer_each_in_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let node = Anvil::start(AnvilOptions::new(dir.path())).await.unwrap();
    let amount = U256::from(5_000_000);
    for (kind, answer, moved) in [
        (TokenKind::Normal, format!("0x{:064x}", 1), 5_000_000),
        (TokenKind::ReturnsNothing, "0x".to_owned(), 5_000_000),
        (TokenKind::ReturnsFalse, format!("0x{:064x}", 0), 0),
    ] {
        let token = node.deploy_erc20(kind).await.unwrap();
        node.mint(&token, bursar_regtest::anvil::BANK, amount).await.unwrap();
        assert_eq!(node.token_balance(&token, bursar_regtest::anvil::BANK).await.unwrap(), amount);

        let data = format!("0xa9059cbb{:0>64}{amount:064x}", RECIPIENT.trim_start_matches("0x"));
        let transfer = json!({ "from": bursar_regtest::anvil::BANK, "to": token, "data": data });
        assert_eq!(
            node.call("eth_call", json!([transfer, "latest"])).await.unwrap(),
            json!(answer),
            "{kind:?}"
        );
        let id = node.call("eth_sendTransaction", json!([transfer])).await.unwrap();
        node.mined(&id).await.unwrap();
        assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(moved), "{kind:?}");
    }
}

#[tokio::test]
async fn anvil__should_go_on_after_kill9_over_the_same_folder_and_port() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Anvil::start(AnvilOptions::new(dir.path())).await.unwrap();
    let id = node.fund(RECIPIENT, U256::from(7)).await.unwrap();
    let token = node.deploy_erc20(TokenKind::Normal).await.unwrap();
    node.mint(&token, RECIPIENT, U256::from(9)).await.unwrap();
    node.checkpoint().await.unwrap();
    let port = node.port();
    node.process().kill9().unwrap();
    assert!(node.height().await.is_err());

    let node = Anvil::start(AnvilOptions::new(dir.path()).with_port(port)).await.unwrap();
    assert_eq!((node.port(), node.height().await.unwrap()), (port, 3));
    assert_eq!(node.balance(RECIPIENT).await.unwrap(), U256::from(7));
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
    let receipt = node.call("eth_getTransactionReceipt", json!([id])).await.unwrap();
    assert_eq!(receipt["blockNumber"], json!("0x1"));
    // It goes on from there.
    node.fund(RECIPIENT, U256::from(1)).await.unwrap();
    assert_eq!(node.height().await.unwrap(), 4);
}

#[tokio::test]
async fn anvil__should_keep_its_contracts_in_a_reorg_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Anvil::start(AnvilOptions::new(dir.path())).await.unwrap();
    let token = node.deploy_erc20(TokenKind::Normal).await.unwrap();
    node.mint(&token, RECIPIENT, U256::from(9)).await.unwrap();
    node.mine(3).await.unwrap();
    node.checkpoint().await.unwrap();
    let port = node.port();
    node.process().kill9().unwrap();

    let node = Anvil::start(AnvilOptions::new(dir.path()).with_port(port)).await.unwrap();
    node.reorg(2).await.unwrap();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
    node.mine(1).await.unwrap();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
}

/// So many blocks, and all but the last ten states are in files.
const LONG: u32 = 1_100;

#[tokio::test]
async fn anvil__should_keep_its_contracts_in_a_reorg_after_many_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let node = Anvil::start(AnvilOptions::new(dir.path()).with_mining(Mining::Manual)).await.unwrap();
    let token = node.deploy_erc20(TokenKind::Normal).await.unwrap();
    node.mint(&token, RECIPIENT, U256::from(9)).await.unwrap();
    node.mine(LONG).await.unwrap();
    let late = node.deploy_erc20(TokenKind::Normal).await.unwrap();
    node.mine(29).await.unwrap();
    node.reorg(30).await.unwrap();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
    let code = node.call("eth_getCode", json!([late, "latest"])).await.unwrap();
    assert_eq!(code, json!("0x"), "the block that it was deployed in is taken back");
    node.mint(&token, RECIPIENT, U256::from(1)).await.unwrap();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(10));
}

#[tokio::test]
async fn anvil_in_memory__should_keep_its_contracts_and_say_which_states_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = AnvilOptions::new(dir.path()).with_mining(Mining::Manual);
    options.in_memory = true;
    let node = Anvil::start(options).await.unwrap();
    let token = node.deploy_erc20(TokenKind::Normal).await.unwrap();
    node.mint(&token, RECIPIENT, U256::from(9)).await.unwrap();
    node.mine(LONG).await.unwrap();
    node.reorg(bursar_regtest::anvil::STATES_IN_MEMORY - 20).await.unwrap();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
    node.reorg(bursar_regtest::anvil::STATES_IN_MEMORY + 20).await.unwrap_err();
    assert_eq!(node.token_balance(&token, RECIPIENT).await.unwrap(), U256::from(9));
}
