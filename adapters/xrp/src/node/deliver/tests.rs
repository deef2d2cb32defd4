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
    assert_eq!(credits(&tx, &meta, &watch()).unwrap().credits[0].from, [OTHER]);
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
    assert_eq!(credits(&tx, &meta, &watch()).unwrap().credits[0].from, [OTHER], "whose it was, and not us");
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

#[test]
fn pseudo_accounts_and_other_peoples_garbage_are_passed_over() {
    // AMMCreate: the pool's own account is created with a Balance of 0, which NewFields leaves out.
    let tx = json!({ "TransactionType": "AMMCreate", "Account": OTHER, "Amount": "500", "Fee": "200000" });
    let meta = json!({ "AffectedNodes": [
        { "CreatedNode": { "LedgerEntryType": "AccountRoot", "NewFields": {
            "AMMID": "AB", "Account": "rpsuFnBqdq4UEUZYX8GtN7xkqdRTgN2qL8", "Flags": 26214400, "OwnerCount": 1,
            "Sequence": 5,
        }}},
        { "CreatedNode": { "LedgerEntryType": "AccountRoot" } },
        { "CreatedNode": { "LedgerEntryType": "AccountRoot", "NewFields": {} } },
        { "CreatedNode": "?" },
        { "ModifiedNode": { "LedgerEntryType": "AccountRoot", "FinalFields": { "Balance": 7 } } },
        { "ModifiedNode": {
            "LedgerEntryType": "AccountRoot", "FinalFields": { "Account": OTHER, "Balance": [] },
            "PreviousFields": { "Balance": {} },
        }},
        { "ModifiedNode": { "LedgerEntryType": "RippleState", "FinalFields": { "Balance": { "value": "1" } } } },
        { "SomethingNew": {} }, null, 7, "AccountRoot",
        root(OURS, "100", "107"),
    ]});
    assert_eq!(summary(&tx, &meta), [(None, "7".to_owned(), 0)]);
}

#[test]
fn an_account_of_ours_is_read_strictly() {
    let tx = json!({ "TransactionType": "AMMWithdraw", "Account": OTHER, "Fee": "12" });
    let ours = |kind: &str, fields: &str, content: Value, previous: Value| {
        json!({ "AffectedNodes": [{ kind: {
            "LedgerEntryType": "AccountRoot", fields: content, "PreviousFields": previous,
        }}]})
    };
    let created = ours("CreatedNode", "NewFields", json!({ "Account": OURS }), json!({}));
    assert_eq!(summary(&tx, &created), [], "created with nothing");
    let unchanged = ours(
        "ModifiedNode",
        "FinalFields",
        json!({ "Account": OURS, "Balance": "5" }),
        json!({ "Flags": 1 }),
    );
    assert_eq!(summary(&tx, &unchanged), []);
    for malformed in [
        ours("CreatedNode", "NewFields", json!({ "Account": OURS, "Balance": 7 }), json!({})),
        ours("ModifiedNode", "FinalFields", json!({ "Account": OURS }), json!({ "Balance": "1" })),
        ours(
            "ModifiedNode",
            "FinalFields",
            json!({ "Account": OURS, "Balance": "-5" }),
            json!({ "Balance": "1" }),
        ),
        ours(
            "ModifiedNode",
            "FinalFields",
            json!({ "Account": OURS, "Balance": "5" }),
            json!({ "Balance": 1 }),
        ),
    ] {
        assert!(credits(&tx, &malformed, &watch()).is_err(), "{malformed}");
    }
}

#[test]
fn a_payment_of_another_asset_is_credited_with_no_more_than_the_change_in_xrp() {
    let amounts = [
        json!({ "currency": "USD", "issuer": OTHER, "value": "5000000" }),
        json!({ "mpt_issuance_id": "00000004A407AF5856CCF3C42619DAA925813FC955C72983", "value": "5" }),
    ];
    for amount in amounts {
        for field in ["Amount", "DeliverMax"] {
            let mut tx =
                json!({ "TransactionType": "Payment", "Account": OTHER, "Destination": OURS, "Fee": "10" });
            tx[field] = amount.clone();
            assert_eq!(summary(&tx, &json!({ "AffectedNodes": [] })), [], "without delivered_amount");
            let meta = json!({ "delivered_amount": amount, "AffectedNodes": [root(OURS, "100", "103")] });
            assert_eq!(summary(&tx, &meta), [(None, "3".to_owned(), 0)]);
        }
    }
}
