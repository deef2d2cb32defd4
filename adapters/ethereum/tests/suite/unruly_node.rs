//! A node that lies, breaks off, stalls or speaks in riddles.

use crate::{
    anvil::config,
    support::{LocalKey, intent, wallet},
};
use bursar_domain::{
    account::AccountQuery,
    amount::Amount,
    asset::Asset,
    chain::WatchSet,
    package::SignedTransaction,
    ports::{
        BroadcastOutcome, BroadcastTransaction, BuildError, NodeError, ObserveChain, ReadAccount,
        ReadAccountError,
    },
    wallet::Branch,
};
use bursar_ethereum::{EthereumNode, EthereumNodeConfig, InvalidNodeConfig, Traces};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate, matchers::any};

const PAYEE: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const HASH: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "0x2222222222222222222222222222222222222222222222222222222222222222";

#[derive(Clone)]
pub enum Answer {
    Result(Value),
    Error(i64, &'static str, Value),
    Status(u16),
    Truncated,
    Stalls,
    Html,
}
use Answer::{Error, Html, Result as Gives, Stalls, Status, Truncated};

/// Answers by method; what is not set is "method not found".
#[derive(Clone, Default)]
struct Script(Arc<Mutex<Dialogue>>);

#[derive(Default)]
struct Dialogue {
    answers: HashMap<String, Answer>,
    calls: Vec<String>,
}

impl Respond for Script {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let call: Value = serde_json::from_slice(&request.body).unwrap();
        let method = call["method"].as_str().unwrap().to_owned();
        let mut dialogue = self.0.lock().unwrap();
        let answer =
            dialogue.answers.get(&method).cloned().unwrap_or(Error(-32601, "method not found", Value::Null));
        dialogue.calls.push(method);
        let body = |key: &str, value: Value| {
            let mut body = json!({ "jsonrpc": "2.0", "id": call["id"] });
            body[key] = value;
            body
        };
        match answer {
            Gives(value) => ResponseTemplate::new(200).set_body_json(body("result", value)),
            Error(code, message, data) => ResponseTemplate::new(200)
                .set_body_json(body("error", json!({ "code": code, "message": message, "data": data }))),
            Status(status) => ResponseTemplate::new(status).set_body_string("upstream error"),
            Truncated => {
                let whole = body("result", json!(HASH)).to_string();
                ResponseTemplate::new(200).set_body_string(&whole[..whole.len() - 20])
            }
            Stalls => ResponseTemplate::new(200)
                .set_body_json(body("result", json!(HASH)))
                .set_delay(Duration::from_secs(60)),
            Html => ResponseTemplate::new(200).set_body_string("<html>please log in</html>"),
        }
    }
}

pub struct Unruly {
    pub node: EthereumNode,
    script: Script,
    _server: MockServer,
}

impl Unruly {
    async fn start() -> Self {
        Self::start_with(Traces::Auto).await
    }

    pub async fn start_with(traces: Traces) -> Self {
        let server = MockServer::start().await;
        let script = Script::default();
        Mock::given(any()).respond_with(script.clone()).mount(&server).await;
        let config =
            EthereumNodeConfig { timeout: Duration::from_secs(3), traces, ..config(&server.uri(), 1) };
        let unruly = Self { node: EthereumNode::new(config).unwrap(), script, _server: server };
        unruly.set("eth_chainId", Gives(json!("0x1")));
        unruly
    }

    pub fn set(&self, method: &str, answer: Answer) {
        self.script.0.lock().unwrap().answers.insert(method.to_owned(), answer);
    }

    pub fn calls(&self, method: &str) -> usize {
        self.script.0.lock().unwrap().calls.iter().filter(|called| *called == method).count()
    }

    async fn broadcast(&self) -> BroadcastOutcome {
        let signed = SignedTransaction { tx_id: HASH.to_owned(), bytes: vec![2, 0xc0] };
        self.node.broadcast(&signed).await
    }
}

#[tokio::test]
async fn an_unclear_answer_is_maybe_sent() {
    let unruly = Unruly::start().await;
    for answer in [
        Status(500),
        Status(502),
        Status(429),
        Truncated,
        Stalls,
        Html,
        Gives(json!(OTHER)),
        Gives(Value::Null),
        Gives(json!("0x12")),
        Error(-32005, "limit exceeded", Value::Null),
        Error(-32603, "internal error", Value::Null),
    ] {
        unruly.set("eth_sendRawTransaction", answer);
        let outcome = unruly.broadcast().await;
        assert!(matches!(outcome, BroadcastOutcome::MaybeSent { .. }), "{outcome:?}");
    }
    unruly.set("eth_sendRawTransaction", Gives(json!(HASH)));
    assert_eq!(unruly.broadcast().await, BroadcastOutcome::Accepted);
}

#[tokio::test]
async fn a_used_nonce_is_looked_into() {
    let unruly = Unruly::start().await;
    unruly
        .set("eth_sendRawTransaction", Error(-32000, "nonce too low: next nonce 5, tx nonce 4", Value::Null));
    unruly.set("eth_getTransactionByHash", Gives(json!({ "hash": HASH, "blockNumber": "0x5" })));
    assert_eq!(unruly.broadcast().await, BroadcastOutcome::AlreadyKnown);
    for (found, rejected) in [
        (Gives(Value::Null), true),
        (Gives(json!({ "hash": OTHER })), true),
        (Status(503), false),
        (Gives(json!("what")), false),
    ] {
        unruly.set("eth_getTransactionByHash", found);
        match unruly.broadcast().await {
            BroadcastOutcome::Rejected { .. } if rejected => {}
            BroadcastOutcome::MaybeSent { .. } if !rejected => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_chain_is_asked_for_once_and_again_after_an_outage() {
    let unruly = Unruly::start().await;
    unruly.set("eth_sendRawTransaction", Gives(json!(HASH)));
    unruly.broadcast().await;
    unruly.broadcast().await;
    assert_eq!(unruly.calls("eth_chainId"), 1);
    unruly.set("eth_sendRawTransaction", Status(502));
    unruly.broadcast().await;
    // What comes back serves another chain: nothing is sent to it.
    unruly.set("eth_chainId", Gives(json!("0x5")));
    unruly.set("eth_sendRawTransaction", Gives(json!(HASH)));
    let sent = unruly.calls("eth_sendRawTransaction");
    let outcome = unruly.broadcast().await;
    assert!(
        matches!(&outcome, BroadcastOutcome::Rejected { reason } if reason.contains("ethereum:5")),
        "{outcome:?}"
    );
    assert_eq!(unruly.calls("eth_sendRawTransaction"), sent);
    assert!(matches!(unruly.node.tips().await, Err(NodeError::WrongNetwork { .. })));
}

/// Answers to everything that is read before a token payment.
async fn ready_to_pay(token_balance: &str) -> Unruly {
    let unruly = Unruly::start().await;
    let header = json!({ "number": "0x10", "hash": HASH, "baseFeePerGas": "0x3b9aca00" });
    unruly.set("eth_getBlockByNumber", Gives(header));
    unruly.set("eth_getTransactionCount", Gives(json!("0x3")));
    unruly.set("eth_getBalance", Gives(json!("0xde0b6b3a7640000")));
    unruly.set("eth_call", Gives(json!(format!("0x{token_balance:0>64}"))));
    unruly.set("eth_feeHistory", Gives(json!({ "reward": [["0x0"], ["0x3b9aca00"], ["0x77359400"]] })));
    unruly.set("eth_estimateGas", Gives(json!("0xfde8")));
    unruly
}

async fn state(
    unruly: &Unruly,
    asset: Asset,
) -> Result<bursar_domain::account::AccountState, ReadAccountError> {
    let key = LocalKey::new(1);
    let intent = intent(1, asset, PAYEE, Amount::from_u64(1));
    let source = Some(wallet(1).path(Branch::Receive, 0));
    unruly.node.account_state(AccountQuery { intent: &intent, key: &key.group, source }).await
}

const TOKEN: Asset = Asset::Erc20([0xee; 20]);

#[tokio::test]
async fn a_rehearsal_that_reverts_gives_the_reason() {
    // A balance of one doubles as the answer true.
    let unruly = ready_to_pay("1").await;
    let account = state(&unruly, TOKEN).await.unwrap();
    assert_eq!(account.first_unused(), Some(3));
    let bursar_domain::account::AccountState::Ethereum(account) = account else { panic!("another chain") };
    assert_eq!(account.gas_limit, 81_250, "65 000 and a quarter");
    assert_eq!(account.max_priority_fee_per_gas, 2_000_000_000);
    assert_eq!(account.max_fee_per_gas, 4_000_000_000);

    let too_low = "0x08c379a000000000000000000000000000000000000000000000000000000000000000200000000000000000000000000000000000000000000000000000000000000007746f6f206c6f7700000000000000000000000000000000000000000000000000";
    for (error, expected) in [
        (Error(3, "execution reverted: too low", json!(too_low)), "reverted: too low"),
        (Error(-32015, "VM execution error.", json!(format!("Reverted {too_low}"))), "reverted: too low"),
        (Error(3, "execution reverted", json!("0xe450d38c")), "reverted with custom error 0xe450d38c"),
        (Error(-32000, "execution reverted", Value::Null), "execution reverted"),
    ] {
        unruly.set("eth_estimateGas", error);
        match state(&unruly, TOKEN).await {
            Err(ReadAccountError::WouldFail { reason }) => assert_eq!(reason, expected),
            other => panic!("{other:?}"),
        }
    }
    unruly.set("eth_estimateGas", Error(-32000, "insufficient funds for gas * price + value", Value::Null));
    assert!(matches!(
        state(&unruly, Asset::Eth).await,
        Err(ReadAccountError::Build(BuildError::InsufficientFunds { asset: Asset::Eth, .. }))
    ));
    for answer in [Error(-32005, "rate limited", Value::Null), Status(500), Truncated, Gives(json!("many"))] {
        unruly.set("eth_estimateGas", answer);
        let error = state(&unruly, TOKEN).await.unwrap_err();
        assert!(matches!(error, ReadAccountError::Node(_)), "{error}");
    }
    unruly.set("eth_estimateGas", Gives(json!("0xfffffffff")));
    assert!(matches!(state(&unruly, TOKEN).await, Err(ReadAccountError::WouldFail { .. })));
}

#[tokio::test]
async fn absurd_fees_are_not_followed() {
    let unruly = ready_to_pay("1").await;
    unruly.set("eth_feeHistory", Gives(json!({ "reward": [[format!("0x{}", "f".repeat(64))]] })));
    let bursar_domain::account::AccountState::Ethereum(account) = state(&unruly, Asset::Eth).await.unwrap()
    else {
        panic!("another chain")
    };
    assert_eq!(account.max_priority_fee_per_gas, 5_000_000_000);
    unruly.set("eth_feeHistory", Error(-32601, "the method eth_feeHistory does not exist", Value::Null));
    unruly.set("eth_maxPriorityFeePerGas", Gives(json!("0x1")));
    assert!(state(&unruly, Asset::Eth).await.is_ok());

    for base in ["0x45d964b801", "0xffffffffffffffffffffffffffffffff"] {
        let header = json!({ "number": "0x10", "hash": HASH, "baseFeePerGas": base });
        unruly.set("eth_getBlockByNumber", Gives(header));
        assert!(matches!(
            state(&unruly, Asset::Eth).await,
            Err(ReadAccountError::Build(BuildError::FeeAboveCap { .. }))
        ));
    }
    unruly.set("eth_getBlockByNumber", Gives(json!({ "number": "0x10", "hash": HASH })));
    assert!(matches!(state(&unruly, Asset::Eth).await, Err(ReadAccountError::Node(_))), "before EIP-1559");
}

fn block(transactions: Value) -> Answer {
    Gives(json!({
        "number": "0x10", "hash": HASH, "parentHash": OTHER, "timestamp": "0x6553f100", "transactions": transactions,
    }))
}

fn receipt(block_hash: &str, status: &str) -> Answer {
    Gives(json!({
        "transactionHash": OTHER, "blockHash": block_hash, "status": status, "gasUsed": "0x5208",
        "effectiveGasPrice": "0x2", "logs": [],
    }))
}

#[tokio::test]
async fn a_block_is_not_reported_before_its_receipts() {
    let unruly = Unruly::start().await;
    let mut watch = WatchSet::default();
    watch.addresses.insert(PAYEE.to_owned());
    watch.tokens.insert([0xee; 20]);
    let deposit = json!({
        "hash": OTHER, "from": format!("0x{}", "33".repeat(20)), "to": PAYEE.to_ascii_lowercase(),
        "nonce": "0x0", "value": "0x7", "input": "0x", "type": "0x7e",
    });
    unruly.set("eth_getBlockByNumber", block(json!([deposit])));
    unruly.set("eth_getLogs", Gives(json!([])));

    for lagging in [Gives(Value::Null), receipt(OTHER, "0x1"), Status(503), Truncated] {
        unruly.set("eth_getTransactionReceipt", lagging);
        assert!(unruly.node.block(16, &watch).await.is_err());
    }
    unruly.set("eth_getTransactionReceipt", receipt(HASH, "0x1"));
    let seen = unruly.node.block(16, &watch).await.unwrap();
    assert_eq!(seen.transactions[0].credits[0].amount, Amount::from_u64(7));
    assert_eq!((seen.parent_hash.as_str(), seen.time.micros()), (OTHER, 1_700_000_000_000_000));
    unruly.set("eth_getTransactionReceipt", receipt(HASH, "0x0"));
    let seen = unruly.node.block(16, &watch).await.unwrap();
    assert_eq!(seen.transactions[0].credits, [], "reverted");

    // Events of another block, of a token or a payee that was not asked for, or with four topics (an NFT).
    let log = |token: &str, block: &str, payee: &str, topics: usize| {
        let transfer = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";
        let payee = format!("0x{}{}", "0".repeat(24), &payee[2..]);
        let all = [transfer.to_owned(), OTHER.to_owned(), payee, OTHER.to_owned()];
        json!([{
            "address": format!("0x{}", token.repeat(20)), "topics": all[..topics], "data": format!("0x{:0>64}", "9"),
            "blockHash": block, "transactionHash": OTHER, "logIndex": "0x4", "removed": false,
        }])
    };
    unruly.set("eth_getTransactionReceipt", receipt(HASH, "0x1"));
    unruly.set("eth_getLogs", Gives(log("ee", OTHER, PAYEE, 3)));
    assert!(matches!(unruly.node.block(16, &watch).await, Err(NodeError::Malformed { .. })));
    let stranger = format!("0x{}", "44".repeat(20));
    for foreign in [log("dd", HASH, PAYEE, 3), log("ee", HASH, &stranger, 3), log("ee", HASH, PAYEE, 4)] {
        unruly.set("eth_getLogs", Gives(foreign));
        assert_eq!(unruly.node.block(16, &watch).await.unwrap().transactions[0].credits.len(), 1);
    }
    unruly.set("eth_getLogs", Gives(log("ee", HASH, PAYEE, 3)));
    let seen = unruly.node.block(16, &watch).await.unwrap();
    let indices: Vec<u32> = seen.transactions[0].credits.iter().map(|credit| credit.index).collect();
    assert_eq!(indices, [0, 5]);

    unruly.set("eth_getBlockByNumber", Gives(Value::Null));
    assert!(matches!(unruly.node.block(17, &watch).await, Err(NodeError::NoBlock { height: 17, .. })));
    unruly.set("eth_getBlockByNumber", block(json!([])));
    assert!(
        matches!(unruly.node.block(17, &watch).await, Err(NodeError::Malformed { .. })),
        "another height"
    );
}

#[test]
fn configurations_are_checked_and_errors_keep_the_url_secret() {
    let with = |url: &str| EthereumNode::new(config(url, 1)).err();
    for url in ["", "node:8545", "ftp://node", "file:///x"] {
        assert_eq!(with(url), Some(InvalidNodeConfig::Url), "{url}");
    }
    assert_eq!(with("http://127.0.0.1:8545"), None);
    let zero = EthereumNodeConfig { timeout: Duration::ZERO, ..config("http://127.0.0.1:1", 1) };
    assert_eq!(EthereumNode::new(zero).err(), Some(InvalidNodeConfig::Timeout));
}

#[tokio::test]
async fn an_absent_node_is_unavailable_and_its_url_stays_secret() {
    let node = EthereumNode::new(config("http://127.0.0.1:9/SECRET-KEY", 1)).unwrap();
    let error = node.tips().await.unwrap_err();
    assert!(matches!(error, NodeError::Unavailable { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("SECRET-KEY"));
    let signed = SignedTransaction { tx_id: HASH.to_owned(), bytes: vec![2] };
    assert!(matches!(node.broadcast(&signed).await, BroadcastOutcome::MaybeSent { .. }));
}
