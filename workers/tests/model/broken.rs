//! A test that cannot fail is a defect: each of these breaks one thing that the rules rest on, and must be found out.

use super::{
    rules::Rule,
    run::{Failure, case},
    world::World,
};
use bursar_domain::network::Chain;
use std::sync::atomic::Ordering::SeqCst;

const SEEDS: u64 = 100;

/// The first seed that finds it, on either chain with accounts.
fn found(breaks: &dyn Fn(&World)) -> Box<Failure> {
    (0..SEEDS)
        .flat_map(|seed| [Chain::Ethereum, Chain::Xrp].map(|chain| (chain, seed)))
        .find_map(|(chain, seed)| case(chain, seed, 0, breaks).err())
        .unwrap_or_else(|| panic!("{SEEDS} seeds found nothing wrong"))
}

#[test]
fn node_that_calls_dead_what_is_not__should_be_found_out() {
    let failure = found(&|world| world.faults.says_dead.store(true, SeqCst));
    assert!(matches!(failure.violation.rule, Rule::EndsAreTrue | Rule::Claimed), "{:?}", failure.violation);
}

#[test]
fn node_that_calls_final_what_is_not__should_be_found_out() {
    let failure = found(&|world| world.faults.says_final.store(true, SeqCst));
    assert_eq!(failure.violation.rule, Rule::EndsAreTrue, "{:?}", failure.violation);
}

#[test]
fn coordinator_that_denies_its_sessions__should_be_found_out() {
    let failure = found(&|world| world.signer.denies.store(true, SeqCst));
    let rule = failure.violation.rule;
    assert!(matches!(rule, Rule::EndsAreTrue | Rule::Claimed | Rule::OneCanPay), "{:?}", failure.violation);
}
