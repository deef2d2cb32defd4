//! A payment whose coin is change of another that a reorganisation took back, and that was replaced before it was in a block again: it
//! can never be in one, and ends.
//!
//! Broken on purpose on 22 November 2026: where `Causes::none` (`workers/src/steps/dead.rs`) does not look at `gone`, all of these fail; so
//! they do without the look at parents in `unspent_again` (`workers/src/steps/confirm.rs`). Without `nudge_heirs`
//! (`store/src/transactions/parents.rs`) `outputs_of_what_ended__should_be_gone_until_it_is_revived` (`store/tests/conformance`) fails.

use super::{
    action::{Action, FOLLOWERS, WORKERS, Wish},
    rules,
    signer::Session,
    world::World,
};
use crate::shared::{basics::lock, payload::Signed};
use bursar_domain::{
    effects::Resource,
    lifecycle::{FundsMoved, State, Status, SubStatus},
    network::Chain,
};
use bursar_store::{
    events, reservations,
    transactions::{self, Ended, TransactionRecord},
};

/// The one that is replaced, and the one that spends its change.
const PARENT: usize = 0;
const HEIR: usize = 1;
/// What they cost, so that the change alone does not do for the heir, and each can be replaced.
const FEES: [u64; 2] = [300, 210];

async fn does(world: &mut World, actions: &[Action]) {
    for action in actions {
        world.perform(action).await.unwrap_or_else(|violation| panic!("{action:?}: {violation:?}"));
        world.rest().await;
    }
}

async fn follow(world: &mut World) {
    does(world, &[Action::Run { actor: FOLLOWERS[0], points: 600 }]).await;
}

async fn look(world: &mut World, transfer: usize) {
    does(world, &[Action::Time { seconds: 6 }, Action::Look { worker: WORKERS[0], transfer, points: 600 }])
        .await;
}

/// Empty blocks, or such with all that waits.
async fn mine(world: &mut World, blocks: u8, mask: u64) {
    does(world, &[Action::Mine { blocks, mask, fails: 0 }]).await;
    follow(world).await;
}

async fn records(world: &World, transfer: usize) -> Vec<TransactionRecord> {
    transactions::of_transfer(world.store(), world.transfers[transfer]).await.unwrap()
}

async fn state(world: &World, transfer: usize) -> (State, Option<SubStatus>) {
    let transfer = world.transfer(world.transfers[transfer]).await;
    (transfer.state, transfer.sub_status)
}

fn signed(record: &TransactionRecord) -> Signed {
    serde_json::from_slice(&record.signed.as_ref().unwrap().bytes).unwrap()
}

/// The parent is in a block, the heir spends its change and another coin, and then that block is no more. `session`: the heir's first.
async fn taken_back(session: Session) -> World {
    let mut world = World::new(Chain::Bitcoin).await;
    does(&mut world, &[Action::Fee { fee: FEES[PARENT] }]).await;
    look(&mut world, PARENT).await;
    mine(&mut world, 1, u64::MAX).await;
    does(&mut world, &[Action::Fee { fee: FEES[HEIR] }]).await;
    does(&mut world, &[Action::Sessions { next: session }]).await;
    look(&mut world, HEIR).await;
    let parent = signed(&records(&world, PARENT).await[0]);
    let heir = &records(&world, HEIR).await[0];
    assert_eq!(heir.effects.resources[0], Resource::Utxo(parent.payload.outpoint(1)));
    assert!(heir.effects.resources.len() > 1, "another coin: {heir:?}");
    assert_eq!(heir.signed.is_some(), session == Session::Signs);
    does(&mut world, &[Action::Reorganise { depth: 1, kept: true, mask: 0 }]).await;
    follow(&mut world).await;
    world
}

/// The parent is replaced, and what replaced it is in the newest block.
async fn replaced(world: &mut World) {
    let wish = Action::Ask { transfer: PARENT, wish: Wish::SpeedUp { percent: 20 }, points: 600 };
    does(world, &[wish]).await;
    look(world, PARENT).await;
    let replacement = signed(&records(world, PARENT).await[1]);
    lock(&world.ledger).pool = vec![replacement];
    mine(world, 1, u64::MAX).await;
    look(world, PARENT).await;
}

/// Until it has two more blocks, and with it the parent has ended.
async fn superseded(world: &mut World) {
    replaced(world).await;
    mine(world, 2, 0).await;
    look(world, PARENT).await;
    assert_eq!(state(world, PARENT).await.0.status(), Status::Completed);
}

/// It names the output, what would have made it, and why that did not.
async fn assert_proven_dead(world: &World) {
    let parent = &records(world, PARENT).await[0];
    let Some(Ended::Superseded { proof: why }) = &parent.ended else { panic!("{parent:?}") };
    let tx_id = &parent.signed.as_ref().unwrap().tx_id;
    let heirs = records(world, HEIR).await;
    for heir in &heirs {
        let Some(Ended::Dead { proof }) = &heir.ended else { panic!("{heir:?}") };
        let expected = format!(
            "its {} will never exist, because our transaction {tx_id} is superseded: {why}",
            heir.effects.resources[0]
        );
        assert_eq!(*proof, expected);
        for resource in &heir.effects.resources {
            assert_eq!(reservations::holder(world.store(), world.network(), resource).await.unwrap(), None);
        }
    }
    let failed = State::Failed { funds_moved: FundsMoved::None, on_chain: None };
    assert_eq!(state(world, HEIR).await, (failed, Some(SubStatus::SpentElsewhere)));
}

#[tokio::test]
async fn payment_whose_coin_can_never_exist__should_be_proven_dead_once_that_is_final() {
    let mut world = taken_back(Session::Signs).await;
    replaced(&mut world).await;
    for _ in 0..2 {
        look(&mut world, HEIR).await;
        assert_eq!(records(&world, HEIR).await[0].ended, None, "the parent may be in a block after all");
        assert_eq!(state(&world, HEIR).await.0.status(), Status::Broadcasting);
        mine(&mut world, 1, 0).await;
    }
    look(&mut world, HEIR).await;
    assert_eq!(records(&world, HEIR).await[0].ended, None, "the parent has not ended yet");
    look(&mut world, PARENT).await;
    look(&mut world, HEIR).await;
    assert_proven_dead(&world).await;

    // It stays so, however often it is looked at.
    let events = events::last(world.store()).await.unwrap();
    look(&mut world, HEIR).await;
    assert_eq!(events::last(world.store()).await.unwrap(), events);
}

/// A signature of it may exist, which will be of no use. What replaces it spends all that it does, and dies with it.
#[tokio::test]
async fn payment_of_which_no_signature_arrived__should_die_with_its_coin_as_its_replacement_does() {
    let mut world = taken_back(Session::Aborts).await;
    superseded(&mut world).await;
    look(&mut world, HEIR).await;
    assert_proven_dead(&world).await;

    let mut world = taken_back(Session::Signs).await;
    let wish = Action::Ask { transfer: HEIR, wish: Wish::CancelOnChain, points: 600 };
    does(&mut world, &[wish]).await;
    look(&mut world, HEIR).await;
    let made = records(&world, HEIR).await;
    assert!(made.len() == 2 && made.iter().all(|record| record.ended.is_none()), "{made:?}");
    superseded(&mut world).await;
    look(&mut world, HEIR).await;
    assert_proven_dead(&world).await;
}

/// No signature of it can exist, so that the order is not lost with the coin.
#[tokio::test]
async fn draft_whose_coin_can_never_exist__should_be_built_again_of_others() {
    let mut world = taken_back(Session::TooFew).await;
    assert_eq!(state(&world, HEIR).await.1, Some(SubStatus::SignersOffline));
    superseded(&mut world).await;
    look(&mut world, HEIR).await;
    let draft = &records(&world, HEIR).await[0];
    assert_eq!(draft.ended, Some(Ended::Released));
    for _ in 0..6 {
        world.round().await;
        rules::check(&mut world).await.unwrap();
    }
    assert_eq!(state(&world, HEIR).await.0.status(), Status::Completed);
    let built = &records(&world, HEIR).await[1];
    assert!(!built.effects.resources.contains(&draft.effects.resources[0]), "{built:?}");
    assert_eq!(records(&world, HEIR).await.len(), 2);
}

#[tokio::test]
async fn reorganisation_that_revives_the_parent__should_revive_what_died_with_it() {
    let mut world = taken_back(Session::Signs).await;
    superseded(&mut world).await;
    look(&mut world, HEIR).await;
    assert_proven_dead(&world).await;
    let (parent, heir) = (&records(&world, PARENT).await[0], &records(&world, HEIR).await[0]);
    let (parent, heir) = (signed(parent), signed(heir));

    // Deeper than finality: what had replaced the parent is in no block any more.
    does(&mut world, &[Action::Reorganise { depth: 3, kept: false, mask: 0 }]).await;
    follow(&mut world).await;
    assert_eq!(records(&world, PARENT).await[0].ended, None);
    // Nobody names it: it was nudged.
    for _ in 0..4 {
        does(&mut world, &[Action::Run { actor: WORKERS[0], points: 600 }]).await;
    }
    assert_eq!(records(&world, HEIR).await[0].ended, None);
    assert_eq!(state(&world, HEIR).await.0.status(), Status::Broadcasting);
    let told = events::of_transfer(world.store(), world.transfers[HEIR]).await.unwrap();
    assert!(told.iter().any(|event| event.kind == "transfer.reopened"), "{told:?}");

    lock(&world.ledger).pool = vec![parent, heir.clone()];
    mine(&mut world, 1, u64::MAX).await;
    mine(&mut world, 2, 0).await;
    look(&mut world, HEIR).await;
    assert_eq!(state(&world, HEIR).await.0.status(), Status::Completed);
    assert!(lock(&world.ledger).find(&heir).is_some_and(|found| found.is_final));
}

/// Whoever has only the rounds of the model, and its rules.
#[tokio::test]
async fn orphan_that_nobody_looks_at__should_end_by_itself() {
    let mut world = taken_back(Session::Signs).await;
    superseded(&mut world).await;
    let heir = world.transfers[HEIR];
    let transfer = world.transfer(heir).await;
    assert_eq!(transfer.status(), Status::Broadcasting);
    assert!(!rules::explained(&world, &transfer).await, "no reason to stay open");
    for _ in 0..3 {
        world.round().await;
        rules::check(&mut world).await.unwrap();
    }
    assert_proven_dead(&world).await;
}
