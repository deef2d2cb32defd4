//! Facts 1 to 7: what a result means, and when it is final.

use serde_json::json;

use super::client::{Target, number};
use super::wallet::Wallet;

const XRP: u64 = 1_000_000;

/// Fact 1: a provisional `tesSUCCESS` can become a final `tec`. The receiver demands a tag in the same ledger; who
/// goes first is decided by the set's hash, so the race is run until it is lost.
pub async fn provisional_success__should_be_able_to_end_as_a_final_tec(target: &Target) {
    for _ in 0..40 {
        let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
        let paid = target.send(&payer, target.payment(&payer, &receiver.address, XRP).await).await;
        assert_eq!(paid["engine_result"], "tesSUCCESS");
        let set = target.send(&receiver, json!({"TransactionType": "AccountSet", "SetFlag": 1})).await;
        assert_eq!(set["engine_result"], "tesSUCCESS");
        target.accept().await;
        let last = target.tx(paid["tx_json"]["hash"].as_str().unwrap()).await;
        assert_eq!(last["validated"], true);
        if last["meta"]["TransactionResult"] == "tecDST_TAG_NEEDED" {
            assert!(last["meta"].get("delivered_amount").is_none());
            assert_eq!(target.balance(&payer.address).await, 50 * XRP - 10);
            assert_eq!(target.balance(&receiver.address).await, 50 * XRP - 10);
            return;
        }
    }
    panic!("forty provisional results in a row were final");
}

/// Fact 2: what never enters a ledger is answered `validated: false` for ever; `searched_all` is only for ids that
/// the node does not know, with both bounds given.
pub async fn unapplied_transaction__should_never_be_reported_as_missing(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    payment["Sequence"] = (number(&payment["Sequence"]) + 1).into();
    let validated = target.validated().await;
    payment["LastLedgerSequence"] = (validated + 2).into();
    let signed = payer.sign(payment);
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "terPRE_SEQ");
    for _ in 0..4 {
        target.accept().await;
    }
    for bounds in [json!({}), json!({"min_ledger": validated, "max_ledger": validated + 2})] {
        let mut request = json!({"transaction": signed.hash});
        for (name, bound) in bounds.as_object().unwrap() {
            request[name] = bound.clone();
        }
        let answer = target.call("tx", request).await;
        assert_eq!(answer["validated"], false, "{answer}");
        assert!(answer.get("error").is_none() && answer.get("searched_all").is_none(), "{answer}");
    }
    let unknown = "00".repeat(31) + "01";
    let plain = target.tx(&unknown).await;
    assert_eq!(plain["error"], "txnNotFound");
    assert!(plain.get("searched_all").is_none());
    let bounded = target.call("tx", json!({"transaction": unknown, "min_ledger": 2, "max_ledger": 3})).await;
    assert!(bounded["searched_all"].is_boolean());
    let wide = json!({"transaction": unknown, "min_ledger": 1, "max_ledger": 2000});
    assert_eq!(target.call("tx", wide).await["error"], "excessiveLgrRange");
}

/// Fact 3.
pub async fn last_ledger_sequence__should_exclude_the_validated_ledger_and_include_the_next(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let validated = target.validated().await;
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    payment["LastLedgerSequence"] = validated.into();
    let late = target.send(&payer, payment.clone()).await;
    assert_eq!(
        (&late["engine_result"], &late["engine_result_code"]),
        (&json!("tefMAX_LEDGER"), &json!(-187))
    );
    payment["LastLedgerSequence"] = (validated + 1).into();
    let sent = target.send(&payer, payment).await;
    assert_eq!(sent["engine_result"], "tesSUCCESS");
    target.accept().await;
    let found = target.tx(sent["tx_json"]["hash"].as_str().unwrap()).await;
    assert_eq!(number(&found["ledger_index"]), validated + 1);
    assert_eq!(found["meta"]["TransactionResult"], "tesSUCCESS");
}

/// Fact 4.
pub async fn sending_an_applied_blob_again__should_not_look_like_success_nor_pay_twice(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let signed = payer.sign(target.payment(&payer, &receiver.address, XRP).await);
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tesSUCCESS");
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tefPAST_SEQ");
    let ledger = target.accept().await;
    let again = target.submit(&signed.blob).await;
    assert_eq!(again["engine_result"], "tefPAST_SEQ");
    assert_eq!(number(&again["tx_json"]["inLedger"]), ledger);
    target.accept().await;
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}

/// Fact 5.
pub async fn two_signatures_over_one_payload__should_have_two_ids_and_one_effect(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    let (first, second) = (payer.sign(payment.clone()), payer.sign(payment));
    assert_ne!(first.hash, second.hash);
    assert_eq!(target.submit(&first.blob).await["engine_result"], "tesSUCCESS");
    assert_eq!(target.submit(&second.blob).await["engine_result"], "tefPAST_SEQ");
    target.accept().await;
    assert_eq!(target.tx(&first.hash).await["validated"], true);
    assert_eq!(target.tx(&second.hash).await["validated"], false);
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}

/// Fact 6.
pub async fn held_transaction__should_apply_by_itself_once_the_gap_is_filled(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    let mut early = payment.clone();
    early["Sequence"] = (number(&payment["Sequence"]) + 1).into();
    let early = payer.sign(early);
    assert_eq!(target.submit(&early.blob).await["engine_result"], "terPRE_SEQ");
    target.accept().await;
    assert_eq!(target.tx(&early.hash).await["validated"], false);
    assert_eq!(target.send(&payer, payment).await["engine_result"], "tesSUCCESS");
    target.accept().await;
    target.accept().await;
    let held = target.tx(&early.hash).await;
    assert_eq!(
        (&held["validated"], &held["meta"]["TransactionResult"]),
        (&json!(true), &json!("tesSUCCESS"))
    );
    assert_eq!(target.balance(&receiver.address).await, 52 * XRP);
}

/// Fact 7: the account at a fixed validated ledger at or above LastLedgerSequence proves what happened.
pub async fn account_at_the_expiry_ledger__should_prove_that_nothing_was_applied(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    let sequence = number(&payment["Sequence"]);
    let last = target.validated().await + 1;
    payment["LastLedgerSequence"] = last.into();
    // Signed, never sent.
    let lost = payer.sign(payment.clone());
    target.accept().await;
    target.accept().await;
    assert_eq!(target.account_at(&payer.address, json!(last)).await["Sequence"], sequence);
    assert_eq!(target.submit(&lost.blob).await["engine_result"], "tefMAX_LEDGER");

    payment["LastLedgerSequence"] = (target.validated().await + 1).into();
    assert_eq!(target.settle(&payer, payment).await, "tesSUCCESS");
    let used = target.validated().await;
    assert_eq!(target.account_at(&payer.address, json!(used)).await["Sequence"], sequence + 1);
    assert_eq!(target.account_at(&payer.address, json!(used - 1)).await["Sequence"], sequence);
    let absent = json!({"account": payer.address, "ledger_index": used + 50});
    assert_eq!(target.call("account_info", absent).await["error"], "lgrNotFound");
}

/// Both key types sign; a changed byte anywhere is refused before the engine.
pub async fn signatures__should_be_checked_for_both_key_types(target: &Target) {
    let wallet = Wallet::ed25519();
    target.fund(&wallet, 50 * XRP).await;
    let receiver = target.funded(50 * XRP).await;
    let payment = target.payment(&wallet, &receiver.address, XRP).await;
    let signed = wallet.sign(payment.clone());
    let bytes = hex::decode(&signed.blob).unwrap();
    for position in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[position] ^= 1;
        let answer = target.submit(&hex::encode_upper(&bent)).await;
        assert_eq!(answer["error"], "invalidTransaction", "byte {position}: {answer}");
        assert!(answer.get("engine_result").is_none());
    }
    assert_eq!(target.settle(&wallet, payment).await, "tesSUCCESS");
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}
