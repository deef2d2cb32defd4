//! Orders to fill a nonce that nothing uses although something signed waits behind it.

use crate::support::{T0, world::World};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{Status, SubStatus, Verb},
    ports::SignError,
    signing::PartyIndex,
    time::Clock as _,
};
use bursar_store::{halts, transactions};
use bursar_workers::{
    engine::{self, StepError},
    gaps,
};
use std::{collections::BTreeSet, time::Duration};

impl World {
    async fn order_to_fill(&self, name: &str, nonce: u64) -> TransferId {
        let (id, now) = (TransferId::new(self.context.ids.uuid()), self.clock.now());
        let expires_at = now.plus(Duration::from_secs(100_000));
        self.desk.submit_fill(self.store(), id, name, nonce, expires_at, now).await;
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
    let filler = world.order_to_fill("fill-0", 0).await;
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
    let filler = world.order_to_fill("fill-0", 0).await;
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
        let filler = world.order_to_fill(&format!("fill-{nonce}"), nonce).await;
        world.look(filler).await.unwrap();
        assert_eq!(world.status(filler).await, (Status::Failed, Some(SubStatus::NothingToFill)));
        assert!(world.signer.asked_for(filler).is_empty());
    }
    // A payment was faster: it takes the lowest free number, as payments do.
    let late = world.order_to_fill("fill-0", 0).await;
    let next = world.submit("next").await;
    world.look(next).await.unwrap();
    world.look(late).await.unwrap();
    assert_eq!(world.status(late).await, (Status::Failed, Some(SubStatus::NothingToFill)));
    assert!(world.signer.asked_for(late).is_empty());
    world.assert_paid_once(next).await;
    world.assert_paid_once(behind).await;
    let used = world.order_to_fill("fill-used", 0).await;
    world.look(used).await.unwrap();
    assert_eq!(world.status(used).await, (Status::Failed, Some(SubStatus::NothingToFill)));
}

fn refused(code: &str) -> SignError {
    let (code, reason) = (code.into(), "it remembers".into());
    SignError::Refused { party: PartyIndex(1), code, reason, started: false }
}

impl World {
    /// A payment that the co-signers refuse because they remember a filler of its nonce.
    async fn refused_as_filled(&self, name: &str) {
        self.signer.fail([refused("NONCE_FILLED")]);
        let id = self.submit(name).await;
        self.look(id).await.unwrap();
        assert_eq!(self.status(id).await, (Status::Rejected, Some(SubStatus::SignerRejected)));
    }
}

/// A database that was put back knows nothing of a filler that the co-signers remember: nothing is ever signed above it.
#[tokio::test]
async fn filler_of_the_accounts_next_nonce__should_need_nothing_behind_it() {
    let world = World::ethereum().await;
    let first = world.submit("first").await;
    world.assert_paid_once(first).await;
    world.refused_as_filled("refused").await;
    let not_next = world.order_to_fill("fill-2", 2).await;
    world.look(not_next).await.unwrap();
    assert_eq!(world.status(not_next).await, (Status::Failed, Some(SubStatus::NothingToFill)));
    let filler = world.order_to_fill("fill-1", 1).await;
    world.assert_ended(filler, Status::Completed).await;
    let next = world.submit("next").await;
    world.assert_paid_once(next).await;
    assert_eq!(world.taken().await, [0, 1, 2].into());
}

/// One co-signer burnt the session, and the others are never asked in time.
#[tokio::test]
async fn filler_that_was_never_signed__should_end_after_its_time_and_free_its_nonce() {
    let world = World::ethereum().await;
    let first = world.submit("first").await;
    world.assert_paid_once(first).await;
    let lost = || SignError::Aborted { reason: "party 2 went offline".into(), started: true };
    world.signer.fail([lost()]);
    let filler = world.order_to_fill("fill-1", 1).await;
    world.look(filler).await.unwrap();
    world.clock.advance(Duration::from_secs(100_001));
    world.look(filler).await.unwrap();
    assert_eq!(
        world.status(filler).await,
        (Status::PendingSignature, Some(SubStatus::SigningInconclusive)),
        "a session may be under way still"
    );
    assert_eq!(world.taken().await, [0, 1].into());
    world.clock.advance(world.context.settings.package_lifetime);
    world.look(filler).await.unwrap();
    assert_eq!(world.status(filler).await, (Status::Expired, Some(SubStatus::IntentExpired)));
    assert_eq!(world.taken().await, [0].into());
    assert_eq!(world.signer.sessions(), 2, "it is signed no more");
    // Who took part in it refuses payments with its nonce until it is filled.
    world.refused_as_filled("refused").await;
    let again = world.order_to_fill("fill-1-again", 1).await;
    world.assert_ended(again, Status::Completed).await;
    let next = world.submit("next").await;
    world.assert_paid_once(next).await;
}

#[tokio::test]
async fn payment_that_was_never_signed__should_keep_its_nonce_where_a_filler_gives_it_back() {
    let world = World::ethereum().await;
    world.signer.fail([SignError::Aborted { reason: "party 2 went offline".into(), started: true }]);
    let id = world.submit("lost").await;
    world.look(id).await.unwrap();
    world.clock.advance(Duration::from_secs(200_000));
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SigningInconclusive)));
    let mut tx = world.store().write().await.unwrap();
    transactions::give_up_filler(&mut tx, id, "none").await.unwrap_err();
    drop(tx);
    assert_eq!(world.taken().await, [0].into());
}

/// The co-signers signed a payment with this nonce, and the database does not know it: it is older than their memory.
#[tokio::test]
async fn filler_of_what_was_paid_before__should_wait_for_a_person_and_keep_the_nonce() {
    let world = World::ethereum().await;
    let first = world.submit("first").await;
    world.assert_paid_once(first).await;
    world.signer.fail([refused("NONCE_TAKEN")]);
    let filler = world.order_to_fill("fill-1", 1).await;
    world.look(filler).await.unwrap();
    world.clock.advance(Duration::from_secs(200_000));
    world.look(filler).await.unwrap();
    let waits = (Status::PendingSignature, Some(SubStatus::Unexplained));
    assert_eq!(world.status(filler).await, waits, "not ended by time");
    assert_eq!(world.taken().await, [0, 1].into());
    world.abort(filler).await.unwrap();
    let again = world.submit("ordered-again").await;
    world.assert_paid_once(again).await;
    assert_eq!(world.taken().await, [0, 1].into(), "it has its nonce back");
}

/// Each step by two workers that have read the same.
#[tokio::test]
async fn filling_twice_by_late_workers__should_change_nothing_more() {
    let (world, behind) = gap().await;
    let filler = world.order_to_fill("fill-0", 0).await;
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
