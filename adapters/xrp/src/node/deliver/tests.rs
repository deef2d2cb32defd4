use super::*;
use serde_json::json;

const OURS: &str = "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE";
const OTHER: &str = "rMfCbrRSYu7ZWwGLxAQe655W9XpTTS3X3J";

fn watch() -> WatchSet {
    WatchSet { addresses: [OURS.to_owned()].into(), ..WatchSet::default() }
}

fn root(account: &str, before: &str, after: &str) -> Value {
    json!({ "ModifiedNode": {
        "LedgerEntryType": "AccountRoot",
        "FinalFields": { "Account": account, "Balance": after },
        "PreviousFields": { "Balance": before },
    }})
}

fn summary(tx: &Value, meta: &Value) -> Vec<(Option<u32>, String, u32)> {
    let delivery = credits(tx, meta, &watch()).unwrap();
    assert!(!delivery.unavailable);
    assert!(
        delivery.credits.iter().all(|c| c.address == OURS && c.asset == Asset::Xrp && c.outpoint.is_none())
    );
    delivery.credits.into_iter().map(|c| (c.tag, c.amount.to_string(), c.index)).collect()
}

fn payment(tag: Option<u32>) -> Value {
    let mut tx = json!({
        "TransactionType": "Payment", "Account": OTHER, "Destination": OURS, "Amount": "5000000", "Fee": "10",
    });
    if let Some(tag) = tag {
        tx["DestinationTag"] = tag.into();
    }
    tx
}

#[test]
fn a_recorded_payment_that_creates_our_account_is_credited_once() {
    let exchange: Value =
        serde_json::from_str(include_str!("../../../tests/recorded/tx-validated.json")).unwrap();
    let result = &exchange["response"]["result"];
    assert_eq!(summary(result, &result["meta"]), [(None, "1000000000".to_owned(), 0)]);
}

#[test]
fn a_partial_payment_is_credited_with_what_it_delivered() {
    let meta = json!({ "delivered_amount": "7", "AffectedNodes": [root(OURS, "100", "107")] });
    assert_eq!(summary(&payment(Some(0)), &meta), [(Some(0), "7".to_owned(), 0)]);
}

#[test]
fn an_issued_currency_is_no_xrp() {
    let delivered = json!({ "currency": "USD", "issuer": OTHER, "value": "5000000" });
    let meta = json!({ "delivered_amount": delivered, "AffectedNodes": [] });
    assert_eq!(summary(&payment(None), &meta), []);
}

#[test]
fn an_unknown_delivery_is_told_and_a_missing_one_refused() {
    let unavailable = json!({ "delivered_amount": "unavailable", "AffectedNodes": [] });
    let delivery = credits(&payment(None), &unavailable, &watch()).unwrap();
    assert!(delivery.unavailable && delivery.credits.is_empty());
    for meta in [
        json!({ "AffectedNodes": [] }),
        json!({ "delivered_amount": "-7", "AffectedNodes": [] }),
        json!({ "delivered_amount": "7.5", "AffectedNodes": [] }),
        json!({ "delivered_amount": 7, "AffectedNodes": [] }),
    ] {
        assert!(credits(&payment(None), &meta, &watch()).is_err(), "{meta}");
    }
}

#[test]
fn a_deleted_account_pays_us_its_balance() {
    let tx = json!({
        "TransactionType": "AccountDelete", "Account": OTHER, "Destination": OURS, "DestinationTag": 9, "Fee": "200000",
    });
    let meta = json!({ "AffectedNodes": [
        root(OURS, "1000000", "5800000"),
        { "DeletedNode": { "LedgerEntryType": "AccountRoot", "FinalFields": { "Account": OTHER, "Balance": "0" } } },
    ]});
    assert_eq!(summary(&tx, &meta), [(Some(9), "4800000".to_owned(), 0)]);
}

#[test]
fn an_escrow_that_we_finish_pays_us_with_its_own_tag_and_before_the_fee() {
    let tx = json!({ "TransactionType": "EscrowFinish", "Account": OURS, "Owner": OTHER, "Fee": "12" });
    let meta = json!({ "AffectedNodes": [
        { "DeletedNode": { "LedgerEntryType": "Escrow",
            "FinalFields": { "Account": OTHER, "Destination": OURS, "DestinationTag": 77, "Amount": "500" } } },
        root(OURS, "1000", "1488"),
    ]});
    assert_eq!(summary(&tx, &meta), [(Some(77), "500".to_owned(), 0)]);
}

#[test]
fn what_we_pay_is_no_credit() {
    let tx = json!({
        "TransactionType": "Payment", "Account": OURS, "Destination": OTHER, "Amount": "5", "Fee": "10",
    });
    let meta =
        json!({ "delivered_amount": "5", "AffectedNodes": [root(OURS, "100", "85"), root(OTHER, "1", "6")] });
    assert_eq!(summary(&tx, &meta), []);
}
