//! Orders to fill a nonce that nothing uses although something signed waits behind it.

use crate::support::{T0, world::World};
use bursar_domain::{
    amount::Amount,
    fill::FillOrder,
    ids::TransferId,
    intent::{InitiatorKey, SignedIntent},
    lifecycle::{Status, SubStatus, Transfer, Verb},
    time::Clock as _,
};
use bursar_store::{
    halts,
    transfers::{self, Submitted},
};
use bursar_workers::{
    engine::{self, StepError},
    gaps,
};
use ed25519_dalek::{Signer as _, SigningKey};
use std::{collections::BTreeSet, time::Duration};

impl World {
    /// As the API keeps it. The wallet is that of `of`.
    async fn order_to_fill(&self, of: TransferId, name: &str, nonce: u64) -> TransferId {
        let of = self.transfer(of).await;
        let order = FillOrder {
            external_id: name.parse().unwrap(),
            wallet: of.intent.intent.wallet,
            account: self.account.clone(),
            nonce,
            max_fee: Amount::from_u64(500),
            expires_at: self.clock.now().plus(Duration::from_secs(100_000)),
        };
        let intent = order.intent();
        intent.validate().unwrap();
        let key = SigningKey::from_bytes(&[5; 32]);
        let signature = key.sign(intent.canonical().as_bytes()).to_bytes();
        let initiator = InitiatorKey(key.verifying_key().to_bytes());
        let id = TransferId::new(self.context.ids.uuid());
        let signed = SignedIntent { intent, initiator, signature };
        let transfer = Transfer::submitted(id, of.wallet, signed, self.clock.now());
        let mut tx = self.store().write().await.unwrap();
        assert_eq!(transfers::submit(&mut tx, &transfer).await.unwrap(), Submitted::New);
        tx.commit().await.unwrap();
        id
    }

    async fn gaps(&self) -> Vec<u64> {
        gaps::of_account(&self.context, self.network, &self.account).await.unwrap().unwrap()
    }
}

/// A stranger's transaction had used the first nonce, ours has the second, and a reorganisation takes the stranger's back.
async fn gap() -> (World, TransferId) {
    let world = World::ethereum().await;
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    let mut tx = world.store().write().await.unwrap();
    for halt in halts::standing_in(&mut tx, world.network).await.unwrap() {
        halts::lift(&mut tx, halt.id, "a person", "looked at it", T0).await.unwrap();
    }
    tx.commit().await.unwrap();
    let behind = world.broadcast("behind").await;
    assert_eq!(world.taken().await, [1].into());
    assert_eq!(world.gaps().await, [0; 0], "the node shows the first as used");
    world.chain.reorganise(1);
    world.follow().await;
    assert_eq!(world.gaps().await, [0]);
    (world, behind)
}

#[tokio::test]
async fn filler__should_use_the_nonce_up_and_pay_nobody() {
    let (world, behind) = gap().await;
    let filler = world.order_to_fill(behind, "fill-0", 0).await;
    world.look(filler).await.unwrap();
    assert_eq!(world.taken().await, [0, 1].into());
    assert_eq!(world.gaps().await, [0; 0]);
    assert_eq!(gaps::sweep(&world.context, world.network).await.unwrap(), BTreeSet::new());
    let records = world.assert_ended(filler, Status::Completed).await;
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0].effects.resources, [world.resource(0)]);
    assert!(records[0].effects.payments.is_empty());
    world.assert_paid_once(behind).await;
}

#[tokio::test]
async fn filler__should_be_replaced_by_a_dearer_one_of_its_nonce() {
    let (world, behind) = gap().await;
    let filler = world.order_to_fill(behind, "fill-0", 0).await;
    world.look(filler).await.unwrap();
    assert_eq!(world.status(filler).await.0, Status::Broadcasting);
    world.ask(filler, Verb::SpeedUp { raise_percent: Some(100) }).await.unwrap();
    world.look(filler).await.unwrap();
    let records = world.assert_ended(filler, Status::Completed).await;
    assert_eq!(records.len(), 2, "{records:?}");
    assert!(records.iter().all(|record| record.effects.resources == [world.resource(0)]));
    assert!(records.iter().all(|record| record.effects.payments.is_empty()));
    world.assert_paid_once(behind).await;
}

#[tokio::test]
async fn filler_without_a_gap__should_fail_and_sign_nothing() {
    let (world, behind) = gap().await;
    // 1 is that of the payment, and nothing waits behind 2.
    for nonce in [1, 2] {
        let filler = world.order_to_fill(behind, &format!("fill-{nonce}"), nonce).await;
        world.look(filler).await.unwrap();
        assert_eq!(world.status(filler).await, (Status::Failed, Some(SubStatus::NothingToFill)));
        assert!(world.signer.asked_for(filler).is_empty());
    }
    // A payment was faster: it takes the lowest free number, as payments do.
    let late = world.order_to_fill(behind, "fill-0", 0).await;
    let next = world.submit("next").await;
    world.look(next).await.unwrap();
    world.look(late).await.unwrap();
    assert_eq!(world.status(late).await, (Status::Failed, Some(SubStatus::NothingToFill)));
    assert!(world.signer.asked_for(late).is_empty());
    world.assert_paid_once(next).await;
    world.assert_paid_once(behind).await;
    let used = world.order_to_fill(behind, "fill-used", 0).await;
    world.look(used).await.unwrap();
    assert_eq!(world.status(used).await, (Status::Failed, Some(SubStatus::NothingToFill)));
}

/// Each step by two workers that have read the same.
#[tokio::test]
async fn filling_twice_by_late_workers__should_change_nothing_more() {
    let (world, behind) = gap().await;
    let filler = world.order_to_fill(behind, "fill-0", 0).await;
    for _ in 0..6 {
        let transfer = world.transfer(filler).await;
        engine::run_step(&world.context, transfer.clone()).await.unwrap();
        let once = world.snapshot(filler).await;
        match engine::run_step(&world.context, transfer).await {
            Ok(_) | Err(StepError::Move(_)) => {}
            Err(error) => panic!("{error}"),
        }
        assert_eq!(world.snapshot(filler).await, once);
    }
    let records = world.assert_ended(filler, Status::Completed).await;
    assert_eq!(records.len(), 1, "{records:?}");
    world.assert_paid_once(behind).await;
}
