//! A test that cannot fail is a defect: each of these breaks one thing that the rules rest on, and must be found out.

use super::{
    action::{Action, FOLLOWERS, Wish},
    rules::Rule,
    run::{Failure, case},
    sabotage::Sabotage,
    signer::Session,
    world::World,
};
use bursar_domain::network::Chain;
use std::sync::atomic::Ordering::SeqCst;

const SEEDS: u64 = 100;
const ACCOUNTS: &[Chain] = &[Chain::Ethereum, Chain::Xrp];
const ALL: &[Chain] = &[Chain::Bitcoin, Chain::Ethereum, Chain::Xrp];

/// The first seed that finds that one of these rules is broken.
fn found(chains: &[Chain], rules: &[Rule], breaks: &dyn Fn(&mut World)) -> Box<Failure> {
    (0..SEEDS)
        .flat_map(|seed| chains.iter().map(move |chain| (*chain, seed)))
        .filter_map(|(chain, seed)| case(chain, seed, 0, breaks).err())
        .find(|failure| rules.contains(&failure.violation.rule))
        .unwrap_or_else(|| panic!("{SEEDS} seeds found nothing wrong"))
}

#[test]
fn node_that_calls_dead_what_is_not__should_be_found_out() {
    let rules = [Rule::EndsAreTrue, Rule::Claimed];
    found(ACCOUNTS, &rules, &|world| world.faults.says_dead.store(true, SeqCst));
}

#[test]
fn node_that_calls_final_what_is_not__should_be_found_out() {
    found(ACCOUNTS, &[Rule::EndsAreTrue], &|world| world.faults.says_final.store(true, SeqCst));
}

#[test]
fn coordinator_that_denies_its_sessions__should_be_found_out() {
    let rules = [Rule::EndsAreTrue, Rule::Claimed, Rule::OneCanPay, Rule::Memory];
    found(ACCOUNTS, &rules, &|world| world.signer.denies.store(true, SeqCst));
}

/// A worker takes both transfers as far as it can.
const LOOK: [Action; 2] = [
    Action::Look { worker: 0, transfer: 0, points: 600 },
    Action::Look { worker: 0, transfer: 1, points: 600 },
];

/// What is done on purpose after `first` breaks this rule, and is found at once.
async fn found_sabotage(chains: &[Chain], first: &[Action], sabotage: Sabotage, rule: Rule) {
    for chain in chains {
        let mut world = World::new(*chain).await;
        for action in first {
            world.perform(action).await.unwrap();
            world.rest().await;
        }
        world.sabotage = Some(sabotage);
        let found = world.perform(&Action::Time { seconds: 0 }).await;
        assert!(world.sabotage.is_none(), "it could not be done\n{}", world.report().await);
        assert_eq!(found.unwrap_err().rule, rule);
    }
}

#[tokio::test]
async fn co_signer_that_forgets__should_be_found_out() {
    found_sabotage(ALL, &LOOK, Sabotage::SignsApart, Rule::Memory).await;
    found_sabotage(&[Chain::Bitcoin], &LOOK, Sabotage::SignsStrangersChild, Rule::Memory).await;
}

#[tokio::test]
async fn recall_of_what_is_signed__should_be_found_out() {
    found_sabotage(ALL, &LOOK, Sabotage::RecallsTooLate, Rule::Recalled).await;
}

#[tokio::test]
async fn payment_that_outbids_its_cancellation__should_be_found_out() {
    let cancel = Action::Ask { transfer: 0, wish: Wish::CancelOnChain, points: 600 };
    let first = [&LOOK[..], &[cancel], &LOOK].concat();
    found_sabotage(ALL, &first, Sabotage::OutbidsCancel, Rule::CancelStands).await;
}

#[tokio::test]
async fn replacements_without_end__should_be_found_out() {
    found_sabotage(ALL, &LOOK, Sabotage::Litters, Rule::Bounded).await;
    // Too dear for the intent, so that a child is made in place of it.
    let dear = Action::Ask { transfer: 0, wish: Wish::SpeedUp { percent: 100_000 }, points: 600 };
    let first = [&LOOK[..], &[dear], &LOOK].concat();
    found_sabotage(&[Chain::Bitcoin], &first, Sabotage::SecondChild, Rule::Bounded).await;
}

#[tokio::test]
async fn claim_that_nothing_needs__should_be_found_out() {
    found_sabotage(ALL, &LOOK, Sabotage::ClaimsTooMuch, Rule::Reserved).await;
}

/// What was broken in the engine, and found by `ethereum__should_keep_the_rules_whatever_happens`, is told in `fillers.rs`.
#[tokio::test]
async fn filler_of_what_is_no_gap_or_that_pays__should_be_found_out() {
    let first = [Action::Fill { lifetime: 100_000, ahead: 2 }];
    found_sabotage(&[Chain::Ethereum], &first, Sabotage::FillsAhead, Rule::Fills).await;
    found_sabotage(&[Chain::Ethereum], &first, Sabotage::FillerPays, Rule::Fills).await;
}

#[tokio::test]
async fn session_on_a_halted_account__should_be_found_out() {
    let lost = Action::Sessions { next: Session::Aborts };
    let halt = [Action::Rob { choice: 2 }, Action::Run { actor: FOLLOWERS[0], points: 600 }];
    let first = [&[lost][..], &LOOK, &halt].concat();
    found_sabotage(ALL, &first, Sabotage::IgnoresHalt, Rule::Halted).await;
}

#[tokio::test]
async fn job_that_is_dropped__should_be_found_out() {
    found_sabotage(ALL, &[], Sabotage::DropsJobs, Rule::NotLost).await;
}

#[tokio::test]
async fn event_that_is_forged_or_missing__should_be_found_out() {
    found_sabotage(ALL, &LOOK, Sabotage::Forges, Rule::Replays).await;
    found_sabotage(ALL, &LOOK, Sabotage::SkipsEvent, Rule::Replays).await;
}
