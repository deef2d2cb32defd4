//! Before, during and after a signing session.

use crate::{halts::lift, support::world::World};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{State, Status, SubStatus},
    ports::{PAST_REFUSALS, SignError},
    signing::{PartyIndex, Scheme},
};
use bursar_store::{
    events, halts, reservations,
    transactions::{self, Ended},
};
use bursar_workers::engine::{self, MoveError, Next, StepError};
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

fn refused(started: bool) -> SignError {
    let code = "FEE_ABOVE_CAP".into();
    SignError::Refused { party: PartyIndex(1), code, reason: "fee above my cap".into(), started }
}

/// A restored database knows nothing of a payment that its co-signers remember.
#[tokio::test]
async fn refusal_for_what_was_signed_before__should_wait_for_a_person_and_keep_the_nonce() {
    for code in PAST_REFUSALS {
        let world = World::ethereum().await;
        let (party, reason) = (PartyIndex(1), "signed before".to_owned());
        world.signer.fail([SignError::Refused { party, code: code.into(), reason, started: false }]);
        let id = world.submit("past").await;
        let Next::LookAgain(_) = world.look(id).await.unwrap() else { panic!("{code}: it must not end") };
        let transfer = world.transfer(id).await;
        assert_eq!(transfer.status(), Status::PendingSignature, "{code}");
        assert_eq!(transfer.sub_status, Some(SubStatus::Unexplained), "{code}");
        assert!(transfer.reason.unwrap().contains(code));
        assert!(!world.taken().await.is_empty(), "{code}: its nonce stays taken");

        world.clock.advance(Duration::from_secs(200_000));
        world.look(id).await.unwrap();
        assert_eq!(
            world.status(id).await,
            (Status::PendingSignature, Some(SubStatus::Unexplained)),
            "{code}: not ended by time"
        );
        world.abort(id).await.unwrap();
        assert!(world.taken().await.is_empty(), "{code}: a person has decided");
    }
}

/// A look that has begun a session, which waits at the closed gate.
async fn until_session(world: &World, id: TransferId) -> impl Future<Output = Result<Next, StepError>> {
    world.signer.close_gate();
    let mut looking = Box::pin(world.look(id));
    while world.signer.sessions() == 0 {
        tokio::select! {
            biased;
            _ = &mut looking => panic!("the session cannot end while the gate is closed"),
            () = tokio::task::yield_now() => {}
        }
    }
    looking
}

#[tokio::test]
async fn transfer_without_signers__should_wait_in_plain_sight_then_complete() {
    let world = World::ethereum().await;
    world.signer.online.store(1, Ordering::SeqCst);
    let id = world.submit("offline").await;
    let Next::LookAgain(_) = world.look(id).await.unwrap() else { panic!("it must be looked at again") };
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::PendingSignature);
    assert_eq!(transfer.sub_status, Some(SubStatus::SignersOffline));
    assert_eq!(transfer.reason.as_deref(), Some("1 of 2 co-signers are online"));
    assert_eq!(world.signer.sessions(), 0);
    world.signer.online.store(2, Ordering::SeqCst);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn transfer_that_is_refused__should_be_rejected_and_free_its_nonce() {
    let world = World::ethereum().await;
    world.signer.fail([refused(false)]);
    let id = world.submit("refused").await;
    world.look(id).await.unwrap();
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::Rejected);
    assert_eq!(transfer.sub_status, Some(SubStatus::SignerRejected));
    assert!(transfer.reason.unwrap().contains("fee above my cap"));
    assert!(world.taken().await.is_empty());
    assert_eq!(world.look(id).await.unwrap(), Next::Rest);
    assert_eq!(world.chain.paid("refused"), 0);
}

#[tokio::test]
async fn transfer_that_is_refused_after_a_session_began__should_keep_its_nonce_and_wait() {
    let world = World::ethereum().await;
    world.signer.fail([SignError::Aborted { reason: "timed out".into(), started: true }, refused(false)]);
    let id = world.submit("doubtful").await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SigningFailed)));
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SignerRejected)));
    assert_eq!(world.taken().await, [0].into());
    assert!(world.abort(id).await.is_err(), "a signature may exist");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn intent_that_expires_after_a_session_began__should_keep_its_nonce() {
    let world = World::ethereum().await;
    world.signer.fail([SignError::Aborted { reason: "timed out".into(), started: true }]);
    let id = world.submit("inconclusive").await;
    world.look(id).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(200_000));
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SigningInconclusive)));
    assert_eq!(world.taken().await, [0].into());
    assert_eq!(world.signer.sessions(), 1, "an expired intent is not signed");
}

#[tokio::test]
async fn intent_that_expires_before_a_session__should_end_and_free_its_nonce() {
    let world = World::ethereum().await;
    world.signer.online.store(0, Ordering::SeqCst);
    let id = world.submit("late").await;
    world.look(id).await.unwrap();
    world.clock.advance(std::time::Duration::from_secs(200_000));
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Expired, Some(SubStatus::IntentExpired)));
    assert!(world.taken().await.is_empty());
}

#[tokio::test]
async fn package_that_waits_too_long__should_be_built_again_with_the_same_nonce() {
    let world = World::ethereum().await;
    world.signer.online.store(0, Ordering::SeqCst);
    let id = world.submit("thawed").await;
    world.look(id).await.unwrap();
    let first = world.transfer(id).await.state.transaction();
    world.clock.advance(world.context.settings.package_lifetime * 2);
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Queued);
    world.later();
    world.look(id).await.unwrap();
    assert_ne!(world.transfer(id).await.state.transaction(), first);
    assert_eq!(world.taken().await, [0].into());
    world.signer.online.store(3, Ordering::SeqCst);
    world.assert_paid_once(id).await;
}

/// Nobody was asked to sign it: the order is not lost with the number that somebody else used.
#[tokio::test]
async fn package_whose_nonce_someone_else_used__should_be_built_again_with_the_next() {
    let world = World::ethereum().await;
    world.signer.online.store(1, Ordering::SeqCst);
    let id = world.submit("robbed").await;
    world.look(id).await.unwrap();
    let first = world.transfer(id).await.state.transaction().unwrap();
    let later = world.submit("later").await;
    world.look(later).await.unwrap();
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    world.signer.online.store(3, Ordering::SeqCst);
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Queued, Some(SubStatus::AccountHalted)));
    assert_eq!(world.signer.sessions(), 0, "of no use to anybody");
    let record = transactions::get(world.store(), first).await.unwrap().unwrap();
    assert_eq!(record.ended, Some(Ended::Released));
    let told = events::of_transfer(world.store(), id).await.unwrap();
    assert!(told.iter().any(|event| event.payload.to_string().contains("which is not ours; built again")));
    let above = transactions::of_transfer(world.store(), later).await.unwrap();
    assert_eq!(above.len(), 1, "what is above it stays as it is: {above:?}");

    for halt in halts::standing(world.store(), world.network).await.unwrap() {
        lift(&world, halt.id).await;
    }
    world.assert_paid_once(later).await;
    world.assert_paid_once(id).await;
    let [built] = &transactions::of_transfer(world.store(), id).await.unwrap()[1..] else {
        panic!("one more")
    };
    assert_eq!(built.effects.resources, [world.resource(2)]);
}

/// A node may be behind the blocks that we have from another.
#[tokio::test]
async fn nonce_that_someone_else_used__should_not_be_taken_from_a_node_that_is_behind() {
    let world = World::ethereum().await;
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    for halt in halts::standing(world.store(), world.network).await.unwrap() {
        lift(&world, halt.id).await;
    }
    let behind = Arc::new(world.chain.truncated(1));
    let world = world.with_node(behind);
    let id = world.submit("next").await;
    world.until(id, Status::Broadcasting).await;
    let [record] = &transactions::of_transfer(world.store(), id).await.unwrap()[..] else { panic!("one") };
    assert_eq!(record.effects.resources, [world.resource(1)]);
}

/// Given back between the choice and the commit: signed above it, the second would wait behind a gap.
#[tokio::test]
async fn nonce_that_comes_free_while_a_higher_one_is_chosen__should_be_taken() {
    let world = World::ethereum().await;
    world.signer.online.store(0, Ordering::SeqCst);
    let (first, second) = (world.submit("first").await, world.submit("second").await);
    world.look(first).await.unwrap();
    let draft = world.transfer(first).await.state.transaction().unwrap();
    world.signer.online.store(3, Ordering::SeqCst);
    world.until(second, Status::Queued).await;
    let mut tx = world.store().write().await.unwrap();
    let release = async {
        // It has chosen, and waits for its turn to write.
        tokio::time::sleep(Duration::from_millis(300)).await;
        transactions::release(&mut tx, draft).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (looked, ()) = tokio::join!(world.look(second), release);
    looked.unwrap();
    let [kept] = &transactions::of_transfer(world.store(), second).await.unwrap()[..] else { panic!("one") };
    assert_eq!(kept.effects.resources, [world.resource(0)]);
}

#[tokio::test]
async fn nonce_of_a_refused_transfer__should_be_used_by_the_next() {
    let world = World::ethereum().await;
    world.signer.online.store(0, Ordering::SeqCst);
    let (first, second) = (world.submit("first").await, world.submit("second").await);
    world.look(first).await.unwrap();
    world.look(second).await.unwrap();
    assert_eq!(world.taken().await, [0, 1].into());
    world.signer.online.store(3, Ordering::SeqCst);
    world.later();
    world.signer.fail([refused(false)]);
    world.look(first).await.unwrap();
    world.look(second).await.unwrap();
    assert_eq!(world.status(first).await.0, Status::Rejected);
    assert_eq!(
        world.status(second).await.0,
        Status::Queued,
        "built for nonce 1, which would wait behind the gap"
    );
    world.later();
    world.look(second).await.unwrap();
    let holder = reservations::holder(world.store(), world.network, &world.resource(0)).await.unwrap();
    assert_eq!(holder, world.transfer(second).await.state.transaction());
    let third = world.submit("third").await;
    world.assert_paid_once(second).await;
    world.assert_paid_once(third).await;
    assert_eq!(world.chain.paid("first"), 0);
}

#[tokio::test]
async fn cancellation_before_the_session__should_win() {
    let world = World::ethereum().await;
    let id = world.submit("cancelled").await;
    let stale = world.until(id, Status::PendingSignature).await;
    world.abort(id).await.unwrap();
    let late = engine::run_step(&world.context, stale).await;
    assert!(matches!(late, Err(StepError::Move(MoveError::Stale))), "{late:?}");
    assert_eq!(world.signer.sessions(), 0);
    assert_eq!(world.status(id).await.0, Status::Cancelled);
    assert!(world.taken().await.is_empty());
}

#[tokio::test]
async fn cancellation_during_the_session__should_lose() {
    let world = World::ethereum().await;
    let id = world.submit("too-late").await;
    world.until(id, Status::PendingSignature).await;
    let looking = until_session(&world, id).await;
    assert!(world.abort(id).await.is_err());
    world.signer.open_gate();
    looking.await.unwrap();
    world.assert_paid_once(id).await;
}

/// The session of one worker ends without having begun, while another is about to begin one more on the strength of it.
#[tokio::test]
async fn session_taken_back_meanwhile__should_stop_the_worker_that_counted_on_it() {
    let world = World::ethereum().await;
    world.signer.fail([SignError::NotEnoughSigners {
        scheme: Scheme::EcdsaSecp256k1,
        needed: 2,
        available: 1,
    }]);
    let id = world.submit("taken-back").await;
    world.until(id, Status::PendingSignature).await;
    let looking = until_session(&world, id).await;
    let started = world.transfer(id).await;
    assert!(matches!(started.state, State::PendingSignature { signing_started: true, .. }));
    world.signer.open_gate();
    looking.await.unwrap();
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::SignersOffline)));
    let late = engine::run_step(&world.context, started).await;
    assert!(matches!(late, Err(StepError::Move(MoveError::Stale))), "{late:?}");
    assert_eq!(world.signer.sessions(), 1);
    // No session is open, so nothing keeps it from being cancelled.
    world.abort(id).await.unwrap();
    assert!(world.taken().await.is_empty());
}

/// A signature that exists is kept, although another worker wrote a reason on the transfer meanwhile.
#[tokio::test]
async fn signature_that_comes_after_another_workers_note__should_be_kept() {
    let world = World::ethereum().await;
    let id = world.submit("noted").await;
    world.until(id, Status::PendingSignature).await;
    let looking = until_session(&world, id).await;
    world.signer.online.store(0, Ordering::SeqCst);
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.1, Some(SubStatus::SignersOffline));
    world.signer.open_gate();
    looking.await.unwrap();
    assert_eq!(world.signer.sessions(), 1);
    world.assert_paid_once(id).await;
}

/// What became of the session of a process that died is not known, whatever co-signers say to the next.
#[tokio::test]
async fn refusal_after_death_in_a_session__should_not_free_the_nonce() {
    let world = World::ethereum().await;
    let id = world.submit("orphan").await;
    world.until(id, Status::PendingSignature).await;
    drop(until_session(&world, id).await);
    world.signer.open_gate();
    let offline = SignError::NotEnoughSigners { scheme: Scheme::EcdsaSecp256k1, needed: 2, available: 1 };
    for (error, sub_status) in
        [(refused(false), SubStatus::SignerRejected), (offline, SubStatus::SignersOffline)]
    {
        world.signer.fail([error]);
        world.later();
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await, (Status::PendingSignature, Some(sub_status)));
        assert_eq!(world.taken().await, [0].into());
        assert!(world.abort(id).await.is_err());
    }
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn later_nonce__should_wait_for_the_earlier_to_be_signed() {
    let world = World::ethereum().await;
    world.signer.online.store(1, Ordering::SeqCst);
    let first = world.submit("first").await;
    let second = world.submit("second").await;
    world.look(first).await.unwrap();
    world.look(second).await.unwrap();
    assert_eq!(world.status(first).await, (Status::PendingSignature, Some(SubStatus::SignersOffline)));
    assert_eq!(world.status(second).await, (Status::PendingSignature, Some(SubStatus::WaitsItsTurn)));
    world.signer.online.store(2, Ordering::SeqCst);
    world.look(second).await.unwrap();
    assert_eq!(world.signer.sessions(), 0, "nonce 1 must not be signed while nonce 0 may be given back");

    // Given back: the later one is built again, with the nonce that became free.
    world.abort(first).await.unwrap();
    assert_eq!(world.status(second).await.0, Status::Queued);
    world.later();
    world.look(second).await.unwrap();
    assert_eq!(world.taken().await, [0].into());
    world.assert_paid_once(second).await;
    assert_eq!(world.chain.paid("first"), 0);
}
