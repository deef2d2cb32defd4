//! What contracts send on, as real traces show it, and as nodes fail to.

use crate::{
    anvil::{Bench, config, ether},
    unruly_node::{
        Answer::{Error, Result as Gives, Stalls, Status},
        Unruly,
    },
};
use alloy::primitives::Address;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{CONTRACT_PAYMENTS, ContractPayments, WatchSet},
    ports::{NodeError, ObserveChain},
    statement::{Known, ReadStatement, StatementQuery},
};
use bursar_ethereum::{EthereumNode, EthereumNodeConfig, Traces};
use bursar_regtest::Way;
use serde_json::{Value, json};

const OURS: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
const HASH: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";
const OTHER: &str = "0x2222222222222222222222222222222222222222222222222222222222222222";

fn watch() -> WatchSet {
    WatchSet { addresses: [OURS.to_owned()].into(), ..WatchSet::default() }
}

/// Transaction, place among the payments of contracts, amount.
fn paid(payments: &ContractPayments) -> Vec<(String, u32, Amount)> {
    let ContractPayments::Known(payments) = payments else { panic!("{payments:?}") };
    payments
        .iter()
        .map(|payment| {
            let credit = &payment.credit;
            assert_eq!((credit.address.as_str(), credit.asset), (OURS, Asset::Eth));
            assert!(credit.is_contract_payment());
            (payment.tx_id.clone(), credit.index - CONTRACT_PAYMENTS, credit.amount)
        })
        .collect()
}

#[tokio::test]
async fn what_contracts_send_on_is_seen_alike_by_both_ways_of_tracing() {
    let bench = Bench::start().await;
    let contracts = bench.anvil.deploy_contracts().await.unwrap();
    // All in one block, with plain payments, which make it worth to ask for all receipts at once.
    let mut sent = Vec::new();
    for (way, milli) in [(Way::Forwarded, 3), (Way::Undone, 4), (Way::Ended, 5)] {
        sent.push(bench.anvil.submit_through(&contracts, way, OURS, ether(milli)).await.unwrap());
    }
    let mut plain = Vec::new();
    for value in ["0x7", "0x8"] {
        let payment = json!({ "from": bursar_regtest::anvil::BANK, "to": OURS, "value": value });
        plain.push(bench.anvil.call("eth_sendTransaction", json!([payment])).await.unwrap());
    }
    bench.anvil.mine(1).await.unwrap();
    for id in sent.iter().map(|id| json!(id)).chain(plain.clone()) {
        let receipt = bench.anvil.mined(&id).await.unwrap();
        assert_eq!(receipt["status"], "0x1", "the transaction itself succeeds: {receipt}");
    }
    let height = bench.anvil.height().await.unwrap();
    let block = bench.node.block(height, &watch()).await.unwrap();
    let mut seen = paid(&block.contract_payments);
    seen.sort_by_key(|(_, _, amount)| *amount);
    // The second move of its transaction, after the one from the outer contract to the inner; and the only one.
    let forwarded = (sent[0].clone(), 1, Amount(ether(3)));
    let ended = (sent[2].clone(), 0, Amount(ether(5)));
    assert_eq!(seen, [forwarded, ended]);
    let direct: Vec<Value> = block.transactions.iter().map(|tx| json!(tx.tx_id)).collect();
    assert!(direct.len() == 2 && plain.iter().all(|id| direct.contains(id)), "{block:?}");
    assert_eq!(bench.anvil.balance(OURS).await.unwrap(), ether(8) + Amount::from_u64(15).0);

    // The same from geth's tracer, replayed by a node that has no other.
    let unruly = Unruly::start_with(Traces::Required).await;
    let hash = &block.block.hash;
    let tracer = json!({ "tracer": "callTracer" });
    for (method, params) in [
        ("eth_getBlockByNumber", json!([format!("{height:#x}"), true])),
        ("eth_getBlockReceipts", json!([hash])),
        ("debug_traceBlockByHash", json!([hash, tracer])),
    ] {
        unruly.set(method, Gives(bench.anvil.call(method, params).await.unwrap()));
    }
    assert_eq!(unruly.node.block(height, &watch()).await.unwrap(), block);
    unruly.node.block(height, &watch()).await.unwrap();
    assert_eq!(
        (unruly.calls("trace_block"), unruly.calls("debug_traceBlockByHash")),
        (1, 2),
        "found out once"
    );

    // What the node itself tells for a reconciliation.
    let query = StatementQuery {
        addresses: vec![OURS.to_owned()],
        assets: vec![Asset::Eth],
        first: height,
        last: height,
        known: sent.iter().map(|id| Known { tx_id: id.clone(), resources: vec![] }).collect(),
    };
    let statement = bench.node.statement(&query, &|_, _| {}).await.unwrap();
    let mut received: Vec<_> =
        statement.received.iter().map(|r| (r.tx_id.clone(), r.credit.index - CONTRACT_PAYMENTS)).collect();
    received.sort_by_key(|(_, place)| *place);
    assert_eq!(received, [(sent[2].clone(), 0), (sent[0].clone(), 1)]);
    assert!(statement.untraced.is_empty());
    let blind = EthereumNodeConfig { traces: Traces::Off, ..config(bench.anvil.rpc_url(), 31337) };
    let blind = EthereumNode::new(blind).unwrap().statement(&query, &|_, _| {}).await.unwrap();
    assert_eq!((blind.received.len(), blind.untraced.len()), (0, 3), "and it says so");

    bench.anvil.reorg(1).await.unwrap();
    let after = bench.node.block(height, &watch()).await.unwrap();
    assert_ne!(after.block.hash, block.block.hash);
    assert_eq!(after.contract_payments, ContractPayments::NotSought, "an empty block");
}

fn block() -> Value {
    let call = json!({
        "hash": OTHER, "from": Address::repeat_byte(0x33), "to": Address::repeat_byte(0x44), "nonce": "0x0",
        "value": "0x0", "input": "0x", "type": "0x2",
    });
    json!({
        "number": "0x10", "hash": HASH, "parentHash": OTHER, "timestamp": "0x6553f100", "transactions": [call],
    })
}

fn traces(block: &str) -> Value {
    let one = |from: u8, to: String, value: &str, place: Value| {
        json!({
            "type": "call", "result": { "gasUsed": "0x0", "output": "0x" }, "blockHash": block, "blockNumber": 16,
            "action": {
                "callType": "call", "from": Address::repeat_byte(from), "to": to, "gas": "0x1", "input": "0x",
                "value": value,
            },
            "subtraces": 0, "traceAddress": place, "transactionHash": OTHER, "transactionPosition": 0,
        })
    };
    let outer = Address::repeat_byte(0x44).to_string();
    json!([one(0x33, outer, "0x0", json!([])), one(0x44, OURS.to_owned(), "0x9", json!([0]))])
}

fn receipt(status: &str) -> Value {
    json!({
        "transactionHash": OTHER, "blockHash": HASH, "status": status, "gasUsed": "0x5208",
        "effectiveGasPrice": "0x2", "logs": [],
    })
}

async fn unruly(mode: Traces) -> Unruly {
    let unruly = Unruly::start_with(mode).await;
    unruly.set("eth_getBlockByNumber", Gives(block()));
    unruly.set("eth_getTransactionReceipt", Gives(receipt("0x1")));
    unruly
}

async fn seen(unruly: &Unruly) -> Result<ContractPayments, NodeError> {
    unruly.node.block(16, &watch()).await.map(|block| block.contract_payments)
}

async fn unknown(unruly: &Unruly) -> bool {
    seen(unruly).await.unwrap() == ContractPayments::Unknown
}

#[tokio::test]
async fn a_node_that_does_not_trace_says_so_once_and_is_not_asked_again() {
    let node = unruly(Traces::Auto).await;
    for _ in 0..2 {
        assert!(unknown(&node).await);
    }
    assert_eq!((node.calls("trace_block"), node.calls("debug_traceBlockByHash")), (1, 1));
    // It was away: perhaps to be given the method.
    node.set("trace_block", Gives(traces(HASH)));
    node.set("eth_getBlockByNumber", Status(502));
    seen(&node).await.unwrap_err();
    node.set("eth_getBlockByNumber", Gives(block()));
    assert_eq!(paid(&seen(&node).await.unwrap()), [(OTHER.to_owned(), 0, Amount::from_u64(9))]);
    // Nobody is watched: nothing is asked.
    let asked = node.calls("trace_block");
    let nobody = node.node.block(16, &WatchSet::default()).await.unwrap();
    assert_eq!((nobody.contract_payments, node.calls("trace_block")), (ContractPayments::NotSought, asked));

    let behind_a_proxy = unruly(Traces::Auto).await;
    behind_a_proxy.set("trace_block", Status(403));
    behind_a_proxy.set("debug_traceBlockByHash", Status(404));
    assert!(unknown(&behind_a_proxy).await);

    let off = unruly(Traces::Off).await;
    off.set("trace_block", Gives(traces(HASH)));
    assert_eq!((unknown(&off).await, off.calls("trace_block")), (true, 0));

    let required = unruly(Traces::Required).await;
    let error = seen(&required).await.unwrap_err().to_string();
    for word in ["trace_block", "debug_traceBlockByHash", "ethereum.traces"] {
        assert!(error.contains(word), "{word} not in: {error}");
    }
}

#[tokio::test]
async fn a_node_that_fails_for_now_never_looks_like_one_that_cannot_trace() {
    let failures = || {
        [
            Error(-32005, "rate limited", Value::Null),
            Error(-32000, "execution timeout", Value::Null),
            Status(429),
            Status(503),
            Stalls,
            Gives(Value::Null),
            Gives(json!([])),
            // Of the block that was there before a reorganisation.
            Gives(traces(OTHER)),
        ]
    };
    // Before anything is known of it, and after.
    for known in [false, true] {
        let node = unruly(Traces::Auto).await;
        if known {
            node.set("trace_block", Gives(traces(HASH)));
            seen(&node).await.unwrap();
        }
        for failure in failures() {
            node.set("trace_block", failure);
            seen(&node).await.unwrap_err();
        }
        if known {
            node.set("trace_block", Error(-32601, "method not found", Value::Null));
            let error = seen(&node).await.unwrap_err();
            assert!(matches!(error, NodeError::Refused { .. }), "it was there before: {error}");
        }
        assert_eq!(node.calls("debug_traceBlockByHash"), 0);
        node.set("trace_block", Gives(traces(HASH)));
        assert_eq!(paid(&seen(&node).await.unwrap()).len(), 1);
        // Another word of the same node.
        node.set("eth_getTransactionReceipt", Gives(receipt("0x0")));
        assert!(matches!(seen(&node).await, Err(NodeError::Malformed { .. })));
    }
}

#[tokio::test]
async fn a_block_that_the_node_has_forgotten_is_unknown_and_the_next_is_traced() {
    let gone = || Error(-32000, "missing trie node 5f1e (path ) state 0x5f1e is not available", Value::Null);
    let node = unruly(Traces::Auto).await;
    node.set("trace_block", gone());
    assert!(unknown(&node).await);
    node.set("trace_block", Gives(traces(HASH)));
    assert_eq!(paid(&seen(&node).await.unwrap()).len(), 1);

    let required = unruly(Traces::Required).await;
    required.set("trace_block", gone());
    let error = seen(&required).await.unwrap_err();
    assert!(error.to_string().contains("missing trie node"), "{error}");
}
