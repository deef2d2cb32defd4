//! A test that cannot fail is a defect: each of these breaks one thing that the rules rest on, and must be found out.

use super::{
    rules::Rule,
    run::{Failure, case},
    world::World,
};
use bursar_domain::network::Chain;
use std::sync::atomic::Ordering::SeqCst;

/// The first of so many seeds that finds it.
fn found(chain: Chain, seeds: u64, breaks: &dyn Fn(&World)) -> Box<Failure> {
    (0..seeds)
        .find_map(|seed| case(chain, seed, 0, breaks).err())
        .unwrap_or_else(|| panic!("{seeds} cases found nothing wrong"))
}

#[test]
fn node_that_calls_dead_what_is_not__should_be_found_out() {
    let failure = found(Chain::Xrp, 40, &|world| world.faults.says_dead.store(true, SeqCst));
    assert!(matches!(failure.violation.rule, Rule::EndsAreTrue | Rule::Claimed), "{:?}", failure.violation);
}

#[test]
fn node_that_calls_final_what_is_not__should_be_found_out() {
    let failure = found(Chain::Ethereum, 40, &|world| world.faults.says_final.store(true, SeqCst));
    assert_eq!(failure.violation.rule, Rule::EndsAreTrue, "{:?}", failure.violation);
}

#[test]
fn coordinator_that_denies_its_sessions__should_be_found_out() {
    let failure = found(Chain::Ethereum, 40, &|world| world.signer.denies.store(true, SeqCst));
    let rule = failure.violation.rule;
    assert!(matches!(rule, Rule::EndsAreTrue | Rule::Claimed | Rule::OneCanPay), "{:?}", failure.violation);
}
