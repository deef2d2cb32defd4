//! What is reserved in limited sums, where a transfer does not take the short way: recalls, replacements, ends that come in between, and
//! children that are signed after the end.

use crate::{
    authorize::{Governed, deny},
    replace::{FASTER, refused},
    support::world::{DEPTH, World},
};
use bursar_domain::{
    governance::{
        policy::{Fact as Known, Gap},
        testing::key,
    },
    ids::TransferId,
    lifecycle::{Fact, Status, SubStatus, Verb},
    ports::SignError,
    time::Clock as _,
};
use bursar_store::{approvals, transactions, transactions::TransactionRecord, transfers, velocity};
use bursar_workers::requests;
use serde_json::{Value, json};
use std::time::Duration;

impl Governed {
    /// What all transfers have reserved under this name.
    async fn reserved(&self, name: &str) -> Option<String> {
        let nobody = TransferId::new(uuid::Uuid::from_u128(7));
        let now = self.world.clock.now();
        let asked = velocity::Sum { name, window_seconds: 34_560_000, now, except: nobody };
        let sum: Known<_> = velocity::sum(self.world.store(), asked).await.unwrap();
        if let Err(gap) = sum {
            assert_eq!(gap, Gap::Unpriceable);
        }
        sum.ok().map(|sum| sum.to_string())
    }

    /// Counts and sums of everybody's transfers.
    async fn counted(&self) -> (String, String) {
        (self.reserved("COUNT all").await.unwrap(), self.reserved("ETH all").await.unwrap())
    }

    /// A policy with prices, under which sums in money are kept, too. Nobody quotes any, so what is reserved there has no number.
    async fn publish_priced(&mut self, rules: &[Value]) {
        let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
        let rules = [&[allow], rules].concat();
        self.publish_whole(json!({
            "currency": "CHF", "priceMaxAgeSeconds": 60, "prices": { "by": ["client.service"] }, "rules": rules,
        }))
        .await;
    }
}

fn broken_off() -> SignError {
    SignError::Aborted { reason: "timed out".into(), started: true }
}

fn one(amount: u64) -> (String, String) {
    ("1".into(), amount.to_string())
}

/// Co-signers count orders as they were signed, so that what is promised here is signed there.
#[tokio::test]
async fn velocity__should_count_an_order_as_it_was_signed_whatever_is_recalled() {
    let velocity = json!({ "windowSeconds": 3600, "of": "BTC", "groupBy": "WALLET", "above": "2500" });
    let limit = json!({ "id": "limit", "when": { "velocity": velocity }, "then": deny() });
    let allow = json!({ "id": "allow", "then": { "kind": "ALLOW" } });
    let governed = Governed::on(World::new("bitcoin:regtest/p2tr/0").await, &[allow, limit]).await;
    let world = &governed.world;
    let batch = world.submit_batch("batch", &["one", "two"]).await;
    let transfer = world.until(batch, Status::Queued).await;
    let recall = key("client.operator").recall(&transfer.intent, 0);
    requests::recall(&world.context, transfer, recall).await.unwrap();
    assert_eq!(governed.reserved("BTC all").await.as_deref(), Some("2000"));
    let other = world.submit("other").await;
    assert_eq!(governed.status(other).await.0, Status::Blocked);
    world.abort(batch).await.unwrap();
    assert_eq!(governed.reserved("BTC all").await.as_deref(), Some("0"), "all of it is given back");
    let next = world.submit("next").await;
    world.until(next, Status::Queued).await;
}

/// One order is one payment, whatever is signed for it; and none if it is cancelled on chain.
#[tokio::test]
async fn velocity__should_count_a_replaced_order_once_and_a_cancelled_one_not_at_all() {
    let governed = Governed::with(&[]).await;
    let world = &governed.world;
    let faster = world.broadcast("faster").await;
    world.ask(faster, FASTER).await.unwrap();
    world.look(faster).await.unwrap();
    assert_eq!(transactions::of_transfer(world.store(), faster).await.unwrap().len(), 2);
    assert_eq!(governed.counted().await, one(1000));
    world.assert_ended(faster, Status::Completed).await;
    assert_eq!(governed.counted().await, one(1000));
    let cancelled = world.broadcast("cancelled").await;
    assert_eq!(governed.counted().await, ("2".into(), "2000".into()));
    world.ask(cancelled, Verb::Cancel).await.unwrap();
    world.look(cancelled).await.unwrap();
    assert_eq!(governed.counted().await.0, "2", "until a final block says so, it may pay");
    world.assert_ended(cancelled, Status::Replaced).await;
    assert_eq!(governed.counted().await, one(1000));
    // A deep reorganisation takes both blocks back.
    world.chain.reorganise(usize::try_from(world.chain.height()).unwrap());
    world.follow().await;
    for id in [faster, cancelled] {
        world.look(id).await.unwrap();
    }
    assert_eq!(governed.counted().await, ("2".into(), "2000".into()), "both may pay again");
}

/// The change of a payment waits for its child, which pays nobody.
#[tokio::test]
async fn child_of_what_has_ended__should_be_signed_under_a_new_policy_and_reserve_nothing() {
    let mut governed = Governed::with(&[]).await;
    governed.world.policy(|policy| policy.child_pays = true);
    let world = &governed.world;
    let id = world.broadcast("ended").await;
    world.signer.fail([refused(false), broken_off()]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let child = governed.child(id).await;
    assert!(child.signed.is_none() && child.has_lost_session());
    let ruling = approvals::ruling(governed.world.store(), id).await.unwrap();
    for _ in 0..DEPTH {
        governed.world.mine().await;
    }
    governed.publish_priced(&[]).await;
    assert_eq!(governed.status(id).await.0, Status::Completed);
    assert!(governed.child(id).await.signed.is_some(), "signed after the end");
    assert_eq!(governed.counted().await, one(1000), "what it paid counts once");
    assert_eq!(governed.reserved("FIAT CHF all").await.as_deref(), Some("0"), "and nothing is added now");
    assert_eq!(approvals::ruling(governed.world.store(), id).await.unwrap(), ruling, "it was decided before");
}

impl Governed {
    async fn child(&self, id: TransferId) -> TransactionRecord {
        let records = transactions::of_transfer(self.world.store(), id).await.unwrap();
        records.into_iter().find(TransactionRecord::is_child).unwrap()
    }
}

/// Nobody would give back what is reserved for a transfer after its end.
#[tokio::test]
async fn transfer_that_ends_while_it_is_judged_again__should_reserve_nothing() {
    let mut governed = Governed::with(&[]).await;
    governed.world.signer.fail([broken_off()]);
    let id = governed.world.submit("ends").await;
    assert_eq!(governed.status(id).await, (Status::PendingSignature, Some(SubStatus::SigningFailed)));
    // For which a node is asked, so that there is a moment in between.
    let all = json!({ "balanceShareAbove": 10_000 });
    let share = json!({ "id": "share", "when": all, "then": { "kind": "DENY", "reason": "all at once" } });
    governed.publish_priced(&[share]).await;
    governed.world.later();
    let readings = governed.world.chain.readings();
    governed.world.chain.close_gate();
    let context = governed.world.context.clone();
    let looking = tokio::spawn(async move { bursar_workers::engine::look_at(&context, id).await.map(drop) });
    while governed.world.chain.readings() == readings {
        tokio::task::yield_now().await;
    }
    let proof = "a later ledger has its number".to_owned();
    let transfer = governed.world.transfer(id).await;
    let now = transfer.updated_at.plus(Duration::from_secs(1));
    let ended = transfer.apply(Fact::ProvenDead { proof, ledger_passed: true }, now).unwrap();
    let mut tx = governed.world.store().write().await.unwrap();
    assert_eq!(transfers::save(&mut tx, &ended).await.unwrap(), transfers::Saved::Applied);
    tx.commit().await.unwrap();
    governed.world.chain.open_gate();
    looking.await.unwrap().unwrap();
    assert_eq!(governed.world.status(id).await.0, Status::Expired);
    assert_eq!(governed.world.signer.sessions(), 1, "nobody is asked again");
    assert_eq!(governed.counted().await, ("0".into(), "0".into()));
    assert_eq!(governed.reserved("FIAT CHF all").await.as_deref(), Some("0"), "no sum is spoilt");
}
