//! Child pays for parent: a transaction beside the payment where none can take its place.

use crate::{
    crash::{SURVIVORS, outlives},
    replace::{FASTER, refused},
    support::world::{DEPTH, World},
};
use bursar_domain::{
    effects::Resource,
    ids::TransferId,
    lifecycle::{Status, SubStatus, Verb},
    ports::SignError,
    signing::PartyIndex,
};
use bursar_store::{
    jobs, reservations, sweep,
    transactions::{self, Ended, TransactionRecord},
};
use bursar_workers::engine::Next;
use std::{sync::atomic::Ordering, time::Duration};

impl World {
    async fn with_children() -> Self {
        let mut world = Self::ethereum().await;
        world.policy(|policy| policy.child_pays = true);
        world
    }

    /// Broadcast, its replacement refused by the co-signers, and a child sent.
    async fn with_child(&self, name: &str) -> TransferId {
        let id = self.broadcast(name).await;
        self.signer.fail([refused(false)]);
        self.ask(id, FASTER).await.unwrap();
        self.look(id).await.unwrap();
        id
    }

    async fn children(&self, id: TransferId) -> Vec<TransactionRecord> {
        let records = transactions::of_transfer(self.store(), id).await.unwrap();
        records.into_iter().filter(TransactionRecord::is_child).collect()
    }

    async fn holder(&self, resource: &Resource) -> Option<bursar_domain::ids::TransactionId> {
        reservations::holder(self.store(), self.network, resource).await.unwrap()
    }

    /// Blocks and looks until nothing is left to be looked after.
    async fn settle(&self, id: TransferId) -> TransactionRecord {
        for _ in 0..20 {
            self.mine().await;
            self.later();
            if self.look(id).await.unwrap() == Next::Rest && self.transfer(id).await.status().is_terminal() {
                return self.children(id).await.pop().unwrap();
            }
        }
        panic!("{:?}", self.children(id).await);
    }

    async fn assert_paid_with_child(&self, id: TransferId) {
        self.assert_ended(id, Status::Completed).await;
        let child = self.settle(id).await;
        assert!(child.finalized_at.is_some() && child.ended.is_none(), "{child:?}");
        let transfer = self.transfer(id).await;
        assert_ne!(transfer.state.transaction(), Some(child.id), "the payment is what completed it");
        let account = match &child.effects.resources[..] {
            [Resource::Nonce { account, .. }] => account.clone(),
            other => panic!("{other:?}"),
        };
        let taken = reservations::taken(self.store(), self.network, &account).await.unwrap();
        assert_eq!(taken, [0].into(), "used for ever");
    }
}

#[tokio::test]
async fn refused_replacement__should_be_followed_by_one_child_that_both_confirm_with() {
    let world = World::with_children().await;
    let id = world.with_child("child").await;
    let [child] = &world.children(id).await[..] else { panic!("one child") };
    assert!(child.signed.is_some() && child.broadcast_at.is_some());
    assert_eq!(world.chain.waiting().len(), 2);
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.status(), Status::Broadcasting);
    assert_ne!(transfer.state.transaction(), Some(child.id));
    assert_eq!((transfer.replacing.wanted, transfer.flags.under_replacement), (None, false));
    let obstacle = transfer.replacing.obstacle.unwrap();
    assert!(obstacle.lasting && obstacle.reason.contains("a child"), "{obstacle:?}");
    // Refused once more: it has its child.
    world.signer.fail([refused(false)]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.children(id).await.len(), 1);
    world.assert_paid_with_child(id).await;
    assert_eq!(world.chain.paid("child"), 1);
}

#[tokio::test]
async fn replacements_that_policy_no_longer_allows__should_be_followed_by_a_child() {
    let mut world = World::with_children().await;
    world.policy(|policy| (policy.automatic, policy.max_replacements) = (true, 0));
    let id = world.broadcast("policy").await;
    world.clock.advance(Duration::from_secs(301));
    world.look(id).await.unwrap();
    assert_eq!(world.children(id).await.len(), 1);
    world.assert_paid_with_child(id).await;
}

#[tokio::test]
async fn child_without_policy_or_after_expiry__should_not_be_made() {
    let mut world = World::with_children().await;
    world.policy(|policy| policy.child_pays = false);
    let off = world.with_child("off").await;
    assert!(world.children(off).await.is_empty());
    world.policy(|policy| policy.child_pays = true);
    let late = world.broadcast("late").await;
    world.clock.advance(Duration::from_secs(100_001));
    world.signer.fail([refused(false)]);
    world.ask(late, FASTER).await.unwrap();
    world.look(late).await.unwrap();
    assert!(world.children(late).await.is_empty(), "co-signers would refuse it as well");
}

#[tokio::test]
async fn child_that_blocks_leave_out__should_be_sent_and_followed_after_its_transfer_has_completed() {
    let world = World::with_children().await;
    let id = world.with_child("alone").await;
    let parent = world.chain.handed()[0].clone();
    world.chain.prefer(&parent);
    for _ in 0..DEPTH {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Completed);
    let [child] = &world.children(id).await[..] else { panic!("one child") };
    assert!(child.ended.is_none() && child.inclusion.is_none());
    assert_eq!(
        world.holder(&child.effects.resources[0]).await,
        Some(child.id),
        "nobody else spends the change"
    );
    let now = world.context.now();
    for job in jobs::claim(world.store(), now, Duration::from_secs(1), 10).await.unwrap() {
        jobs::settle(world.store(), &job, now, jobs::Outcome::Done).await.unwrap();
    }
    let open = sweep::unsettled(world.store(), world.network).await.unwrap();
    assert_eq!(open, [id].into(), "found again should its job be lost");
    world.assert_paid_with_child(id).await;
}

#[tokio::test]
async fn child_of_a_payment_that_is_replaced_after_all__should_end_with_a_proof() {
    let world = World::with_children().await;
    let id = world.with_child("both").await;
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let fees: Vec<u64> = world.chain.waiting().iter().map(|signed| signed.payload.fee).collect();
    assert!(fees.iter().any(|fee| *fee > 21 + 42), "above all that leaves the mempool: {fees:?}");
    world.assert_ended(id, Status::Completed).await;
    let [child] = &world.children(id).await[..] else { panic!("one child") };
    let Some(Ended::Superseded { proof }) = &child.ended else { panic!("{child:?}") };
    assert!(proof.contains("parent"), "{proof}");
    assert_eq!(world.holder(&child.effects.resources[0]).await, None);
    assert_eq!(world.look(id).await.unwrap(), Next::Rest);
}

#[tokio::test]
async fn child_that_is_refused__should_be_given_back() {
    let world = World::with_children().await;
    let id = world.broadcast("refused").await;
    world.signer.fail([refused(false), refused(false)]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let [child] = &world.children(id).await[..] else { panic!("one child") };
    assert_eq!(child.ended, Some(Ended::Released));
    assert_eq!(world.holder(&child.effects.resources[0]).await, None);
    world.assert_ended(id, Status::Completed).await;
}

#[tokio::test]
async fn child_whose_session_was_lost__should_be_signed_after_its_parent_is_final() {
    let world = World::with_children().await;
    let id = world.broadcast("lost").await;
    let aborted = || SignError::Aborted { reason: "party 2 went offline".into(), started: true };
    let code = "INTENT_EXPIRED".into();
    let first = SignError::Refused { party: PartyIndex(1), code, reason: "no".into(), started: false };
    world.signer.fail([first, aborted()]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let [child] = &world.children(id).await[..] else { panic!("one child") };
    assert!(child.signed.is_none() && child.has_lost_session());
    for _ in 0..DEPTH {
        world.mine().await;
    }
    assert_eq!(world.holder(&child.effects.resources[0]).await, Some(child.id));
    world.assert_paid_with_child(id).await;
}

/// Its session left no signature, and the co-signers sign it no more: what it would spend is free again, and the next sweep finds it
/// should its job be lost.
#[tokio::test]
async fn child_without_a_signature_when_the_intent_expires__should_give_the_change_back() {
    let world = World::with_children().await;
    let id = world.broadcast("over").await;
    world.signer.fail([refused(false), SignError::Aborted { reason: "away".into(), started: true }]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.signer.online.store(1, Ordering::SeqCst);
    for _ in 0..DEPTH {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Completed);
    let now = world.context.now();
    for job in jobs::claim(world.store(), now, Duration::from_secs(1), 10).await.unwrap() {
        jobs::settle(world.store(), &job, now, jobs::Outcome::Done).await.unwrap();
    }
    assert_eq!(sweep::unsettled(world.store(), world.network).await.unwrap(), [id].into());
    world.clock.advance(Duration::from_secs(100_001));
    world.look(id).await.unwrap();
    let child = world.children(id).await.pop().unwrap();
    assert!(child.ended.is_none(), "a session may be under way at a clock that is behind");
    assert_eq!(world.holder(&child.effects.resources[0]).await, Some(child.id));
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(world.look(id).await.unwrap(), Next::Rest);
    let child = world.children(id).await.pop().unwrap();
    let Some(Ended::Superseded { proof }) = &child.ended else { panic!("{child:?}") };
    assert!(proof.contains("expired"), "{proof}");
    assert_eq!(world.holder(&child.effects.resources[0]).await, None);
    assert!(sweep::unsettled(world.store(), world.network).await.unwrap().is_empty());
    // A deep reorganisation reopens the parent, and all ends as before.
    world.signer.online.store(3, Ordering::SeqCst);
    world.chain.reorganise(usize::try_from(world.chain.height()).unwrap());
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    world.assert_ended(id, Status::Completed).await;
    world.settle(id).await;
    assert_eq!(world.chain.paid("over"), 1);
}

/// The block of a child is taken back, while that of its parent stays.
#[tokio::test]
async fn child_that_leaves_its_block__should_not_wake_what_its_parent_has_excluded() {
    let world = World::with_children().await;
    let id = world.broadcast("woken").await;
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    let parent = world.chain.handed().pop().unwrap();
    world.signer.fail([refused(false)]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.chain.prefer(&parent);
    for _ in 0..DEPTH {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Completed);
    world.later();
    world.look(id).await.unwrap();
    world.mine().await;
    assert!(world.children(id).await[0].inclusion.is_some(), "{:?}", world.children(id).await);
    world.chain.reorganise(1);
    world.follow().await;
    let records = transactions::of_transfer(world.store(), id).await.unwrap();
    assert!(matches!(records[0].ended, Some(Ended::Superseded { .. })), "{:?}", records[0]);
    world.settle(id).await;
}

#[tokio::test]
async fn child_of_a_payment_that_is_to_be_cancelled__should_not_be_signed() {
    let world = World::with_children().await;
    let id = world.broadcast("cancelled").await;
    world.signer.fail([refused(false), SignError::Aborted { reason: "away".into(), started: true }]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert!(world.children(id).await[0].signed.is_none());
    world.ask(id, Verb::Cancel).await.unwrap();
    world.later();
    world.look(id).await.unwrap();
    world.assert_ended(id, Status::Replaced).await;
    let child = world.children(id).await.pop().unwrap();
    assert!(child.signed.is_none() && matches!(child.ended, Some(Ended::Superseded { .. })), "{child:?}");
}

#[tokio::test]
async fn parent_and_child_that_a_reorganisation_takes_back__should_both_be_sent_again() {
    let world = World::with_children().await;
    let id = world.with_child("reorganised").await;
    world.mine().await;
    world.look(id).await.unwrap();
    world.chain.reorganise(1);
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    world.assert_paid_with_child(id).await;

    let id = world.with_child("deep").await;
    world.assert_paid_with_child(id).await;
    world.chain.reorganise(usize::try_from(world.chain.height()).unwrap() - 6);
    world.follow().await;
    world.later();
    world.look(id).await.unwrap();
    world.assert_paid_with_child(id).await;
}

#[tokio::test]
async fn child_of_a_payment_that_a_stranger_excludes__should_end_with_it() {
    let world = World::with_children().await;
    let id = world.with_child("stolen").await;
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    let transfer = world.finish(id).await;
    assert_eq!((transfer.status(), transfer.sub_status), (Status::Failed, Some(SubStatus::SpentElsewhere)));
    let child = world.children(id).await.pop().unwrap();
    assert!(matches!(child.ended, Some(Ended::Dead { .. })), "{child:?}");
    assert_eq!(world.look(id).await.unwrap(), Next::Rest);
}

#[tokio::test]
async fn death_while_a_child_is_made__should_pay_once_and_leave_no_claim_behind() {
    let world = World::with_children().await;
    let (mut deaths, mut survivors) = (0, 0);
    for polls in 0.. {
        let id = world.broadcast(&format!("child-{polls}")).await;
        world.signer.fail([refused(false)]);
        world.ask(id, FASTER).await.unwrap();
        match outlives(&world, id, polls).await {
            false => (deaths, survivors) = (deaths + 1, 0),
            true => survivors += 1,
        }
        world.signer.forget();
        world.later();
        world.look(id).await.unwrap();
        world.assert_ended(id, Status::Completed).await;
        for _ in 0..20 {
            world.mine().await;
            world.later();
            world.look(id).await.unwrap();
        }
        for child in world.children(id).await {
            let holder = world.holder(&child.effects.resources[0]).await;
            assert!(child.finalized_at.is_some() || (child.ended.is_some() && holder.is_none()), "{child:?}");
        }
        if survivors == SURVIVORS {
            break;
        }
    }
    assert!(deaths >= 12, "only {deaths} await points were met");
}
