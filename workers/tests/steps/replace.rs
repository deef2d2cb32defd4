//! Transactions in place of others: asked for, by policy, refused, lost, and raced by what they replace.

use crate::support::{
    T0,
    chain::{LEDGER_WINDOW, Relay},
    world::{DEPTH, World, XRP},
};
use bursar_domain::{
    chain::TransactionOutcome,
    ids::TransferId,
    lifecycle::{FundsMoved, State, Status, SubStatus, Transfer, Verb},
    ports::{PriceCap, SignError},
    signing::PartyIndex,
};
use bursar_store::{
    events, halts,
    transactions::{self, Ended},
};
use bursar_workers::{
    engine::{self, MoveError, StepError},
    gaps, requests,
};
use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

pub const FASTER: Verb = Verb::SpeedUp { raise_percent: None };

impl World {
    pub async fn ask(&self, id: TransferId, verb: Verb) -> Result<Transfer, MoveError> {
        requests::replace(&self.context, self.transfer(id).await, verb).await
    }

    /// Handed to a node, and in no block.
    pub async fn broadcast(&self, name: &str) -> TransferId {
        let id = self.submit(name).await;
        self.look(id).await.unwrap();
        assert_eq!(self.status(id).await.0, Status::Broadcasting);
        id
    }

    async fn obstacle(&self, id: TransferId) -> Option<(SubStatus, bool)> {
        let obstacle = self.transfer(id).await.replacing.obstacle?;
        Some((obstacle.sub_status, obstacle.lasting))
    }

    fn fees_waiting(&self) -> Vec<u64> {
        self.chain.waiting().iter().map(|signed| signed.payload.fee).collect()
    }
}

pub fn refused(started: bool) -> SignError {
    let (code, reason) = ("INTENT_EXPIRED".into(), "its time is over".into());
    SignError::Refused { party: PartyIndex(1), code, reason, started }
}

fn aborted(started: bool) -> SignError {
    SignError::Aborted { reason: "party 2 went offline".into(), started }
}

#[tokio::test]
async fn speed_up__should_pay_once_at_the_higher_fee() {
    for (descriptor, first) in [("ethereum:31337/ethereum/0", 21), (XRP, 10)] {
        let world = World::new(descriptor).await;
        let id = world.broadcast("faster").await;
        assert_eq!(world.fees_waiting(), [first]);
        let asked = world.ask(id, Verb::SpeedUp { raise_percent: Some(100) }).await.unwrap();
        let again = world.ask(id, Verb::SpeedUp { raise_percent: Some(100) }).await.unwrap();
        assert_eq!(asked, again, "asked twice is asked once");
        world.look(id).await.unwrap();
        assert_eq!(world.fees_waiting(), [2 * first]);
        assert_eq!(world.transfer(id).await.replacing, Default::default());
        let records = world.assert_ended(id, Status::Completed).await;
        assert_eq!(records.len(), 2);
        let Some(Ended::Superseded { proof }) = &records[0].ended else { panic!("{records:?}") };
        let tx_id = &records[1].signed.as_ref().unwrap().tx_id;
        assert!(proof.contains(tx_id) && proof.contains("final block 1"), "{proof}");
        assert_eq!(world.taken().await, [0].into());
    }
}

#[tokio::test]
async fn speed_up_that_loses_the_race__should_pay_once_all_the_same() {
    let world = World::ethereum().await;
    let id = world.broadcast("raced").await;
    let first = world.chain.handed()[0].clone();
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.chain.prefer(&first);
    let records = world.assert_ended(id, Status::Completed).await;
    assert!(records[0].inclusion.is_some());
    assert!(matches!(records[1].ended, Some(Ended::Superseded { .. })));
    assert_eq!(world.transfer(id).await.state.transaction(), Some(records[0].id));
}

#[tokio::test]
async fn cancel__should_take_the_payments_place_and_pay_nobody() {
    for descriptor in ["ethereum:31337/ethereum/0", XRP] {
        let world = World::new(descriptor).await;
        let id = world.broadcast("regretted").await;
        assert!(matches!(world.abort(id).await, Err(MoveError::Invalid(_))), "a signature exists");
        world.ask(id, Verb::Cancel).await.unwrap();
        assert!(matches!(world.ask(id, FASTER).await, Err(MoveError::Invalid(_))), "it is being cancelled");
        world.look(id).await.unwrap();
        assert!(world.chain.waiting().iter().all(|signed| signed.payload.cancels()));
        // The cancellation itself may be sped up; it stays one.
        world.ask(id, FASTER).await.unwrap();
        world.look(id).await.unwrap();
        let records = world.assert_ended(id, Status::Replaced).await;
        assert_eq!(
            records.iter().map(|record| record.purpose.name()).collect::<Vec<_>>(),
            ["pay", "cancel", "cancel"]
        );
        assert_eq!(world.status(id).await.1, Some(SubStatus::CancelledOnChain));
        let next = world.submit("next").await;
        world.assert_paid_once(next).await;
        assert_eq!(world.taken().await, [0, 1].into());
    }
}

#[tokio::test]
async fn cancel_that_loses_the_race__should_end_as_paid() {
    let world = World::ethereum().await;
    let id = world.broadcast("paid").await;
    let payment = world.chain.handed()[0].clone();
    world.ask(id, Verb::Cancel).await.unwrap();
    world.look(id).await.unwrap();
    world.chain.prefer(&payment);
    world.mine().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Confirming);
    assert!(matches!(world.ask(id, Verb::Cancel).await, Err(MoveError::Invalid(_))), "a block holds it");
    world.assert_ended(id, Status::Completed).await;
}

/// What was asked for while the payment was not sent yet, or while a node has lost it, keeps it from being sent.
#[tokio::test]
async fn cancel_that_cannot_be_signed_now__should_hold_the_payment_back() {
    let world = World::ethereum().await;
    let id = world.submit("held").await;
    world.until(id, Status::Signed).await;
    world.ask(id, Verb::Cancel).await.unwrap();
    world.signer.online.store(1, Ordering::SeqCst);
    for _ in 0..3 {
        world.look(id).await.unwrap();
        world.later();
    }
    assert!(world.chain.handed().is_empty());
    assert_eq!(world.obstacle(id).await, Some((SubStatus::SignersOffline, false)));
    assert!(world.transfer(id).await.flags.under_replacement);
    world.signer.online.store(3, Ordering::SeqCst);
    world.assert_ended(id, Status::Replaced).await;
    assert_eq!(world.handed_for("held"), Vec::<Vec<u8>>::new());
}

#[tokio::test]
async fn verbs__should_be_refused_where_they_do_not_fit() {
    let world = World::ethereum().await;
    let id = world.submit("early").await;
    for status in [Status::Submitted, Status::Queued, Status::PendingSignature] {
        world.until(id, status).await;
        for verb in [Verb::Cancel, FASTER] {
            assert!(matches!(world.ask(id, verb).await, Err(MoveError::Invalid(_))), "{status} {verb:?}");
        }
    }
    world.finish(id).await;
    for verb in [Verb::Cancel, FASTER] {
        assert!(matches!(world.ask(id, verb).await, Err(MoveError::Invalid(_))), "{verb:?}");
    }
}

#[tokio::test]
async fn stuck_transaction__should_be_sped_up_by_policy_as_often_as_it_allows() {
    let mut world = World::ethereum().await;
    world.policy(|policy| (policy.automatic, policy.max_replacements) = (true, 2));
    let id = world.broadcast("stuck").await;
    for expected in [21, 26, 32, 32, 32] {
        assert_eq!(world.fees_waiting(), [expected]);
        assert!(!world.transfer(id).await.flags.stuck || expected == 32);
        world.clock.advance(Duration::from_secs(301));
        world.chain.mine_empty(1);
        world.follow().await;
        world.look(id).await.unwrap();
    }
    assert!(world.transfer(id).await.flags.stuck);
    assert_eq!(world.obstacle(id).await, Some((SubStatus::TooManyReplacements, true)));
    assert_eq!(world.assert_ended(id, Status::Completed).await.len(), 3);
    let history = events::of_transfer(world.store(), id).await.unwrap();
    assert!(history.iter().any(|event| event.payload["flags"]["stuck"] == true));
}

#[tokio::test]
async fn raise_above_the_fee_cap__should_stay_stuck_and_say_so() {
    let mut world = World::ethereum().await;
    world.policy(|policy| (policy.automatic, policy.raise_percent) = (true, 3000));
    let id = world.broadcast("capped").await;
    world.clock.advance(Duration::from_secs(301));
    for _ in 0..3 {
        world.look(id).await.unwrap();
        world.later();
    }
    let transfer = world.transfer(id).await;
    assert!(transfer.flags.stuck && !transfer.flags.under_replacement);
    assert_eq!(world.obstacle(id).await, Some((SubStatus::FeeCapReached, true)));
    assert_eq!(world.signer.sessions(), 1);
    assert_eq!(world.assert_ended(id, Status::Completed).await.len(), 1);
}

/// The operator's own cap bounds what is asked for and what policy does.
#[tokio::test]
async fn raise_above_what_the_installation_offers__should_be_given_up_and_say_so() {
    let mut world = World::ethereum().await;
    world.policy(|policy| (policy.automatic, policy.price_cap) = (true, Some(PriceCap(25))));
    let id = world.broadcast("operator").await;
    for verb in [Some(FASTER), None] {
        match verb {
            Some(verb) => drop(world.ask(id, verb).await.unwrap()),
            None => world.clock.advance(Duration::from_secs(301)),
        }
        world.look(id).await.unwrap();
        let transfer = world.transfer(id).await;
        assert_eq!((transfer.replacing.wanted, transfer.flags.under_replacement), (None, false));
        let obstacle = transfer.replacing.obstacle.unwrap();
        assert_eq!((obstacle.sub_status, obstacle.lasting), (SubStatus::FeeCapReached, true));
        assert!(obstacle.reason.contains("configuration allows 25"), "{}", obstacle.reason);
    }
    assert_eq!(world.signer.sessions(), 1);
    world.policy(|policy| policy.price_cap = Some(PriceCap(26)));
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.fees_waiting(), [26]);
    world.assert_ended(id, Status::Completed).await;
}

/// A first offer may lie exactly at the operator's cap, and what replaces it has to offer more.
#[tokio::test]
async fn cancel_of_what_lies_at_the_installations_cap__should_be_made_all_the_same() {
    let mut world = World::ethereum().await;
    world.policy(|policy| policy.price_cap = Some(PriceCap(21)));
    let id = world.broadcast("at-the-cap").await;
    assert_eq!(world.fees_waiting(), [21]);
    world.ask(id, Verb::Cancel).await.unwrap();
    world.look(id).await.unwrap();
    assert!(world.chain.waiting().iter().all(|signed| signed.payload.cancels()));
    world.assert_ended(id, Status::Replaced).await;
}

/// The intent's cap, and that of the co-signers' rules.
#[tokio::test]
async fn cancel_that_a_fee_cap_hinders__should_hold_the_payment_back() {
    for by_cosigners in [false, true] {
        let mut world = World::ethereum().await;
        let id = world.submit("held").await;
        world.until(id, Status::Signed).await;
        match by_cosigners {
            false => world.policy(|policy| policy.raise_percent = 3000),
            true => {
                let (code, reason) = ("FEE_ABOVE_CAP".into(), "fee above my cap".into());
                world.signer.fail([SignError::Refused {
                    party: PartyIndex(1),
                    code,
                    reason,
                    started: false,
                }]);
            }
        }
        world.ask(id, Verb::Cancel).await.unwrap();
        for _ in 0..2 {
            world.look(id).await.unwrap();
            world.later();
        }
        world.look(id).await.unwrap();
        let transfer = world.transfer(id).await;
        assert_eq!(transfer.replacing.wanted.map(|wanted| wanted.verb), Some(Verb::Cancel), "{by_cosigners}");
        assert_eq!(world.obstacle(id).await, Some((SubStatus::FeeCapReached, true)), "{by_cosigners}");
        assert!(world.chain.handed().is_empty(), "what was taken back is not sent");
        // Something has changed: asking again has it tried at once.
        world.policy(|policy| policy.raise_percent = 20);
        world.ask(id, Verb::Cancel).await.unwrap();
        world.look(id).await.unwrap();
        assert!(world.chain.waiting().iter().all(|signed| signed.payload.cancels()));
        world.assert_ended(id, Status::Replaced).await;
        assert_eq!(world.handed_for("held"), Vec::<Vec<u8>>::new());
    }
}

/// As long again as it has lasted, within bounds: what lasts for ever is not an event every few minutes for ever.
#[tokio::test]
async fn obstacle_that_lasts__should_be_told_ever_more_rarely_and_not_never() {
    for (stuck_after, step, expected) in [(300, 301, 5), (1, 600, 16)] {
        let mut world = World::ethereum().await;
        world.policy(|policy| {
            (policy.automatic, policy.price_cap) = (true, Some(PriceCap(25)));
            policy.stuck_after = Duration::from_secs(stuck_after);
        });
        let id = world.broadcast("for-ever").await;
        let mut told = BTreeSet::new();
        for _ in 0..16 {
            world.clock.advance(Duration::from_secs(step));
            world.look(id).await.unwrap();
            told.insert(world.transfer(id).await.replacing.obstacle.unwrap().at);
        }
        assert_eq!(told.len(), expected, "{told:?}");
    }
}

/// What is refused for long is looked at again after a rest each time, and not with every look in between.
#[tokio::test]
async fn raise_that_is_given_up__should_rest_each_time() {
    let mut world = World::ethereum().await;
    world.policy(|policy| (policy.automatic, policy.price_cap) = (true, Some(PriceCap(25))));
    let id = world.broadcast("resting").await;
    let mut told = Vec::new();
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(301));
        for _ in 0..3 {
            world.look(id).await.unwrap();
            told.push(world.transfer(id).await.replacing.obstacle.unwrap().at);
        }
    }
    told.dedup();
    assert_eq!(told.len(), 3, "{told:?}");
}

#[tokio::test]
async fn speed_up_after_expiry__should_ask_nobody_and_say_that_only_cancel_helps() {
    let world = World::ethereum().await;
    let id = world.broadcast("expired").await;
    // Drafted before, and not signed.
    world.signer.online.store(1, Ordering::SeqCst);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.clock.advance(Duration::from_secs(100_001));
    world.signer.online.store(3, Ordering::SeqCst);
    world.look(id).await.unwrap();
    assert_eq!(world.obstacle(id).await, Some((SubStatus::IntentExpired, true)));
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.obstacle(id).await, Some((SubStatus::IntentExpired, true)));
    assert_eq!(world.transfer(id).await.replacing.wanted, None);
    assert_eq!(world.signer.sessions(), 1);
    let records = transactions::of_transfer(world.store(), id).await.unwrap();
    assert_eq!(records[1..].iter().map(|record| &record.ended).collect::<Vec<_>>(), [&Some(Ended::Released)]);
    world.ask(id, Verb::Cancel).await.unwrap();
    world.assert_ended(id, Status::Replaced).await;
}

#[tokio::test]
async fn cancel_that_is_signed_already__should_not_be_wanted_again_nor_bar_a_raise() {
    let world = World::ethereum().await;
    let id = world.broadcast("again").await;
    world.ask(id, Verb::Cancel).await.unwrap();
    world.look(id).await.unwrap();
    let asked = world.ask(id, Verb::Cancel).await.unwrap();
    assert_eq!(asked.replacing.wanted, None);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.fees_waiting(), [32]);
    world.assert_ended(id, Status::Replaced).await;
}

/// What lost its session before, at a lower fee, is not what the next raise signs.
#[tokio::test]
async fn raise_after_a_lost_first_signature__should_outbid_what_is_under_way() {
    let world = World::ethereum().await;
    world.signer.fail([aborted(true)]);
    let id = world.submit("lost-first").await;
    world.look(id).await.unwrap();
    for expected in [26, 32] {
        world.ask(id, FASTER).await.unwrap();
        world.look(id).await.unwrap();
        assert_eq!(world.fees_waiting(), [expected]);
    }
    assert_eq!((world.signer.sessions(), world.signer.asked_for(id).len()), (3, 3));
    world.assert_ended(id, Status::Completed).await;
}

#[tokio::test]
async fn number_behind_another__should_not_be_sped_up_by_policy() {
    let mut world = World::ethereum().await;
    let first = world.broadcast("first").await;
    let second = world.broadcast("second").await;
    world.clock.advance(Duration::from_secs(301));
    world.policy(|policy| (policy.automatic, policy.max_replacements) = (true, 0));
    world.look(second).await.unwrap();
    assert_eq!(world.signer.sessions(), 2);
    assert_eq!(world.obstacle(second).await, Some((SubStatus::TooManyReplacements, true)));
    world.policy(|policy| policy.max_replacements = 5);
    world.clock.advance(Duration::from_secs(301));
    world.look(second).await.unwrap();
    assert_eq!(world.obstacle(second).await, Some((SubStatus::WaitsItsTurn, false)));
    world.assert_ended(first, Status::Completed).await;
    world.assert_ended(second, Status::Completed).await;
}

#[tokio::test]
async fn replacement_that_is_refused__should_say_so_and_send_the_old_one_on() {
    let world = World::ethereum().await;
    let id = world.broadcast("refused").await;
    world.signer.fail([refused(false)]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.obstacle(id).await, Some((SubStatus::SignerRejected, true)));
    let transfer = world.transfer(id).await;
    assert_eq!((transfer.replacing.wanted, transfer.flags.under_replacement), (None, false));
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.signer.sessions(), 2, "it is not asked again");
    assert!(world.chain.handed().len() >= 2, "the old one is sent again");
    let records = transactions::of_transfer(world.store(), id).await.unwrap();
    assert_eq!(records[1].ended, Some(Ended::Released));
    // Someone asks again, and they agree.
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    assert_eq!(world.fees_waiting(), [26]);
    world.assert_ended(id, Status::Completed).await;
}

#[tokio::test]
async fn replacement_whose_session_is_lost__should_be_signed_again_with_the_same_bytes() {
    let world = World::ethereum().await;
    let id = world.broadcast("lost").await;
    world.signer.fail([aborted(true), aborted(false)]);
    world.ask(id, FASTER).await.unwrap();
    for _ in 0..3 {
        world.look(id).await.unwrap();
        world.later();
    }
    assert_eq!(world.signer.sessions(), 4);
    assert_eq!(world.signer.asked_for(id).len(), 2, "two different transactions, however often");
    assert_eq!(world.fees_waiting(), [26]);
    world.assert_ended(id, Status::Completed).await;
}

/// A wish to cancel comes while a speed-up may have been signed: the cancellation excludes both.
#[tokio::test]
async fn cancel_after_a_lost_speed_up__should_exclude_both() {
    let world = World::ethereum().await;
    let id = world.broadcast("both").await;
    world.signer.fail([aborted(true)]);
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.ask(id, Verb::Cancel).await.unwrap();
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.signer.asked_for(id).len(), 3);
    assert_eq!(world.assert_ended(id, Status::Replaced).await.len(), 3);
}

#[tokio::test]
async fn session_that_gave_nothing__should_be_closed_by_a_cancellation_once_the_intent_expired() {
    let mut world = World::ethereum().await;
    world.policy(|policy| policy.automatic = true);
    world.signer.fail([aborted(true)]);
    let id = world.submit("inconclusive").await;
    world.look(id).await.unwrap();
    let later = world.submit("later").await;
    world.look(later).await.unwrap();
    world.clock.advance(Duration::from_secs(200_000));
    let records = world.assert_ended(id, Status::Replaced).await;
    assert!(records[0].signed.is_none() && matches!(records[0].ended, Some(Ended::Superseded { .. })));
    assert_eq!(world.chain.paid("inconclusive"), 0);
    assert_eq!(world.finish(later).await.status(), Status::Expired);
    let next = world.submit("next").await;
    world.assert_paid_once(next).await;
}

/// The co-signers had completed it all the same, and one of them sends it first.
#[tokio::test]
async fn lost_signature_that_surfaces__should_not_end_as_cancelled() {
    let mut world = World::ethereum().await;
    world.policy(|policy| policy.automatic = true);
    world.signer.fail([aborted(true)]);
    let id = world.submit("surfaced").await;
    world.look(id).await.unwrap();
    world.chain.mine_unseen(&world.signer.asked_for(id).into_iter().next().unwrap());
    world.follow().await;
    world.clock.advance(Duration::from_secs(200_000));
    for _ in 0..DEPTH {
        world.mine().await;
        world.later();
        world.look(id).await.unwrap();
    }
    assert_eq!(world.status(id).await, (Status::PendingSignature, Some(SubStatus::Unexplained)));
    assert_eq!(world.chain.paid("surfaced"), 1);
    assert_eq!(world.signer.asked_for(id).len(), 1, "nothing more is signed");
}

#[tokio::test]
async fn nonce_that_someone_else_used__should_end_it_as_proven_dead_and_halt_the_account() {
    let world = World::ethereum().await;
    world.chain.relay(&[Relay::LoseRequest]);
    let id = world.broadcast("robbed").await;
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Broadcasting, Some(SubStatus::SpentElsewhere)));
    for _ in 1..DEPTH {
        world.mine().await;
    }
    world.look(id).await.unwrap();
    let transfer = world.transfer(id).await;
    assert_eq!(transfer.state, State::Failed { funds_moved: FundsMoved::None, on_chain: None });
    assert_eq!(transfer.sub_status, Some(SubStatus::SpentElsewhere));
    let records = transactions::of_transfer(world.store(), id).await.unwrap();
    assert!(
        matches!(&records[0].ended, Some(Ended::Dead { proof }) if Some(proof) == transfer.reason.as_ref())
    );
    assert_eq!(halts::standing(world.store(), world.network).await.unwrap().len(), 1);
    assert_eq!(world.chain.paid("robbed"), 0);

    // A reorganisation deeper than finality takes the stranger's transaction back: ours may be in a block after all, and is.
    world.chain.reorganise(usize::try_from(world.chain.height()).unwrap());
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    let history = events::of_transfer(world.store(), id).await.unwrap();
    assert!(history.iter().any(|event| event.kind == "transfer.reopened"), "{history:?}");
    world.assert_ended(id, Status::Completed).await;
}

#[tokio::test]
async fn ledgers_that_pass_for_the_first__should_not_end_what_a_later_one_keeps_alive() {
    let world = World::new(XRP).await;
    world.chain.relay(&[Relay::LoseRequest, Relay::LoseRequest, Relay::LoseRequest, Relay::LoseRequest]);
    let id = world.broadcast("twice").await;
    world.chain.mine_empty(10);
    world.follow().await;
    world.ask(id, FASTER).await.unwrap();
    world.look(id).await.unwrap();
    world.chain.mine_empty(usize::try_from(LEDGER_WINDOW).unwrap() - 10);
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Broadcasting, "the second is good for ten more");
    world.chain.mine_empty(10);
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await, (Status::Expired, Some(SubStatus::LedgerExpired)));
    let records = transactions::of_transfer(world.store(), id).await.unwrap();
    assert!(records.iter().all(|record| matches!(record.ended, Some(Ended::Dead { .. }))), "{records:?}");
    assert!(world.taken().await.is_empty());
}

#[tokio::test]
async fn deep_reorganisation__should_reopen_whatever_a_block_had_ended_with_an_alarm() {
    for (name, cancel, outcome, ended) in [
        ("completed", false, TransactionOutcome::Succeeded, Status::Completed),
        ("replaced", true, TransactionOutcome::Succeeded, Status::Replaced),
        ("failed", false, TransactionOutcome::Failed { reason: "reverted".into() }, Status::Failed),
    ] {
        let world = World::ethereum().await;
        world.chain.set_outcome(outcome);
        let id = world.broadcast(name).await;
        if cancel {
            world.ask(id, Verb::Cancel).await.unwrap();
        }
        let block = world.finish(id).await;
        assert_eq!(block.status(), ended);
        let depth = usize::try_from(world.chain.height()).unwrap();
        world.chain.reorganise(depth);
        world.follow().await;
        world.look(id).await.unwrap();
        assert_eq!(world.status(id).await.0, Status::Broadcasting, "{name}");
        let history = events::of_transfer(world.store(), id).await.unwrap();
        let alarm = history.iter().find(|event| event.kind == "transfer.reopened").unwrap();
        assert_eq!(alarm.payload["from"], ended.to_string());
        assert_eq!(alarm.payload["block"]["hash"], block.state.ended_in().unwrap().hash);
        world.assert_ended(id, ended).await;
    }
}

/// A reorganisation takes the replacement's block, and the payment that it had excluded is in the next.
#[tokio::test]
async fn deep_reorganisation_that_favours_the_other__should_follow_the_chain() {
    let world = World::ethereum().await;
    let id = world.broadcast("favoured").await;
    let payment = world.chain.handed()[0].clone();
    world.ask(id, Verb::Cancel).await.unwrap();
    world.assert_ended(id, Status::Replaced).await;
    let depth = usize::try_from(world.chain.height()).unwrap();
    world.chain.reorganise(depth);
    world.chain.prefer(&payment);
    world.mine().await;
    world.look(id).await.unwrap();
    let records = world.assert_ended(id, Status::Completed).await;
    assert!(records[0].inclusion.is_some() && records[0].ended.is_none(), "{records:?}");
}

/// What was given up is not sent again because a block had held it for a while.
#[tokio::test]
async fn reorganisation_after_a_cancel_that_lost__should_go_back_to_the_cancellation() {
    let world = World::ethereum().await;
    let id = world.broadcast("regretted").await;
    let payment = world.chain.handed()[0].clone();
    world.ask(id, Verb::Cancel).await.unwrap();
    world.look(id).await.unwrap();
    let cancellation = world.transfer(id).await.state.transaction();
    world.chain.prefer(&payment);
    world.mine().await;
    world.look(id).await.unwrap();
    assert_eq!(world.status(id).await.0, Status::Confirming);
    assert_ne!(world.transfer(id).await.state.transaction(), cancellation);
    world.chain.reorganise(1);
    world.follow().await;
    world.look(id).await.unwrap();
    assert_eq!(world.transfer(id).await.state.transaction(), cancellation);
    assert!(world.chain.waiting().iter().all(|signed| signed.payload.cancels()));
    world.assert_ended(id, Status::Replaced).await;
    assert_eq!(world.chain.paid("regretted"), 0);
}

/// A machine whose clock is ahead made the payment: a later wish still finds what was made for it, once.
#[tokio::test]
async fn clock_that_was_ahead__should_not_multiply_replacements() {
    let world = World::ethereum().await;
    let id = world.broadcast("ahead").await;
    world.clock.set_back(Duration::from_secs(120));
    world.ask(id, Verb::Cancel).await.unwrap();
    world.signer.online.store(1, Ordering::SeqCst);
    for _ in 0..4 {
        world.look(id).await.unwrap();
        world.clock.advance(Duration::from_secs(6));
    }
    let records = transactions::of_transfer(&world.context.store, id).await.unwrap();
    assert_eq!(records.len(), 2, "one payment, one cancellation");
    world.signer.online.store(3, Ordering::SeqCst);
    world.assert_ended(id, Status::Replaced).await;
}

#[tokio::test]
async fn replacing_twice_by_late_workers__should_change_nothing_more() {
    for verb in [Verb::Cancel, FASTER] {
        let world = World::ethereum().await;
        let id = world.broadcast("late").await;
        world.ask(id, verb).await.unwrap();
        // Drafted and stored; signed; sent.
        for _ in 0..3 {
            let transfer = world.transfer(id).await;
            engine::run_step(&world.context, transfer.clone()).await.unwrap();
            let once = world.snapshot(id).await;
            match engine::run_step(&world.context, transfer).await {
                Ok(_) | Err(StepError::Move(_)) => {}
                Err(error) => panic!("{error}"),
            }
            assert_eq!(world.snapshot(id).await, once);
        }
        let ended = if verb == Verb::Cancel { Status::Replaced } else { Status::Completed };
        world.assert_ended(id, ended).await;
    }
}

#[tokio::test]
async fn node_that_fails_while_replacing__should_be_recovered_from() {
    let world = World::ethereum().await;
    let id = world.broadcast("down").await;
    world.ask(id, FASTER).await.unwrap();
    world.chain.set_down(true);
    world.look(id).await.unwrap();
    assert_eq!(world.obstacle(id).await, Some((SubStatus::NodeUnavailable, false)));
    assert!(world.transfer(id).await.replacing.wanted.is_some());
    world.chain.set_down(false);
    world.later();
    world.look(id).await.unwrap();
    assert_eq!(world.fees_waiting(), [26]);
    world.assert_ended(id, Status::Completed).await;
}

/// A stranger's transaction had used the first nonce, ours has the second, and a reorganisation takes the stranger's back.
#[tokio::test]
async fn nonce_that_nothing_uses__should_be_noticed_once_and_taken_by_the_next_transfer() {
    let mut world = World::ethereum().await;
    world.policy(|policy| (policy.automatic, policy.max_replacements) = (true, 0));
    let none = BTreeSet::new();
    world.chain.mine_foreign(&world.account);
    world.follow().await;
    lift_all(&world).await;
    let behind = world.broadcast("behind").await;
    assert_eq!(world.taken().await, [1].into());
    assert_eq!(gaps::sweep(&world.context, world.network).await.unwrap(), none);
    world.chain.reorganise(1);
    world.follow().await;
    world.clock.advance(Duration::from_secs(301));
    world.look(behind).await.unwrap();
    assert!(world.transfer(behind).await.flags.stuck);
    for _ in 0..2 {
        let found = gaps::sweep(&world.context, world.network).await.unwrap();
        assert_eq!(found, [(world.account.clone(), 0)].into());
    }
    let alarms = events::after(world.store(), 0, 1000).await.unwrap();
    assert_eq!(alarms.iter().filter(|event| event.kind == "account.gap").count(), 1);
    let filler = world.submit("filler").await;
    world.look(filler).await.unwrap();
    assert_eq!(world.taken().await, [0, 1].into());
    assert_eq!(gaps::sweep(&world.context, world.network).await.unwrap(), none);
    world.assert_ended(filler, Status::Completed).await;
    world.assert_ended(behind, Status::Completed).await;
}

async fn lift_all(world: &World) {
    let mut tx = world.store().write().await.unwrap();
    for halt in halts::standing_in(&mut tx, world.network).await.unwrap() {
        halts::lift(&mut tx, halt.id, "a person", "looked at it", T0).await.unwrap();
    }
    tx.commit().await.unwrap();
}
