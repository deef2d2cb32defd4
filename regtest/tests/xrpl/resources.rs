//! Fact 13: tickets and keys. Fact 12 (load) needs a node that can be loaded at will: see `misbehaviour`.

use serde_json::{Value, json};

use super::client::{Target, number};
use super::wallet::Wallet;

const XRP: u64 = 1_000_000;

fn ticket_payment(to: &Wallet, ticket: u32, drops: u64) -> Value {
    json!({
        "TransactionType": "Payment", "Destination": to.address, "Amount": drops.to_string(),
        "Sequence": 0, "TicketSequence": ticket,
    })
}

pub async fn tickets__should_work_out_of_order_and_only_once(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let first = number(&target.account(&payer.address).await["Sequence"]) + 1;
    let create = json!({"TransactionType": "TicketCreate", "TicketCount": 3});
    assert_eq!(target.settle(&payer, create).await, "tesSUCCESS");
    let account = target.account(&payer.address).await;
    assert_eq!((number(&account["TicketCount"]), number(&account["OwnerCount"])), (3, 3));
    assert_eq!(number(&account["Sequence"]), first + 3);

    let signed = payer.sign(ticket_payment(&receiver, first + 2, XRP));
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tesSUCCESS");
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tefNO_TICKET");
    target.accept().await;
    assert_eq!(target.submit(&signed.blob).await["engine_result"], "tefNO_TICKET");
    assert_eq!(
        target.settle(&payer, ticket_payment(&receiver, first, 900 * XRP)).await,
        "tecUNFUNDED_PAYMENT"
    );
    let burnt = target.send(&payer, ticket_payment(&receiver, first, XRP)).await;
    assert_eq!(burnt["engine_result"], "tefNO_TICKET");
    let future = target.send(&payer, ticket_payment(&receiver, first + 50, XRP)).await;
    assert_eq!(future["engine_result"], "terPRE_TICKET");
    let mut both = ticket_payment(&receiver, first + 1, XRP);
    both["Sequence"] = json!(first + 3);
    assert_eq!(target.send(&payer, both).await["engine_result"], "temSEQ_AND_TICKET");

    let tickets = json!({"account": payer.address, "type": "ticket", "ledger_index": "validated"});
    let left = target.call("account_objects", tickets).await;
    let left: Vec<u32> = left["account_objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|ticket| number(&ticket["TicketSequence"]))
        .collect();
    assert_eq!(left, [first + 1]);
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}

pub async fn tickets__should_be_250_at_most(target: &Target) {
    let payer = target.funded(200 * XRP).await;
    let create = |count: u32| json!({"TransactionType": "TicketCreate", "TicketCount": count});
    assert_eq!(target.send(&payer, create(251)).await["engine_result"], "temINVALID_COUNT");
    assert_eq!(target.settle(&payer, create(250)).await, "tesSUCCESS");
    assert_eq!(target.settle(&payer, create(1)).await, "tecDIR_FULL");
}

/// Ticket proof for finality: the entry is there until used, at any validated ledger asked for.
pub async fn ticket_entry__should_prove_use_at_a_fixed_ledger(target: &Target) {
    let (payer, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let ticket = number(&target.account(&payer.address).await["Sequence"]) + 1;
    let create = json!({"TransactionType": "TicketCreate", "TicketCount": 1});
    assert_eq!(target.settle(&payer, create).await, "tesSUCCESS");
    let unused = target.validated().await;
    assert_eq!(target.settle(&payer, ticket_payment(&receiver, ticket, XRP)).await, "tesSUCCESS");
    let at = |ledger: u32| json!({"ticket": {"account": payer.address, "ticket_seq": ticket}, "ledger_index": ledger});
    let before = target.call("ledger_entry", at(unused)).await;
    assert_eq!((&before["node"]["TicketSequence"], &before["validated"]), (&json!(ticket), &json!(true)));
    assert_eq!(target.call("ledger_entry", at(unused + 1)).await["error"], "entryNotFound");
}

pub async fn regular_key__should_sign_for_the_same_address_until_it_is_rotated(target: &Target) {
    let (owner, receiver) = (target.funded(50 * XRP).await, target.funded(50 * XRP).await);
    let (old, new) = (Wallet::new(), Wallet::new());
    for key in [&old, &new] {
        let rotate = json!({"TransactionType": "SetRegularKey", "RegularKey": key.address});
        assert_eq!(target.settle(&owner, rotate).await, "tesSUCCESS");
    }
    assert_eq!(
        target.settle(&owner, json!({"TransactionType": "AccountSet", "SetFlag": 4})).await,
        "tesSUCCESS"
    );
    let (old, new) = (old.acting_for(&owner.address), new.acting_for(&owner.address));
    let payment = target.payment(&owner, &receiver.address, XRP).await;
    assert_eq!(target.send(&owner, payment.clone()).await["engine_result"], "tefMASTER_DISABLED");
    assert_eq!(target.send(&old, payment.clone()).await["engine_result"], "tefBAD_AUTH");
    assert_eq!(target.settle(&new, payment).await, "tesSUCCESS");
    assert_eq!(target.balance(&receiver.address).await, 51 * XRP);
}
