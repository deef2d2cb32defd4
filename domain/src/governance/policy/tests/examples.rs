//! The examples of docs/policy.md do what they say.

use super::*;
use crate::{
    governance::{
        address_book::AddressBook,
        directory::Group,
        testing::{self, TestDesk},
    },
    signing::PartyRole,
};

const TREASURY: &str = include_str!("../../../../../docs/example/policy/treasury.json");
const SMALL_DESK: &str = include_str!("../../../../../docs/example/policy/small-desk.json");

/// The test desk, with five treasurers and a group for each of two parties.
fn desk() -> TestDesk {
    let mut genesis = testing::genesis(testing::rules(0));
    let treasurers: Vec<_> = (1..=5)
        .map(|number| testing::user(&format!("treasurer.{number}"), PartyRole::Client, [Role::Approver]))
        .collect();
    let group = |id: &str, members: BTreeSet<UserId>| Group { id: name(id), members };
    genesis.groups.push(group("treasury", treasurers.iter().map(|user| user.id.clone()).collect()));
    genesis.groups.push(group("client", BTreeSet::from([name("client.approver")])));
    genesis.groups.push(group("manager", BTreeSet::from([name("manager.approver")])));
    genesis.users.extend(treasurers);
    TestDesk::found(genesis)
}

fn read(json: &str) -> Policy {
    let policy: Policy = serde_json::from_str(json).expect("the example is a policy");
    let desk = desk();
    assert_eq!(validate(&policy, desk.state.directory(), &AddressBook::default()), []);
    policy
}

fn allowed(decision: Decision) -> Allowed {
    match decision.outcome {
        Outcome::Allowed(allowed) => allowed,
        Outcome::Denied { reasons } => panic!("denied: {reasons:?}"),
    }
}

/// Thousandths of an ETH to an address that was listed long ago.
fn treasury_request(thousandths: u64) -> Request {
    let mut request = request();
    let since = Timestamp::from_secs(0);
    request.payouts[0].listing = Some(Listing { entry: name("supplier"), counterparty: None, since });
    request.total = Amount::from_u128(u128::from(thousandths) * 1_000_000_000_000_000);
    request.payouts[0].amount = request.total;
    request
}

/// The highest quorum that is required, as every lower one is met with it.
fn highest(allowed: &Allowed) -> u8 {
    let groups = allowed.requirements.iter().flat_map(|required| &required.requirement.groups);
    groups.map(|group| group.quorum).max().unwrap_or(0)
}

#[test]
fn treasury_tiers_rise_with_the_amount() {
    let policy = read(TREASURY);
    for (thousandths, quorum) in [(1, 3), (9_999, 3), (10_000, 4), (99_999, 4), (100_000, 5), (5_000_000, 5)]
    {
        let request = treasury_request(thousandths);
        let allowed = allowed(evaluate(&policy, &request, &facts(&policy, &request)));
        assert_eq!(highest(&allowed), quorum, "{thousandths} thousandths");
        let major = quorum == 5;
        assert_eq!(allowed.delay_seconds, if major { 86_400 } else { 0 });
        assert_eq!(allowed.signers.len(), if major { 2 } else { 0 });
    }
}

#[test]
fn treasury_takes_instalments_for_one_payment() {
    let (policy, request) = (read(TREASURY), treasury_request(9_000));
    let mut facts = facts(&policy, &request);
    let earlier = Amount::from_u128(91_000_000_000_000_000_000);
    facts.velocity.values_mut().for_each(|sum| *sum = Ok(earlier));
    assert_eq!(highest(&allowed(evaluate(&policy, &request, &facts))), 5);
}

#[test]
fn treasury_denies_risk_new_addresses_and_what_is_not_screened() {
    let (policy, request) = (read(TREASURY), treasury_request(1));
    let denied = |request: &Request, change: fn(&mut Facts)| {
        let mut facts = facts(&policy, request);
        change(&mut facts);
        match evaluate(&policy, request, &facts).outcome {
            Outcome::Denied { reasons } => reasons.into_iter().map(|reason| reason.to_string()).collect(),
            Outcome::Allowed(_) => Vec::new(),
        }
    };
    let risk = "rule no-risk: The screening found too high a risk.";
    assert_eq!(denied(&request, |_| {}), [""; 0]);
    assert_eq!(denied(&request, |facts| facts.risk = Ok(RiskBand::Unknown)), [risk]);
    let missing = "rule no-risk cannot be evaluated: the screening's risk band is missing";
    assert_eq!(denied(&request, |facts| facts.risk = Err(Gap::Missing)), [risk, missing]);
    let mut elsewhere = request.clone();
    elsewhere.payouts[0].listing = None;
    assert_eq!(denied(&elsewhere, |_| {}), ["no rule allows this transfer"]);
}

/// Bitcoin's tiers are in dollars: without a price, all five.
#[test]
fn treasury_treats_what_has_no_price_as_major() {
    let policy = read(TREASURY);
    let request =
        Request { asset: Asset::Btc, wallet: name("bitcoin:mainnet/p2tr/0"), ..treasury_request(0) };
    let priced = |price: Fact<Price>| {
        let facts = Facts { price, ..facts(&policy, &request) };
        highest(&allowed(evaluate(&policy, &request, &facts)))
    };
    let dollars =
        Price { currency: name("USD"), cents: Amount::from_u64(1), per: Amount::from_u64(1), at: NOW };
    assert_eq!(priced(Ok(dollars)), 3);
    assert_eq!(priced(Err(Gap::Unpriceable)), 5);
    assert_eq!(priced(Err(Gap::Unknowable)), 5);
}

#[test]
fn a_small_desk_asks_client_and_manager() {
    let (policy, request) = (read(SMALL_DESK), request());
    let at = |hour: i64, count: u64| {
        let mut facts = Facts { now: Timestamp(NOW.0 + hour * 3_600_000_000), ..facts(&policy, &request) };
        facts.velocity.values_mut().for_each(|sum| *sum = Ok(Amount::from_u64(count)));
        evaluate(&policy, &request, &facts)
    };
    let allowed = allowed(at(10, 9));
    assert_eq!(allowed.delay_seconds, 14_400);
    let required = allowed.requirements.first().unwrap();
    let groups: Vec<_> = required.requirement.groups.iter().map(|group| group.group.as_str()).collect();
    assert_eq!((groups.as_slice(), required.requirement.ordered), (["client", "manager"].as_slice(), true));
    for (hour, count) in [(10, 10), (6, 0), (17, 0), (48 + 10, 0)] {
        assert!(matches!(at(hour, count).outcome, Outcome::Denied { .. }), "hour {hour}, {count} before");
    }
}
