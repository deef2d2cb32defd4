//! What only the stand-in can be told to do: load, faults, restarts, and its WebSocket side.

use std::time::Duration;

use bursar_regtest::xrpl::Config;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::client::{Target, number};
use super::wallet::Wallet;

const XRP: u64 = 1_000_000;

async fn arm(target: &Target, fault: Value) {
    assert_eq!(target.call("standin_fault", fault).await["status"], "success");
}

/// Fact 12.
#[tokio::test]
async fn load__should_queue_what_pays_less_and_leave_the_sequence_alone() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    arm(&target, json!({"open_ledger_fee": 10_000})).await;
    assert_eq!(target.call("fee", json!({})).await["drops"]["open_ledger_fee"], "10000");
    let sequence = number(&target.account(&payer.address).await["Sequence"]);
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    for ahead in 0..10 {
        let mut queued = payment.clone();
        queued["Sequence"] = json!(sequence + ahead);
        let answer = target.send(&payer, queued).await;
        assert_eq!(
            (&answer["engine_result"], &answer["queued"]),
            (&json!("terQUEUED"), &json!(true)),
            "{answer}"
        );
        assert_eq!(number(&answer["account_sequence_next"]), sequence);
        assert_eq!(number(&answer["account_sequence_available"]), sequence + ahead + 1);
    }
    let with = |field: &str, value: Value| {
        let mut tx = payment.clone();
        tx[field] = value;
        tx
    };
    let full = target.send(&payer, with("Sequence", json!(sequence + 10))).await;
    assert_eq!(full["engine_result"], "telCAN_NOT_QUEUE_FULL");
    let cheap = target.send(&payer, with("Fee", json!("12"))).await;
    assert_eq!(cheap["engine_result"], "telCAN_NOT_QUEUE_FEE");
    let hasty = target.send(&payer, with("LastLedgerSequence", json!(target.validated().await + 1))).await;
    assert_eq!(hasty["engine_result"], "telCAN_NOT_QUEUE");
    target.accept().await;
    assert_eq!(number(&target.account(&payer.address).await["Sequence"]), sequence);
    assert_eq!(target.balance(&receiver.address).await, 50 * XRP);

    // Even the one that was refused as one too many: it was `kept`, so the node tries it again by itself.
    assert_eq!(full["kept"], true);
    arm(&target, json!({"open_ledger_fee": null})).await;
    target.accept().await;
    target.accept().await;
    assert_eq!(number(&target.account(&payer.address).await["Sequence"]), sequence + 11);
    assert_eq!(target.balance(&receiver.address).await, 61 * XRP);
}

#[tokio::test]
async fn load__should_let_through_what_pays_the_price() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    arm(&target, json!({"open_ledger_fee": 10_000})).await;
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    payment["Fee"] = json!("10000");
    assert_eq!(target.settle(&payer, payment).await, "tesSUCCESS");
}

/// Fact 10, the part for networks above 1024.
#[tokio::test]
async fn network_id__should_be_required_on_large_networks() {
    let target = Target::stand_in_with(|config| config.network_id = 21_337).await;
    let (genesis, receiver) = (Wallet::genesis(), Wallet::new());
    let payment = target.payment(&genesis, &receiver.address, 50 * XRP).await;
    for (id, expected) in
        [(None, "telREQUIRES_NETWORK_ID"), (Some(21_338), "telWRONG_NETWORK"), (Some(21_337), "tesSUCCESS")]
    {
        let mut tx = payment.clone();
        if let Some(id) = id {
            tx["NetworkID"] = json!(id);
        }
        assert_eq!(target.send(&genesis, tx).await["engine_result"], expected);
    }
}

#[tokio::test]
async fn lost_reply__should_break_the_connection_after_the_work_is_done() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let signed = payer.sign(target.payment(&payer, &receiver.address, XRP).await);
    arm(&target, json!({"lose_submit_reply": 1})).await;
    assert!(target.try_call("submit", json!({"tx_blob": signed.blob})).await.is_err());
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tefPAST_SEQ");
    target.accept().await;
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}

#[tokio::test]
async fn flipped_result__should_be_final_and_deliver_nothing() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    arm(&target, json!({"flip_provisional": 1})).await;
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    assert_eq!(target.settle(&payer, payment).await, "tecUNFUNDED_PAYMENT");
    assert_eq!(target.balance(&receiver.address).await, 50 * XRP);
    assert_eq!(target.balance(&payer.address).await, 50 * XRP - 10);
}

#[tokio::test]
async fn dropped_transaction__should_stay_unvalidated_and_its_sequence_unused() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    let signed = payer.sign(payment.clone());
    arm(&target, json!({"drop_provisional": 1})).await;
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tesSUCCESS");
    for _ in 0..7 {
        target.accept().await;
    }
    let found = target.tx(&signed.hash).await;
    assert_eq!((&found["validated"], found.get("error")), (&json!(false), None));
    assert_eq!(target.account(&payer.address).await["Sequence"], payment["Sequence"]);
}

#[tokio::test]
async fn ledger_gap__should_hide_the_ledgers_and_their_transactions() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let sent = target.send(&payer, target.payment(&payer, &receiver.address, XRP).await).await;
    let hidden = target.accept().await;
    let last = target.accept().await;
    arm(&target, json!({"ledger_gap": [hidden, hidden]})).await;
    let state = target.call("server_state", json!({})).await;
    assert_eq!(state["state"]["complete_ledgers"], format!("2-{},{last}", hidden - 1));
    let hash = &sent["tx_json"]["hash"];
    let missing = json!({"transaction": hash, "min_ledger": hidden, "max_ledger": hidden});
    let missing = target.call("tx", missing).await;
    assert_eq!((&missing["error"], &missing["searched_all"]), (&json!("txnNotFound"), &json!(false)));
    assert_eq!(target.call("ledger", json!({"ledger_index": hidden})).await["error"], "lgrNotFound");
    let history = target.call("account_tx", json!({"account": receiver.address})).await;
    assert_eq!(history["transactions"].as_array().map(Vec::len), Some(1));
    arm(&target, json!({"reset": true})).await;
    assert_eq!(target.tx(hash.as_str().unwrap()).await["validated"], true);
}

#[tokio::test]
async fn stale_node__should_answer_as_of_an_older_ledger() {
    let target = Target::stand_in().await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let sent = target.send(&payer, target.payment(&payer, &receiver.address, XRP).await).await;
    let ledger = target.accept().await;
    target.accept().await;
    arm(&target, json!({"stale": 2})).await;
    assert_eq!(target.validated().await, ledger - 1);
    assert_eq!(target.tx(sent["tx_json"]["hash"].as_str().unwrap()).await["validated"], false);
    assert_eq!(
        target.account_at(&receiver.address, json!("validated")).await["Balance"],
        (50 * XRP).to_string()
    );
    arm(&target, json!({"stale": 1})).await;
    assert_eq!(target.tx(sent["tx_json"]["hash"].as_str().unwrap()).await["validated"], true);
}

#[tokio::test]
async fn unknown_fault__should_be_refused() {
    let target = Target::stand_in().await;
    let answer = target.call("standin_fault", json!({"loose_submit_reply": 1})).await;
    assert_eq!(answer["error"], "invalidParams");
    assert!(answer["error_message"].as_str().unwrap().contains("loose_submit_reply"));
}

/// Closed ledgers survive, the open one does not; a torn last line is no obstacle.
#[tokio::test]
async fn restart__should_keep_closed_ledgers_and_lose_the_open_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ledger.jsonl");
    let with_file = |config: &mut Config| config.state_file = Some(file.clone());
    let target = Target::stand_in_with(with_file).await;
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    arm(&target, json!({"flip_provisional": 1})).await;
    assert_eq!(target.settle(&payer, payment).await, "tecUNFUNDED_PAYMENT");
    let before = target.call("ledger", json!({"ledger_index": "validated"})).await;
    let lost = payer.sign(target.payment(&payer, &receiver.address, XRP).await);
    assert_eq!(target.submit(&lost.blob).await["engine_result"], "tesSUCCESS");
    // What kill -9 leaves: no farewell, and half a line.
    drop(target);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"ledger\":99,\"ha");
    std::fs::write(&file, bytes).unwrap();

    let target = Target::stand_in_with(with_file).await;
    assert_eq!(target.call("ledger", json!({"ledger_index": "validated"})).await, before);
    assert_eq!(target.tx(&lost.hash).await["error"], "txnNotFound");
    assert_eq!(target.balance(&payer.address).await, 50 * XRP - 10);
    assert_eq!(target.submit(&lost.blob).await["engine_result"], "tesSUCCESS");
    target.accept().await;
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}

#[tokio::test]
async fn close_interval__should_close_ledgers_by_itself() {
    let target =
        Target::stand_in_with(|config| config.close_interval = Some(Duration::from_millis(20))).await;
    for _ in 0..500 {
        if target.validated().await >= 4 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still at ledger {}", target.validated().await);
}

#[tokio::test]
async fn websocket__should_answer_commands_and_stream_ledgers() {
    let target = Target::stand_in().await;
    let addr = target.running.as_ref().unwrap().addr;
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{addr}/")).await.unwrap();
    let mut ask = async |request: Value| {
        socket.send(Message::Text(request.to_string().into())).await.unwrap();
        let frame =
            tokio::time::timeout(Duration::from_secs(30), socket.next()).await.expect("a frame in time");
        serde_json::from_str::<Value>(frame.unwrap().unwrap().to_text().unwrap()).unwrap()
    };
    let answer = ask(json!({"id": 7, "command": "ledger_current"})).await;
    assert_eq!(
        (&answer["id"], &answer["status"], &answer["type"]),
        (&json!(7), &json!("success"), &json!("response"))
    );
    assert_eq!(answer["result"]["ledger_current_index"], 3);
    let error = ask(json!({"id": "x", "command": "nonsense"})).await;
    assert_eq!(
        (&error["id"], &error["error"], &error["status"]),
        (&json!("x"), &json!("unknownCmd"), &json!("error"))
    );
    let answer = ask(json!({"id": 8, "command": "subscribe", "streams": ["ledger"]})).await;
    assert_eq!(answer["result"]["ledger_index"], 2);
    target.accept().await;
    let frame = tokio::time::timeout(Duration::from_secs(30), socket.next()).await.expect("a ledger in time");
    let closed: Value = serde_json::from_str(frame.unwrap().unwrap().to_text().unwrap()).unwrap();
    assert_eq!((&closed["type"], &closed["ledger_index"]), (&json!("ledgerClosed"), &json!(3)));
}

#[tokio::test]
async fn malformed_requests__should_be_answered_not_survived_by_luck() {
    let target = Target::stand_in().await;
    for blob in ["", "zz", "12", "1200", &"EA".repeat(4000), &"F9".repeat(4000), &"12000022".repeat(20)] {
        let answer = target.submit(blob).await;
        assert_eq!(answer["status"], "error", "{answer}");
        assert!(answer.get("engine_result").is_none());
    }
    for (method, params) in [
        ("tx", json!({})),
        ("tx", json!({"ctid": "C00000€300060000"})),
        ("tx", json!({"transaction": 5})),
        ("account_info", json!({"account": 5})),
        ("account_info", json!({"account": "r", "ledger_index": -5})),
        ("account_tx", json!({"account": "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", "marker": 1})),
        ("ledger", json!({"ledger_index": 18_446_744_073_709_551_615_u64})),
        ("ledger_entry", json!({"ticket": 1})),
        ("simulate", json!({"tx_json": {"Account": 1}})),
        ("account_info", json!({"account": "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh", "api_version": 9})),
    ] {
        let answer = target.call(method, params).await;
        assert_eq!(answer["status"], "error", "{method}: {answer}");
    }
    assert_eq!(target.call("ping", json!({})).await["status"], "success");
}
