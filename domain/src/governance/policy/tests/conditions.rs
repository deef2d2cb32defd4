//! Each condition, at its edge.

use super::*;

/// What this condition says of this request.
fn says(when: Condition, request: &Request, change: impl FnOnce(&mut Facts)) -> Match {
    let policy = policy(vec![rule("r", when, Effect::Allow {})]);
    let mut facts = facts(&policy, request);
    change(&mut facts);
    evaluate(&policy, request, &facts).explanation[0].matched
}

fn read(json: &str) -> Condition {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn conditions_hold_at_their_edges() {
    use Match::{No, Unsure, Yes};
    let cases = [
        ("{}", Yes),
        (r#"{"operations":["TRANSFER"]}"#, Yes),
        (r#"{"operations":["BATCH"]}"#, No),
        (r#"{"chains":["bitcoin"]}"#, No),
        (r#"{"chains":["bitcoin","ethereum"]}"#, Yes),
        (r#"{"assets":["ETH"]}"#, Yes),
        (r#"{"assets":["erc20:0x0000000000000000000000000000000000000001"]}"#, No),
        (r#"{"wallets":["ethereum:1/ethereum/0"]}"#, Yes),
        (r#"{"wallets":["ethereum:1/ethereum/1"]}"#, No),
        (r#"{"initiators":["olga"]}"#, Yes),
        (r#"{"initiators":["otto"]}"#, No),
        (r#"{"initiatorRoles":["OPERATOR","OWNER"]}"#, Yes),
        (r#"{"initiatorRoles":["INTEGRATION_SERVICE"]}"#, No),
        (r#"{"amount":{"in":"ETH","above":"99"}}"#, Yes),
        (r#"{"amount":{"in":"ETH","above":"100"}}"#, No),
        (r#"{"amount":{"in":"ETH","atMost":"100"}}"#, Yes),
        (r#"{"amount":{"in":"ETH","atMost":"99"}}"#, No),
        (r#"{"amount":{"in":"BTC","atMost":"1000"}}"#, No),
        (r#"{"amount":{"in":"FIAT","above":"9"}}"#, Yes),
        (r#"{"amount":{"in":"FIAT","above":"10"}}"#, No),
        (r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"ALL","above":"0"}}"#, Yes),
        (r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"ALL","above":"1"}}"#, No),
        (r#"{"velocity":{"windowSeconds":60,"of":"ETH","groupBy":"WALLET","above":"99"}}"#, Yes),
        (r#"{"velocity":{"windowSeconds":60,"of":"BTC","groupBy":"WALLET","above":"0"}}"#, No),
        (r#"{"velocity":{"windowSeconds":60,"of":"FIAT","groupBy":"DESTINATION","above":"10"}}"#, No),
        (r#"{"balanceShareAbove":999}"#, Yes),
        (r#"{"balanceShareAbove":1000}"#, No),
        (r#"{"risk":["LOW"]}"#, Yes),
        (r#"{"risk":["HIGH","SEVERE"]}"#, No),
        (r#"{"fee":{"chain":"ethereum","above":"4"}}"#, Yes),
        (r#"{"fee":{"chain":"ethereum","above":"5"}}"#, No),
        (r#"{"fee":{"chain":"bitcoin","above":"4"}}"#, No),
        (r#"{"destination":{"kind":"ONE_TIME"}}"#, Yes),
        (r#"{"destination":{"kind":"ANY_LISTED"}}"#, No),
        (r#"{"any":[{"chains":["xrp"]},{"assets":["ETH"]}]}"#, Yes),
        (r#"{"any":[{"chains":["xrp"]},{"assets":["BTC"]}]}"#, No),
        (r#"{"not":{"chains":["xrp"]}}"#, Yes),
        (r#"{"chains":["ethereum"],"not":{"assets":["ETH"]}}"#, No),
    ];
    for (json, expected) in cases {
        assert_eq!(says(read(json), &request(), |_| {}), expected, "{json}");
    }
    type Lose = fn(&mut Facts);
    let unsure: [(&str, Lose); 6] = [
        (r#"{"amount":{"in":"FIAT","above":"9"}}"#, |facts| facts.price = Err(Gap::Unpriceable)),
        (r#"{"not":{"amount":{"in":"FIAT","above":"9"}}}"#, |facts| facts.price = Err(Gap::Unpriceable)),
        (r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"ALL","above":"0"}}"#, |facts| {
            facts.velocity.clear();
        }),
        (r#"{"balanceShareAbove":999}"#, |facts| facts.balance = Err(Gap::Unknowable)),
        (r#"{"risk":["LOW"]}"#, |facts| facts.risk = Err(Gap::Missing)),
        // 601 seconds old, and 600 are allowed.
        (r#"{"amount":{"in":"FIAT","atMost":"900"}}"#, |facts| facts.now = Timestamp(NOW.0 + 601_000_000)),
    ];
    for (json, change) in unsure {
        assert_eq!(says(read(json), &request(), change), Unsure, "{json}");
    }
}

#[test]
fn what_is_not_needed_may_be_missing() {
    let when = read(r#"{"chains":["xrp"],"risk":["HIGH"]}"#);
    assert_eq!(says(when, &request(), |facts| facts.risk = Err(Gap::Missing)), Match::No);
    let when = read(r#"{"any":[{"assets":["ETH"]},{"risk":["HIGH"]}]}"#);
    assert_eq!(says(when, &request(), |facts| facts.risk = Err(Gap::Missing)), Match::Yes);
}

/// What is merely not to be known must not hide that something is missing.
#[test]
fn a_missing_sum_denies_whatever_the_price() {
    let json = r#"{"not":{"velocity":{"windowSeconds":60,"of":"FIAT","groupBy":"ALL","above":"1"}}}"#;
    let allow = |id, when| rule(id, when, Effect::Allow {});
    let policy = policy(vec![allow("calm", read(json)), allow("open", Condition::default())]);
    for price in [Gap::Unknowable, Gap::Unpriceable] {
        let mut facts = Facts { price: Err(price), ..facts(&policy, &request()) };
        assert!(matches!(evaluate(&policy, &request(), &facts).outcome, Outcome::Allowed(_)));
        facts.velocity.clear();
        let Outcome::Denied { reasons } = evaluate(&policy, &request(), &facts).outcome else {
            panic!("allowed without knowing the earlier transfers")
        };
        let missing = DenyReason::Missing { rule: name("calm"), fact: FactName::Velocity };
        assert_eq!(reasons, BTreeSet::from([missing]));
    }
}

#[test]
fn a_price_is_rounded_up_and_never_wraps() {
    let price = |cents, per| Price { currency: name("CHF"), cents, per, at: NOW };
    let (one, ten) = (Amount::from_u64(1), Amount::from_u64(10));
    let max = Amount(ruint::aliases::U256::MAX);
    assert_eq!(price(one, ten).of(Amount::from_u64(101)), Some(Amount::from_u64(11)));
    assert_eq!(price(one, ten).of(Amount::from_u64(100)), Some(ten));
    assert_eq!(price(one, Amount::ZERO).of(one), None);
    assert_eq!(price(ten, one).of(max), None);
}

fn listed(entry: &str, counterparty: Option<&str>, age: i64) -> Listing {
    let since = Timestamp(NOW.0 - age * 1_000_000);
    Listing { entry: name(entry), counterparty: counterparty.map(name), since }
}

#[test]
fn destinations_are_asked_for_their_entry_age_and_owner() {
    let mut to_exchange = request();
    to_exchange.payouts[0].listing = Some(listed("kraken", Some("exchange"), 60));
    let says = |json: &str| says(read(&format!(r#"{{"destination":{json}}}"#)), &to_exchange, |_| {});
    assert_eq!(says(r#"{"kind":"LISTED","entries":["kraken"]}"#), Match::Yes);
    assert_eq!(says(r#"{"kind":"LISTED","entries":["bitstamp"]}"#), Match::No);
    assert_eq!(says(r#"{"kind":"ANY_LISTED"}"#), Match::Yes);
    assert_eq!(says(r#"{"kind":"ANY_LISTED","forAtLeastSeconds":60}"#), Match::Yes);
    assert_eq!(says(r#"{"kind":"ANY_LISTED","forAtLeastSeconds":61}"#), Match::No);
    assert_eq!(says(r#"{"kind":"COUNTERPARTY","names":["exchange"]}"#), Match::Yes);
    assert_eq!(says(r#"{"kind":"COUNTERPARTY","names":["bank"]}"#), Match::No);
    assert_eq!(says(r#"{"kind":"ONE_TIME"}"#), Match::No);
}

/// One listed payment does not carry one that is not.
#[test]
fn payments_of_a_batch_must_agree() {
    let mut batch = request();
    batch.payouts.push(Payout {
        destination: Destination { address: "0x02".into(), tag: None },
        amount: Amount::from_u64(1),
        listing: Some(listed("kraken", None, 60)),
    });
    let decide = |then: Effect, json: &str| {
        let policy = policy(vec![
            rule("r", read(json), then),
            rule("open", read(r#"{"operations":["BATCH","TRANSFER"]}"#), Effect::Delay { seconds: 1 }),
        ]);
        evaluate(&policy, &batch, &facts(&policy, &batch)).explanation.remove(0)
    };
    let listed = r#"{"destination":{"kind":"ANY_LISTED"}}"#;
    let one_time = r#"{"destination":{"kind":"ONE_TIME"}}"#;
    for json in [listed, one_time] {
        assert!(!decide(Effect::Allow {}, json).applies, "{json}");
        let fired = decide(deny(), json);
        assert!(fired.applies && fired.matched == Match::Unsure, "{json}");
        assert!(fired.why.contains("some payments only"), "{}", fired.why);
    }
}

#[test]
fn time_windows_are_half_open_and_in_their_own_zone() {
    let window = |json: &str, seconds: i64| {
        let when = read(&format!(r#"{{"timeWindow":{json}}}"#));
        says(when, &request(), |facts| facts.now = Timestamp(NOW.0 + seconds * 1_000_000))
    };
    let office = r#"{"days":["THU"],"from":"09:00","to":"17:00"}"#;
    assert_eq!(window(office, 9 * 3600 - 1), Match::No);
    assert_eq!(window(office, 9 * 3600), Match::Yes);
    assert_eq!(window(office, 17 * 3600 - 1), Match::Yes);
    assert_eq!(window(office, 17 * 3600), Match::No);
    assert_eq!(window(office, (24 + 10) * 3600), Match::No);
    let ahead = r#"{"days":["THU"],"from":"09:00","to":"17:00","utcOffsetMinutes":60}"#;
    assert_eq!(window(ahead, 8 * 3600), Match::Yes);
    assert_eq!(window(ahead, 16 * 3600), Match::No);
    let last_year = r#"{"days":["WED"],"from":"00:00","to":"24:00"}"#;
    assert_eq!(window(last_year, -1), Match::Yes);
    assert_eq!(window(last_year, 0), Match::No);
}

#[test]
fn velocity_counts_this_transfer_too() {
    let request = request();
    let json = r#"{"velocity":{"windowSeconds":60,"of":"ETH","groupBy":"INITIATOR","above":"150"}}"#;
    for (before, expected) in [(50, Match::No), (51, Match::Yes)] {
        let earlier = |facts: &mut Facts| {
            facts.velocity.values_mut().for_each(|sum| *sum = Ok(Amount::from_u64(before)));
        };
        assert_eq!(says(read(json), &request, earlier), expected);
    }
    let policy = policy(vec![rule("r", read(json), deny())]);
    let queries: Vec<_> = policy.velocity_queries(&request).iter().map(ToString::to_string).collect();
    assert_eq!(queries, ["60 ETH initiator olga"]);
    let elsewhere = Request { asset: Asset::Btc, ..request };
    assert!(policy.velocity_queries(&elsewhere).is_empty());
}

#[test]
fn documents_with_anything_unknown_are_refused() {
    for json in [
        r#"{"chain":["bitcoin"]}"#,
        r#"{"amount":{"in":"COUNT","above":"1"}}"#,
        r#"{"amount":{"in":"ETH","above":1}}"#,
        r#"{"amount":{"in":"ETH","above":"1.5"}}"#,
        r#"{"amount":{"in":"ETH","above":"-1"}}"#,
        r#"{"destination":{"kind":"ONE_TIME","entries":["a"]}}"#,
        r#"{"timeWindow":{"days":["THU"],"from":"9:00","to":"17:00"}}"#,
        r#"{"timeWindow":{"days":["THU"],"from":"09:00","to":"24:01"}}"#,
        r#"{"risk":["low"]}"#,
    ] {
        assert!(serde_json::from_str::<Condition>(json).is_err(), "{json}");
    }
    for json in [
        r#"{"kind":"ALLOW","reason":"x"}"#,
        r#"{"kind":"REQUIRE","of":"ALL","groups":[],"quorum":1}"#,
        r#"{"kind":"DELAY","seconds":-1}"#,
        r#"{"kind":"DELAY","seconds":1.5}"#,
        r#"{"kind":"PERMIT"}"#,
    ] {
        assert!(serde_json::from_str::<Effect>(json).is_err(), "{json}");
    }
    // Nesting is bounded by the reader before anything recurses.
    let deep = format!("{}{{}}{}", r#"{"not":"#.repeat(10_000), "}".repeat(10_000));
    assert!(serde_json::from_str::<Condition>(&deep).is_err());
}

#[test]
fn decisions_are_explained() {
    let when = read(r#"{"chains":["ethereum"],"amount":{"in":"ETH","above":"10"}}"#);
    let policy =
        policy(vec![rule("big", when, deny()), rule("open", Condition::default(), Effect::Allow {})]);
    let decision = evaluate(&policy, &request(), &facts(&policy, &request()));
    assert_eq!(decision.explanation[0].why, "chain ethereum: yes; amount 100 ETH above 10: yes");
    assert_eq!(decision.explanation[1].why, "every transfer: yes");
    let Outcome::Denied { reasons } = decision.outcome else { panic!("must be denied") };
    assert_eq!(reasons.first().unwrap().to_string(), "rule big: because");
}
