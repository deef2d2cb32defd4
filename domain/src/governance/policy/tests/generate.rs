//! Any policy, request and facts, from a vocabulary small enough that conditions often hold.

use super::*;
use crate::{governance::directory::CounterpartyId, network::Chain, signing::PartyRole};
use proptest::{collection::vec, option, prelude::*, sample::select};

pub fn amount() -> impl Strategy<Value = Amount> {
    prop_oneof![
        8 => (0u64..200).prop_map(Amount::from_u64),
        1 => Just(Amount(ruint::aliases::U256::MAX)),
        1 => any::<[u64; 4]>().prop_map(|limbs| Amount(ruint::aliases::U256::from_limbs(limbs))),
    ]
}

pub fn gap() -> impl Strategy<Value = Gap> {
    select(vec![Gap::Missing, Gap::Unknowable, Gap::Unpriceable])
}

fn fact<T: std::fmt::Debug + Clone>(known: impl Strategy<Value = T>) -> impl Strategy<Value = Fact<T>> {
    prop_oneof![7 => known.prop_map(Ok), 1 => gap().prop_map(Err)]
}

fn set<T: Ord + Clone + std::fmt::Debug + 'static>(all: Vec<T>) -> impl Strategy<Value = BTreeSet<T>> {
    vec(select(all), 0..3).prop_map(|items| items.into_iter().collect())
}

fn asset() -> impl Strategy<Value = Asset> {
    select(vec![Asset::Btc, Asset::Eth])
}

fn unit() -> impl Strategy<Value = Unit> {
    prop_oneof![Just(Unit::Fiat), asset().prop_map(Unit::Asset)]
}

fn users() -> Vec<UserId> {
    vec![name("olga"), name("otto")]
}

fn destination_test() -> impl Strategy<Value = DestinationTest> {
    prop_oneof![
        set(vec![name("a"), name("b")]).prop_map(|entries| DestinationTest::Listed { entries }),
        (0u64..100).prop_map(|seconds| DestinationTest::AnyListed { for_at_least_seconds: seconds }),
        Just(DestinationTest::OneTime {}),
        set(vec![name("x"), name("y")]).prop_map(|names| DestinationTest::Counterparty { names }),
    ]
}

fn velocity_test() -> impl Strategy<Value = VelocityTest> {
    let measure = prop_oneof![Just(Measure::Count), unit().prop_map(Measure::Sum)];
    let group = select(vec![GroupBy::All, GroupBy::Wallet, GroupBy::Initiator, GroupBy::Destination]);
    (1u64..3, measure, group, amount()).prop_map(|(window_seconds, of, group_by, above)| VelocityTest {
        window_seconds,
        of,
        group_by,
        above,
    })
}

fn time_window() -> impl Strategy<Value = TimeWindow> {
    let time = || select(vec!["00:00", "09:00", "17:30", "24:00"]).prop_map(name::<TimeOfDay>);
    (set(Day::ALL.to_vec()), time(), time(), any::<i16>())
        .prop_map(|(days, from, to, utc_offset_minutes)| TimeWindow { days, from, to, utc_offset_minutes })
}

/// At most one part in most conditions, or nearly nothing would ever hold.
pub fn condition() -> impl Strategy<Value = Condition> {
    let bands = [RiskBand::Low, RiskBand::High, RiskBand::Unknown];
    let operations = [Operation::Transfer, Operation::Batch];
    let amount_test = (unit(), option::of(amount()), option::of(amount()))
        .prop_map(|(unit, above, at_most)| AmountTest { unit, above, at_most });
    let empty = Condition::default;
    let leaf = prop_oneof![
        1 => Just(empty()),
        1 => set(operations.into()).prop_map(move |set| Condition { operations: Some(set), ..empty() }),
        1 => set(Chain::ALL.into()).prop_map(move |set| Condition { chains: Some(set), ..empty() }),
        1 => set(vec![Asset::Btc, Asset::Eth]).prop_map(move |set| Condition { assets: Some(set), ..empty() }),
        1 => set(users()).prop_map(move |set| Condition { initiators: Some(set), ..empty() }),
        1 => set(Role::ALL.into()).prop_map(move |set| Condition { initiator_roles: Some(set), ..empty() }),
        3 => destination_test().prop_map(move |test| Condition { destination: Some(test), ..empty() }),
        4 => amount_test.prop_map(move |test| Condition { amount: Some(test), ..empty() }),
        4 => velocity_test().prop_map(move |test| Condition { velocity: Some(test), ..empty() }),
        2 => any::<u16>().prop_map(move |share| Condition { balance_share_above: Some(share), ..empty() }),
        1 => time_window().prop_map(move |window| Condition { time_window: Some(window), ..empty() }),
        2 => set(bands.into()).prop_map(move |set| Condition { risk: Some(set), ..empty() }),
        1 => (select(Chain::ALL.to_vec()), amount())
            .prop_map(move |(chain, above)| Condition { fee: Some(FeeTest { chain, above }), ..empty() }),
    ];
    leaf.prop_recursive(3, 12, 3, move |inner| {
        prop_oneof![
            vec(inner.clone(), 1..3).prop_map(move |any| Condition { any, ..empty() }),
            inner.clone().prop_map(move |part| Condition { not: Some(Box::new(part)), ..empty() }),
            (inner.clone(), inner).prop_map(move |(a, b)| Condition {
                any: vec![a],
                not: Some(Box::new(b)),
                ..empty()
            }),
        ]
    })
}

pub fn tightening() -> impl Strategy<Value = Effect> {
    let parties = vec![PartyRole::Client, PartyRole::WealthManager, PartyRole::CustodyPlatform];
    let quorum = (select(vec!["g", "h"]), 1u8..4)
        .prop_map(|(group, quorum)| GroupQuorum { group: name(group), quorum });
    let requirement =
        (select(vec![Of::All, Of::Any]), vec(quorum, 0..3), any::<bool>(), option::of(any::<u64>()))
            .prop_map(|(of, groups, ordered, deadline_seconds)| Requirement {
                of,
                groups,
                ordered,
                deadline_seconds,
            });
    prop_oneof![
        1 => Just(deny()),
        3 => requirement.prop_map(Effect::Require),
        2 => any::<u64>().prop_map(|seconds| Effect::Delay { seconds }),
        2 => set(parties).prop_map(|parties| Effect::RequireSigners { parties }),
    ]
}

pub fn tightening_rule() -> impl Strategy<Value = Rule> {
    (select(vec!["r1", "r2", "r3", "r4"]), condition(), tightening())
        .prop_map(|(id, when, then)| rule(id, when, then))
}

pub fn any_policy() -> impl Strategy<Value = Policy> {
    let allow = |when| rule("allow", when, Effect::Allow {});
    let any_rule = prop_oneof![2 => tightening_rule(), 1 => condition().prop_map(allow)];
    (vec(any_rule, 0..5), any::<bool>()).prop_map(move |(mut rules, open)| {
        rules.extend(open.then(|| allow(Condition::default())));
        policy(rules)
    })
}

fn listing() -> impl Strategy<Value = Listing> {
    let counterparty = option::of(select(vec!["x", "y"]).prop_map(name::<CounterpartyId>));
    (select(vec!["a", "b"]), counterparty, 0i64..200).prop_map(|(entry, counterparty, age)| Listing {
        entry: name(entry),
        counterparty,
        since: Timestamp::from_secs(NOW.micros() / 1_000_000 - age),
    })
}

pub fn any_request() -> impl Strategy<Value = Request> {
    let payout =
        (select(vec!["0x01", "0x02"]), amount(), option::of(listing())).prop_map(|(to, amount, listing)| {
            Payout { destination: Destination { address: to.into(), tag: None }, amount, listing }
        });
    (asset(), vec(payout, 1..4), select(users()), set(Role::ALL.into()), amount()).prop_map(
        |(asset, payouts, initiator, initiator_roles, max_fee)| Request {
            operation: if payouts.len() > 1 { Operation::Batch } else { Operation::Transfer },
            wallet: name(if asset == Asset::Btc {
                "bitcoin:mainnet/p2tr/0"
            } else {
                "ethereum:1/ethereum/0"
            }),
            asset,
            initiator,
            initiator_roles,
            total: Amount::sum(payouts.iter().map(|payout| payout.amount))
                .unwrap_or(Amount(ruint::aliases::U256::MAX)),
            payouts,
            max_fee,
        },
    )
}

pub fn price() -> impl Strategy<Value = Price> {
    let at = prop_oneof![8 => Just(NOW), 1 => any::<i64>().prop_map(Timestamp)];
    (select(vec!["CHF", "CHF", "CHF", "USD"]), amount(), amount(), at)
        .prop_map(|(currency, cents, per, at)| Price { currency: name(currency), cents, per, at })
}

/// A policy, a request, and an answer to everything that the policy asks about it.
pub fn case() -> impl Strategy<Value = (Policy, Request, Facts)> {
    let band = select(vec![RiskBand::Low, RiskBand::High, RiskBand::Unknown]);
    let now = prop_oneof![8 => Just(NOW), 1 => any::<i64>().prop_map(Timestamp)];
    let known = (now, fact(price()), fact(amount()), fact(band), vec(fact(amount()), 8));
    (any_policy(), any_request(), known).prop_map(|(policy, request, (now, price, balance, risk, sums))| {
        let queries = policy.velocity_queries(&request).into_iter();
        let velocity: BTreeMap<_, _> = queries.zip(sums.into_iter().cycle()).collect();
        (policy, request, Facts { now, price, balance, risk, velocity })
    })
}
