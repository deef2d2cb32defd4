//! Facts 8 to 11: what costs money, what can be sent, and what was delivered.

use serde_json::{Value, json};

use super::client::{Target, number};
use super::wallet::Wallet;

const XRP: u64 = 1_000_000;

/// Fact 8: these consume fee and sequence and deliver nothing.
pub async fn claimed_results__should_consume_fee_and_sequence(target: &Target) {
    let (payer, tagged, closed) =
        (target.funded(50 * XRP).await, target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    assert_eq!(
        target.settle(&tagged, json!({"TransactionType": "AccountSet", "SetFlag": 1})).await,
        "tesSUCCESS"
    );
    assert_eq!(
        target.settle(&closed, json!({"TransactionType": "AccountSet", "SetFlag": 9})).await,
        "tesSUCCESS"
    );
    let nobody = Wallet::new();
    for (destination, drops, expected) in [
        (&tagged.address, 5000 * XRP, "tecDST_TAG_NEEDED"),
        (&closed.address, 2 * XRP, "tecNO_PERMISSION"),
        (&nobody.address, 10, "tecNO_DST_INSUF_XRP"),
        (&nobody.address, 5000 * XRP, "tecUNFUNDED_PAYMENT"),
    ] {
        let before = target.account(&payer.address).await;
        let balance = target.balance(&payer.address).await;
        let payment = target.payment(&payer, destination, drops).await;
        assert_eq!(target.settle(&payer, payment).await, expected);
        let after = target.account(&payer.address).await;
        assert_eq!(number(&after["Sequence"]), number(&before["Sequence"]) + 1);
        assert_eq!(target.balance(&payer.address).await, balance - 10);
    }
    let authorized = json!({"source_account": payer.address, "destination_account": closed.address});
    assert_eq!(target.call("deposit_authorized", authorized).await["deposit_authorized"], false);
}

/// Fact 8: tag 0 is a tag, DisallowXRP is advice, a preauthorised sender passes DepositAuth.
pub async fn destination_rules__should_let_through_what_satisfies_them(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    for set in [1, 3, 9] {
        let flag = json!({"TransactionType": "AccountSet", "SetFlag": set});
        assert_eq!(target.settle(&receiver, flag).await, "tesSUCCESS");
    }
    let preauth = json!({"TransactionType": "DepositPreauth", "Authorize": payer.address});
    assert_eq!(target.settle(&receiver, preauth).await, "tesSUCCESS");
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    payment["DestinationTag"] = json!(0);
    let before = target.balance(&receiver.address).await;
    assert_eq!(target.settle(&payer, payment).await, "tesSUCCESS");
    assert_eq!(target.balance(&receiver.address).await, before + XRP);
}

/// Fact 8: these change nothing; a malleated signature does not even reach the engine.
pub async fn refused_transactions__should_leave_the_account_as_it_was(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let before = target.account(&payer.address).await;
    let payment = target.payment(&payer, &receiver.address, XRP).await;
    let changed = |field: &str, value: Value| {
        let mut payment = payment.clone();
        payment[field] = value;
        payment
    };
    let stranger = Wallet::new().acting_for(&payer.address);
    for (wallet, tx, expected) in [
        (&payer, changed("Destination", json!(payer.address)), "temREDUNDANT"),
        (&payer, changed("Amount", json!("0")), "temBAD_AMOUNT"),
        (&payer, changed("Fee", json!("9")), "telINSUF_FEE_P"),
        (&payer, changed("Fee", json!("100000000000000000")), "terINSUF_FEE_B"),
        (&payer, changed("Flags", json!(131_072)), "temBAD_SEND_XRP_PARTIAL"),
        (&payer, changed("Sequence", json!(1)), "tefPAST_SEQ"),
        (&stranger, payment.clone(), "tefBAD_AUTH"),
    ] {
        assert_eq!(target.submit(&wallet.sign(tx).blob).await["engine_result"], expected);
    }
    let high = target.submit(&payer.sign_high_s(payment.clone()).blob).await;
    assert_eq!(high["error"], "invalidTransaction");
    assert!(high.get("engine_result").is_none());
    assert_eq!(target.account(&payer.address).await["Balance"], before["Balance"]);
    assert_eq!(target.account(&payer.address).await["Sequence"], before["Sequence"]);
}

/// Fact 9.
pub async fn reserve__should_be_kept_by_amounts_but_not_by_fees(target: &Target) {
    let state = target.call("server_state", json!({})).await;
    let reserve = state["state"]["validated_ledger"]["reserve_base"].as_u64().unwrap();
    let (payer, receiver) = (target.funded(reserve + XRP).await, target.funded(50 * XRP).await);
    let payment = target.payment(&payer, &receiver.address, XRP + 1).await;
    assert_eq!(target.settle(&payer, payment).await, "tecUNFUNDED_PAYMENT");
    // The balance less the reserve, though the fee then comes out of the reserve.
    let most = target.balance(&payer.address).await - reserve;
    let payment = target.payment(&payer, &receiver.address, most).await;
    assert_eq!(target.settle(&payer, payment).await, "tesSUCCESS");
    assert_eq!(target.balance(&payer.address).await, reserve - 10);
}

/// A new account exists from the reserve on, and starts at the sequence of its ledger.
pub async fn account_creation__should_need_the_reserve(target: &Target) {
    let (payer, fresh) = (target.funded(50 * XRP).await, Wallet::new());
    let missing = target.call("account_info", json!({"account": fresh.address})).await;
    assert_eq!(missing["error"], "actNotFound");
    let payment = target.payment(&payer, &fresh.address, XRP - 1).await;
    assert_eq!(target.settle(&payer, payment).await, "tecNO_DST_INSUF_XRP");
    let payment = target.payment(&payer, &fresh.address, XRP).await;
    assert_eq!(target.settle(&payer, payment).await, "tesSUCCESS");
    assert_eq!(number(&target.account(&fresh.address).await["Sequence"]), target.validated().await);
}

/// Fact 10, the part for networks up to 1024.
pub async fn network_id__should_be_forbidden_on_small_networks(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let mut payment = target.payment(&payer, &receiver.address, XRP).await;
    payment["NetworkID"] = json!(0);
    assert_eq!(target.send(&payer, payment).await["engine_result"], "telNETWORK_ID_MAKES_TX_NON_CANONICAL");
}

/// Fact 11: a partial payment delivers less than its `Amount`.
pub async fn partial_payment__should_report_what_was_delivered(target: &Target) {
    let (issuer, holder) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let amount = |value: &str| json!({"currency": "524C555344000000000000000000000000000000", "issuer": issuer.address, "value": value});
    let trust = json!({"TransactionType": "TrustSet", "LimitAmount": amount("7")});
    assert_eq!(target.settle(&holder, trust).await, "tesSUCCESS");
    let mut payment = json!({
        "TransactionType": "Payment", "Destination": holder.address, "Amount": amount("1000000"),
    });
    assert_eq!(target.settle(&issuer, payment.clone()).await, "tecPATH_PARTIAL");
    payment["Flags"] = json!(131_072);
    let sent = target.send(&issuer, payment).await;
    target.accept().await;
    let found = target.tx(sent["tx_json"]["hash"].as_str().unwrap()).await;
    assert_eq!(found["meta"]["TransactionResult"], "tesSUCCESS");
    assert_eq!(found["Amount"]["value"], "1000000");
    assert_eq!(found["meta"]["delivered_amount"], amount("7"));
}

/// Fact 11: pages follow their markers, and version 2 has another shape and stricter bounds.
pub async fn account_tx__should_page_through_everything_once(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    for _ in 0..6 {
        let payment = target.payment(&payer, &receiver.address, 1000).await;
        target.settle(&payer, payment).await;
    }
    for forward in [false, true] {
        let mut request = json!({"account": receiver.address, "limit": 3, "forward": forward});
        let mut seen = Vec::new();
        loop {
            let page = target.call("account_tx", request.clone()).await;
            for row in page["transactions"].as_array().unwrap() {
                assert_eq!(row["validated"], true);
                assert!(row["meta"]["delivered_amount"].is_string());
                seen.push(number(&row["tx"]["ledger_index"]));
            }
            match page.get("marker") {
                Some(marker) => request["marker"] = marker.clone(),
                None => break,
            }
        }
        assert_eq!(seen.len(), 7, "{seen:?}");
        assert!(seen.is_sorted_by(|a, b| if forward { a < b } else { a > b }), "{seen:?}");
    }
    let second =
        target.call("account_tx", json!({"account": receiver.address, "limit": 1, "api_version": 2})).await;
    let row = &second["transactions"][0];
    assert!(row["tx"].is_null() && row["tx_json"]["Amount"].is_null() && row["hash"].is_string());
    assert_eq!(row["tx_json"]["DeliverMax"], "1000");
    let far = json!({"account": receiver.address, "api_version": 2, "ledger_index_max": 999_999});
    assert_eq!(target.call("account_tx", far).await["error"], "lgrIdxMalformed");
}

/// Fact 11: AccountDelete delivers too.
pub async fn account_delete__should_deliver_the_rest(target: &Target) {
    let (leaving, heir) = (target.funded(5 * XRP).await, target.funded(50 * XRP).await);
    let delete = json!({"TransactionType": "AccountDelete", "Destination": heir.address, "Fee": "200000"});
    let mut cheap = delete.clone();
    cheap["Fee"] = json!("10");
    assert_eq!(target.send(&leaving, cheap).await["engine_result"], "telINSUF_FEE_P");
    assert_eq!(target.settle(&leaving, delete.clone()).await, "tecTOO_SOON");
    for _ in 0..257 {
        target.accept().await;
    }
    let sent = target.send(&leaving, delete).await;
    target.accept().await;
    let found = target.tx(sent["tx_json"]["hash"].as_str().unwrap()).await;
    assert_eq!(found["meta"]["delivered_amount"], (5 * XRP - 400_000).to_string());
    assert_eq!(target.balance(&heir.address).await, 55 * XRP - 400_000);
    let gone =
        target.call("account_info", json!({"account": leaving.address, "ledger_index": "validated"})).await;
    assert_eq!((&gone["error"], &gone["validated"]), (&json!("actNotFound"), &json!(true)));
}
