//! Votes about transfers, as long as a signature may still be needed, and what is said of what is in the way.

use crate::server::{Server, TestClock, database, found};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::BlockRef,
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        policy::Policy,
        testing::{TestDesk, key},
    },
    ids::{TransactionId, TransferId, WalletId},
    intent::{Destination, Intent, Payment},
    lifecycle::{Fact, Transfer},
    time::Clock as _,
};
use bursar_store::{
    Store, governance as kept,
    transfers::{self, Saved, Submitted},
    wallets::{self, Wallet},
};
use serde_json::{Value, json};
use std::time::Duration;

/// A desk whose policy asks for two approvers, and one order in its database.
async fn ordered(dir: &std::path::Path) -> (Server, TestDesk, Transfer) {
    let mut desk = TestDesk::new(0);
    let groups = json!([{ "group": "payments", "quorum": 2 }]);
    let rules = json!([
        { "id": "all", "then": { "kind": "ALLOW" } },
        { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": groups } },
    ]);
    let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules });
    desk.publish(serde_json::from_value::<Policy>(policy).unwrap());
    let store = Store::open(&database(dir)).await.unwrap();
    found(&store, &desk.entries[0].0, desk.now).await;
    let mut tx = store.write().await.unwrap();
    for pair in desk.entries.windows(2) {
        let document = pair[1].0.read().unwrap();
        let head = bursar_domain::governance::log::Head { seq: document.seq, digest: pair[1].0.digest() };
        kept::append(&mut tx, head, pair[0].0.digest(), &pair[1].0, pair[1].1).await.unwrap();
    }
    let descriptor = "xrp:63456/xrp-ed25519/0".parse().unwrap();
    let id = |n: u128| uuid::Uuid::from_u128(0x0193_6d0e_0000_7000_8000_0000_0000_0000 + n);
    let wallet = WalletId::new(id(1));
    let named = Wallet { id: wallet, name: "desk".into(), descriptor, created_at: desk.now };
    wallets::insert(&mut tx, &named).await.unwrap();
    let intent = Intent {
        external_id: "one".parse().unwrap(),
        wallet: descriptor,
        asset: Asset::Xrp,
        source: None,
        payments: vec![Payment {
            destination: Destination { address: "rP3APG2JAC21QZ8upEBf4fm61ui24w8gYE".into(), tag: None },
            amount: Amount::from_u64(1_000_000),
        }],
        max_fee: Amount::from_u64(100),
        expires_at: desk.now.plus(Duration::from_secs(100_000)),
        fills: None,
        terms: Some(desk.terms()),
    };
    let order = key("client.operator").order(intent);
    let transfer = Transfer::submitted(TransferId::new(id(2)), wallet, order, desk.now);
    assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
    tx.commit().await.unwrap();
    drop(store);
    let server = Server::start(dir, Some(desk.pinned()), TestClock::at(desk.now)).await;
    (server, desk, transfer)
}

async fn moved(server: &Server, mut transfer: Transfer, facts: impl IntoIterator<Item = Fact>) -> Transfer {
    let mut tx = server.store.write().await.unwrap();
    for fact in facts {
        let transition = transfer.apply(fact, server.clock.now()).unwrap();
        assert_eq!(transfers::save(&mut tx, &transition).await.unwrap(), Saved::Applied);
        transfer = transition.transfer;
    }
    tx.commit().await.unwrap();
    transfer
}

fn vote(server: &Server, desk: &TestDesk, transfer: &Transfer, user: &str, vote: Vote) -> Value {
    let now = server.clock.now();
    let payload = ApprovalPayload {
        intent: transfer.intent.intent.digest(),
        policy: desk.state.policy().unwrap().version,
        head: desk.state.head(),
        vote,
        given_at: now,
        expires_at: now.plus(Duration::from_secs(3600)),
    };
    json!(Approval { signature: key(user).sign(&payload.digest()), payload })
}

fn who(explanation: &Value, code: &str) -> Vec<String> {
    let obstacles = explanation["obstacles"].as_array().cloned().unwrap_or_default();
    let found =
        obstacles.iter().filter(|it| it["code"] == code).flat_map(|it| it["who"].as_array().unwrap().clone());
    found.map(|user| user.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn votes__should_be_taken_until_a_block_holds_the_payment() {
    let dir = tempfile::tempdir().unwrap();
    let (server, desk, transfer) = ordered(dir.path()).await;
    let path = format!("/v1/transfers/{}/approvals", transfer.id);
    let explanation = format!("/v1/transfers/{}/explanation", transfer.id);
    let explained = server.get(&explanation).await;
    assert_eq!(explained["code"], "APPROVALS_MISSING");
    let all = ["client.approver", "manager.approver", "platform.approver"];
    assert_eq!(who(&explained, "APPROVALS_MISSING"), all, "{explained}");

    let transaction = TransactionId::new(uuid::Uuid::from_u128(7));
    let facts = [
        Fact::ScreeningStarted,
        Fact::ScreeningPassed { sub_status: None },
        Fact::Authorized { sub_status: None },
        Fact::Frozen { transaction },
        Fact::SigningStarted,
    ];
    let transfer = moved(&server, transfer, facts).await;
    let (status, taken) = server.post(&path, &vote(&server, &desk, &transfer, all[0], Vote::Approve)).await;
    assert_eq!((status.as_u16(), &taken["status"]), (201, &json!("PENDING_SIGNATURE")), "{taken}");
    assert_eq!(taken["missing"], json!(["two: 1 of 2 of payments"]));
    let explained = server.get(&explanation).await;
    assert_eq!(who(&explained, "APPROVALS_MISSING"), &all[1..], "{explained}");
    // A no, and its withdrawal.
    let (_, rejected) = server.post(&path, &vote(&server, &desk, &transfer, all[1], Vote::Reject)).await;
    assert_eq!(rejected["progress"]["rejectedBy"], json!([all[1]]));
    let explained = server.get(&explanation).await;
    assert_eq!(who(&explained, "APPROVAL_REJECTED"), [all[1]], "{explained}");
    server.clock.wait(1);
    let (_, again) = server.post(&path, &vote(&server, &desk, &transfer, all[1], Vote::Approve)).await;
    assert_eq!((&again["progress"]["rejectedBy"], &again["missing"]), (&json!([]), &json!([])), "{again}");
    let explained = server.get(&explanation).await;
    assert_eq!(
        (&explained["code"], &explained["obstacles"]),
        (&json!("AUTHORIZED"), &Value::Null),
        "{explained}"
    );

    // Sent: a replacement may need a signature.
    let sent = [Fact::Signed, Fact::MaybeSent { reason: None }, Fact::Sent];
    let transfer = moved(&server, transfer, sent).await;
    let (status, late) = server.post(&path, &vote(&server, &desk, &transfer, all[2], Vote::Approve)).await;
    assert_eq!(status.as_u16(), 201, "{late}");
    let block = BlockRef { height: 7, hash: "7".into() };
    let transfer = moved(&server, transfer, [Fact::Included { transaction, block }]).await;
    server.clock.wait(1);
    let (status, refused) = server.post(&path, &vote(&server, &desk, &transfer, all[2], Vote::Approve)).await;
    assert_eq!(status.as_u16(), 409, "{refused}");
    assert!(refused["detail"].as_str().unwrap().contains("a block holds it"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_in_vain__should_not_fill_the_event_log() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut desk, _) = ordered(dir.path()).await;
    desk.now = server.clock.now();
    let change = bursar_domain::governance::change::Change::Veto { seq: 99 };
    let entry = desk.entry(change, &["client.owner"]);
    let body = json!({ "document": entry.document, "signatures": entry.signatures });
    for _ in 0..30 {
        let (status, refused) = server.post("/v1/governance/changes", &body).await;
        assert_eq!(status.as_u16(), 422, "{refused}");
    }
    assert_eq!(server.events("governance.refused").await.len(), 20);
    server.clock.wait(30);
    server.post("/v1/governance/changes", &body).await;
    let told = server.events("governance.refused").await;
    assert_eq!((told.len(), &told[20]["untold"]), (21, &json!(10)));
}
