//! After the signature: lost answers, refusals, and ledgers that end.

use crate::support::{
    chain::{LEDGER_WINDOW, Relay},
    world::{World, XRP},
};
use bursar_domain::{
    chain::TransactionOutcome,
    lifecycle::{FundsMoved, State, Status, SubStatus},
    ports::SignError,
};
use bursar_store::events;

#[tokio::test]
async fn broadcast_whose_answer_is_lost__should_send_the_same_bytes_again() {
    for lost in [Relay::LoseAnswer, Relay::LoseRequest] {
        let world = World::ethereum().await;
        world.chain.relay(&[lost, lost]);
        let id = world.submit("maybe").await;
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await, (Status::Broadcasting, Some(SubStatus::MaybeSent)), "{lost:?}");
        world.later();
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await.1, Some(SubStatus::MaybeSent), "{lost:?}");
        world.later();
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await, (Status::Broadcasting, None), "{lost:?}");
        let handed = world.chain.handed();
        assert_eq!(handed.len(), 3);
        assert!(handed.iter().all(|bytes| *bytes == handed[0]));
        world.assert_paid_once(id).await;
    }
}

#[tokio::test]
async fn broadcast_that_is_refused__should_say_so_and_be_sent_again() {
    let world = World::ethereum().await;
    world.chain.relay(&[Relay::Refuse]);
    let id = world.submit("unrelayed").await;
    world.look(id).await.unwrap();
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::Broadcasting);
    assert_eq!(transfer.sub_status, Some(SubStatus::BroadcastRejected));
    assert_eq!(transfer.reason.as_deref(), Some("min relay fee not met"));
    assert_eq!(world.taken().await, [0].into(), "it is still a valid transaction");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn transfer_without_funds__should_wait_and_fail_nothing() {
    let world = World::ethereum().await;
    world.chain.set_funds(false);
    let id = world.submit("poor").await;
    for _ in 0..3 {
        world.look(id).await.unwrap();
        world.later();
    }
    assert_eq!(world.status(id).await, (Status::Queued, Some(SubStatus::InsufficientFunds)));
    world.chain.set_funds(true);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn ledger_that_ends_before_the_payment__should_expire_it_and_free_its_sequence() {
    let world = World::new(XRP).await;
    world.chain.relay(&[Relay::LoseRequest]);
    let id = world.submit("lost").await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    for _ in 1..LEDGER_WINDOW {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting, "one ledger may still take it");
    assert_eq!(world.taken().await, [0].into());
    world.mine().await;
    world.look(id).await.unwrap();
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::Expired);
    assert_eq!(transfer.sub_status, Some(SubStatus::LedgerExpired));
    assert!(transfer.reason.unwrap().contains("the Sequence unused"));
    assert!(world.taken().await.is_empty());
    let next = world.submit("next").await;
    world.assert_paid_once(next).await;
    assert_eq!(world.chain.paid("lost"), 0);
}

#[tokio::test]
async fn ledger_that_ends_after_a_lost_session__should_expire_it() {
    let world = World::new(XRP).await;
    let aborted = || SignError::Aborted { reason: "timed out".into(), started: true };
    world.signer.fail([aborted()]);
    let id = world.submit("unsigned").await;
    world.look(id).await.unwrap();
    for _ in 0..LEDGER_WINDOW {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Expired, Some(SubStatus::LedgerExpired)));
    assert!(world.taken().await.is_empty());
}

#[tokio::test]
async fn package_with_too_few_ledgers_left__should_be_built_again() {
    let world = World::new(XRP).await;
    world.signer.online.store(0, std::sync::atomic::Ordering::SeqCst);
    let id = world.submit("slow").await;
    world.look(id).await.unwrap();
    for _ in 0..LEDGER_WINDOW - 3 {
        world.mine().await;
    }
    world.signer.online.store(3, std::sync::atomic::Ordering::SeqCst);
    world.look(id).await.unwrap();
    assert_eq!(world.signer.sessions(), 0, "it would expire on its way");
    world.assert_paid_once(id).await;
}

/// Built on a reading that was kept for it, while the ledgers went on: the session would begin with the package.
#[tokio::test]
async fn package_that_is_frozen_with_too_few_ledgers_left__should_be_built_again() {
    let world = World::new(XRP).await;
    let id = world.submit("slow").await;
    let transfer = world.transfer(id).await;
    let draft = bursar_workers::preflight::draft(&world.context, &transfer.intent.intent).await.unwrap();
    for _ in 0..LEDGER_WINDOW - 3 {
        world.mine().await;
    }
    draft.keep_reading(&world.context, &transfer);
    world.look(id).await.unwrap();
    assert_eq!(world.chain.readings(), 1, "the reading that was kept was used, or it was built on a new one");
    assert_eq!(world.signer.sessions(), 0, "it would expire on its way");
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn sequence_that_someone_else_used__should_alarm_and_wait_for_a_person() {
    let world = World::new(XRP).await;
    world.chain.relay(&[Relay::LoseRequest]);
    let id = world.submit("robbed").await;
    world.look(id).await.unwrap();
    world.chain.mine_foreign(&world.account);
    for _ in 0..LEDGER_WINDOW {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Broadcasting, Some(SubStatus::Unexplained)));
    assert_eq!(world.taken().await, [0].into(), "nothing is known to be dead");
    let history = events::of_transfer(world.store(), id).await.unwrap();
    assert!(history.iter().any(|event| event.kind == "account.foreign_spend"), "{history:?}");
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.1, Some(SubStatus::Unexplained));
    assert_eq!(world.chain.handed().len(), 1, "it is not sent again");
}

#[tokio::test]
async fn payment_without_effect_on_chain__should_say_what_is_known_of_the_money() {
    let reason = || "because".to_owned();
    for (outcome, funds_moved) in [
        (TransactionOutcome::Failed { reason: reason() }, FundsMoved::FeeOnly),
        (TransactionOutcome::Unclear { reason: reason() }, FundsMoved::Unknown),
    ] {
        let world = World::ethereum().await;
        world.chain.set_outcome(outcome.clone());
        let id = world.submit("odd").await;
        let transfer = world.finish(id).await;
        assert!(
            matches!(transfer.state, State::Failed { funds_moved: moved, on_chain: Some(_) } if moved == funds_moved),
            "{outcome:?}: {transfer:?}"
        );
        assert_eq!(transfer.sub_status, Some(SubStatus::FailedOnChain));
        assert_eq!(transfer.reason, Some(reason()));
        assert_eq!(world.taken().await, [0].into(), "its nonce is used");
        assert_eq!(world.chain.handed().len(), 1);
        let next = world.submit("next").await;
        world.chain.set_outcome(TransactionOutcome::Succeeded);
        world.assert_paid_once(next).await;
    }
}
