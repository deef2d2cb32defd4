//! Transactions of one transfer of which some are proven dead while another can still be final: on Bitcoin a replacement may have an
//! input more than what it replaces, and that input may be spent by whoever else has the key. Here it is the number of an account beside
//! the one that pays.
//!
//! Broken on purpose on 21 November 2026 in `leave_dead` (`workers/src/steps/dead.rs`): without the wish for another cancellation the second
//! of these fails, and where drafts are not given back the third.

use crate::{
    replace::FASTER,
    support::world::{DEPTH, World},
};
use bursar_domain::{
    effects::Resource,
    ids::{TransactionId, TransferId},
    lifecycle::{State, Status, SubStatus, Verb},
    ports::SignError,
};
use bursar_store::{
    reservations,
    transactions::{self, Ended, TransactionRecord},
};
use std::sync::atomic::Ordering;

/// A world in which transactions may use what another account of ours has as well.
struct SecondInput {
    world: World,
    account: String,
    input: Resource,
}

impl SecondInput {
    async fn new() -> Self {
        let world = World::ethereum().await;
        let account = world.another_account(1).await;
        let input = Resource::Nonce { account: account.clone(), nonce: 0 };
        Self { world, account, input }
    }

    /// Whether what is built from now on has it.
    fn used(&self, used: bool) {
        self.world.adapter.also_use(if used { std::slice::from_ref(&self.input) } else { &[] });
    }

    /// Somebody else who has the key uses it, and the blocks become final.
    async fn stolen(&self, id: TransferId) {
        let Self { world, account, .. } = self;
        world.chain.mine_foreign(account);
        world.follow().await;
        let before = self.records(id).await;
        world.later();
        world.look(id).await.unwrap();
        assert_eq!(self.records(id).await, before, "the block may still go away");
        world.chain.mine_empty(DEPTH as usize);
        world.follow().await;
        world.later();
    }

    async fn records(&self, id: TransferId) -> Vec<TransactionRecord> {
        transactions::of_transfer(self.world.store(), id).await.unwrap()
    }
    async fn current(&self, id: TransferId) -> Option<TransactionId> {
        self.world.transfer(id).await.state.transaction()
    }
    async fn is_free(&self) -> bool {
        reservations::holder(self.world.store(), self.world.network, &self.input).await.unwrap().is_none()
    }
}

fn dead(record: &TransactionRecord) -> bool {
    matches!(&record.ended, Some(Ended::Dead { proof }) if proof.contains("was used by"))
}

#[tokio::test]
async fn replacement_whose_second_input_is_stolen__should_give_way_to_what_it_replaced() {
    let at = SecondInput::new().await;
    let world = &at.world;
    let id = world.broadcast("two-inputs").await;
    at.used(true);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let [first, second] = &at.records(id).await[..] else { panic!("two transactions") };
    assert_eq!(second.effects.resources, [world.resource(0), at.input.clone()]);
    assert_eq!(at.current(id).await, Some(second.id));
    at.stolen(id).await;

    world.look(id).await.unwrap();
    let records = at.records(id).await;
    assert!(dead(&records[1]) && records[0].ended.is_none(), "{records:?}");
    assert_eq!(at.current(id).await, Some(first.id));
    assert_eq!(world.taken().await, [0].into(), "one of them still needs it");
    assert!(at.is_free().await, "no live transaction needs it");
    let handed = world.chain.handed();
    assert_eq!(handed.last(), handed.first(), "the bytes of the first are sent again");

    let transfer = world.finish(id).await;
    assert_eq!(transfer.status(), Status::Completed, "{transfer:?}");
    assert_eq!(transfer.state.transaction(), Some(first.id));
    assert_eq!(world.chain.paid("two-inputs"), 1);
    assert_eq!(world.signer.asked_for(id).len(), 2, "nothing more was signed");
}

#[tokio::test]
async fn cancellation_whose_second_input_is_stolen__should_be_made_again_and_not_undone() {
    let at = SecondInput::new().await;
    let world = &at.world;
    let id = world.broadcast("regretted").await;
    at.used(true);
    world.ask(id, Verb::Cancel).await.unwrap();
    world.look(id).await.unwrap();
    at.used(false);
    let payment = world.handed_for("regretted");
    at.stolen(id).await;

    let transfer = world.finish(id).await;
    assert_eq!(
        (transfer.status(), transfer.sub_status),
        (Status::Replaced, Some(SubStatus::CancelledOnChain)),
        "{transfer:?}"
    );
    assert_eq!(world.handed_for("regretted"), payment, "what was to be taken back is not sent on");
    assert_eq!(world.chain.paid("regretted"), 0);
    let records = at.records(id).await;
    let purposes: Vec<&str> = records.iter().map(|record| record.purpose.name()).collect();
    assert_eq!(purposes, ["pay", "cancel", "cancel"]);
    assert!(dead(&records[1]) && records[2].finalized_at.is_some(), "{records:?}");
    assert!(matches!(records[0].ended, Some(Ended::Superseded { .. })), "{records:?}");
    assert!(at.is_free().await);
}

/// Nobody was asked to sign the replacement yet, so that it holds nothing up: the transfer ends with the payment that is dead.
#[tokio::test]
async fn draft_beside_a_payment_that_died__should_be_given_back() {
    let at = SecondInput::new().await;
    let world = &at.world;
    at.used(true);
    let id = world.broadcast("robbed").await;
    at.used(false);
    world.signer.online.store(1, Ordering::SeqCst);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let [payment, draft] = &at.records(id).await[..] else { panic!("a payment and a draft") };
    assert!(payment.signed.is_some() && draft.signing_started_at.is_none());
    assert_eq!(draft.effects.resources, [world.resource(0)]);
    at.stolen(id).await;

    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Failed, Some(SubStatus::SpentElsewhere)));
    let records = at.records(id).await;
    assert!(dead(&records[0]), "{records:?}");
    assert_eq!(records[1].ended, Some(Ended::Released));
    assert!(world.taken().await.is_empty() && at.is_free().await);
    world.signer.online.store(3, Ordering::SeqCst);
    let next = world.submit("next").await;
    world.assert_paid_once(next).await;
    assert_eq!(world.chain.paid("robbed"), 0);
}

/// A signature of the replacement may exist, so that the transfer is not over: the same bytes are signed again.
#[tokio::test]
async fn replacement_that_was_lost_beside_a_payment_that_died__should_take_its_place() {
    let at = SecondInput::new().await;
    let world = &at.world;
    at.used(true);
    let id = world.broadcast("lost").await;
    at.used(false);
    world.signer.fail([SignError::Aborted { reason: "party 2 went offline".into(), started: true }]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let [payment, lost] = &at.records(id).await[..] else { panic!("a payment and a replacement") };
    assert!(payment.signed.is_some() && lost.signed.is_none() && lost.has_lost_session());
    let bytes = lost.unsigned.bytes.clone();
    // Nobody may ask them again before it is known that the payment is dead.
    world.signer.online.store(1, Ordering::SeqCst);
    at.stolen(id).await;

    world.look(id).await.unwrap();
    assert_eq!(at.current(id).await, Some(lost.id));
    assert!(matches!(world.transfer(id).await.state, State::Broadcasting { .. }));
    assert!(dead(&at.records(id).await[0]));
    world.signer.online.store(3, Ordering::SeqCst);
    let transfer = world.finish(id).await;
    assert_eq!((transfer.status(), transfer.state.transaction()), (Status::Completed, Some(lost.id)));
    assert_eq!(world.chain.paid("lost"), 1);
    assert!(world.signer.asked_for(id).contains(&bytes));
    assert_eq!(world.signer.asked_for(id).len(), 2, "no bytes but those");
}
