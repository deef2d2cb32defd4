use super::*;
use crate::governance::testing::TestDesk;

/// The problems of the test desk with a policy of these rules, as `path: message`.
fn problems(rules: &str) -> Vec<String> {
    let json = format!(r#"{{"currency":"CHF","priceMaxAgeSeconds":60,"rules":{rules}}}"#);
    whole(&json)
}

fn whole(json: &str) -> Vec<String> {
    let policy: Policy = serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"));
    let desk = TestDesk::new(0);
    let found = validate(&policy, desk.state.directory(), desk.state.address_book());
    found.into_iter().map(|problem| problem.to_string()).collect()
}

/// The problems of one rule with this condition, beside one that allows.
fn of_condition(when: &str) -> Vec<String> {
    problems(&format!(
        r#"[{{"id":"a","then":{{"kind":"ALLOW"}}}},{{"id":"b","when":{when},"then":{{"kind":"DELAY","seconds":1}}}}]"#
    ))
}

fn of_effect(then: &str) -> Vec<String> {
    problems(&format!(r#"[{{"id":"a","then":{{"kind":"ALLOW"}}}},{{"id":"b","then":{then}}}]"#))
}

#[test]
fn a_good_policy_has_no_problems() {
    assert_eq!(of_condition(r#"{"chains":["bitcoin"],"assets":["BTC"]}"#), [""; 0]);
    assert_eq!(
        of_effect(r#"{"kind":"REQUIRE","of":"ALL","groups":[{"group":"payments","quorum":3}]}"#),
        [""; 0]
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems(
        r#"[{"id":"a","when":{"chains":[]},"then":{"kind":"DENY","reason":""}},
            {"id":"a","then":{"kind":"DELAY","seconds":0}}]"#,
    );
    let paths: Vec<_> = found.iter().filter_map(|problem| problem.split(": ").next()).collect();
    assert_eq!(
        paths,
        ["rules", "rules[0].when.chains", "rules[0].then.reason", "rules[1].id", "rules[1].then.seconds"]
    );
}

#[test]
fn conditions_that_never_hold_are_found() {
    for (when, path) in [
        (r#"{"risk":["HIGH"]}"#, "when"),
        (r#"{"amount":{"in":"FIAT","above":"2"}}"#, "when"),
        (r#"{"not":{"velocity":{"windowSeconds":1,"of":"FIAT","groupBy":"ALL","above":"1"}}}"#, "when"),
        (r#"{"contractCall":{},"chains":["xrp"]}"#, "when.contractCall"),
        (r#"{"contractCall":{},"assets":["ETH"]}"#, "when.contractCall"),
        (
            r#"{"contractCall":{"contract":"0x1111111111111111111111111111111111111111"},
                "assets":["erc20:0x2222222222222222222222222222222222222222"]}"#,
            "when.contractCall",
        ),
        (r#"{"contractCall":{"selector":"0x095ea7b3"}}"#, "when.contractCall.selector"),
        (r#"{"initiators":["nobody"]}"#, "when.initiators"),
        (r#"{"destination":{"kind":"LISTED","entries":["x"]}}"#, "when.destination.entries"),
        (r#"{"destination":{"kind":"COUNTERPARTY","names":["x"]}}"#, "when.destination.names"),
        (r#"{"amount":{"in":"ETH"}}"#, "when.amount"),
        (r#"{"amount":{"in":"ETH","above":"2","atMost":"2"}}"#, "when.amount"),
        (r#"{"amount":{"in":"ETH","above":"2"},"chains":["xrp"]}"#, "when.amount.in"),
        (r#"{"amount":{"in":"ETH","above":"2"},"assets":["BTC"]}"#, "when.amount.in"),
        (r#"{"assets":["ETH"],"chains":["xrp"]}"#, "when"),
        (r#"{"wallets":["xrp:0/xrp-ed25519/0"],"assets":["ETH"]}"#, "when"),
        (r#"{"wallets":["xrp:0/xrp-ed25519/0"],"chains":["bitcoin"]}"#, "when"),
        (r#"{"fee":{"chain":"bitcoin","above":"1"},"chains":["xrp"]}"#, "when.fee.chain"),
        (
            r#"{"velocity":{"windowSeconds":0,"of":"COUNT","groupBy":"ALL","above":"1"}}"#,
            "when.velocity.windowSeconds",
        ),
        (
            r#"{"velocity":{"windowSeconds":1,"of":"ETH","groupBy":"ALL","above":"1"},"assets":["BTC"]}"#,
            "when.velocity.of",
        ),
        (r#"{"balanceShareAbove":10000}"#, "when.balanceShareAbove"),
        (r#"{"timeWindow":{"days":[],"from":"09:00","to":"10:00"}}"#, "when.timeWindow.days"),
        (r#"{"timeWindow":{"days":["MON"],"from":"10:00","to":"10:00"}}"#, "when.timeWindow"),
        (
            r#"{"timeWindow":{"days":["MON"],"from":"09:00","to":"10:00","utcOffsetMinutes":841}}"#,
            "when.timeWindow.utcOffsetMinutes",
        ),
        (r#"{"any":[{},{"not":{"assets":[]}}]}"#, "when.any[1].not.assets"),
    ] {
        let found = of_condition(when);
        assert_eq!(found.len(), 1, "{when}: {found:?}");
        assert!(found[0].starts_with(&format!("rules[1].{path}: ")), "{when}: {found:?}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| format!("{}{{}}{}", r#"{"not":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(of_condition(&nested(super::super::MAX_DEPTH - 1)), [""; 0]);
    assert_eq!(of_condition(&nested(super::super::MAX_DEPTH)).len(), 1);
}

#[test]
fn effects_that_nobody_can_meet_are_found() {
    let require = |groups: &str, rest: &str| format!(r#"{{"kind":"REQUIRE","groups":{groups},{rest}}}"#);
    for (then, path) in [
        (require("[]", r#""of":"ALL""#), "then.groups"),
        (require(r#"[{"group":"x","quorum":1}]"#, r#""of":"ALL""#), "then.groups[0].group"),
        (require(r#"[{"group":"payments","quorum":0}]"#, r#""of":"ALL""#), "then.groups[0].quorum"),
        (require(r#"[{"group":"payments","quorum":4}]"#, r#""of":"ALL""#), "then.groups[0].quorum"),
        (require(r#"[{"group":"payments","quorum":1}]"#, r#""of":"ANY","ordered":true"#), "then.ordered"),
        (
            require(r#"[{"group":"payments","quorum":1}]"#, r#""of":"ANY","deadlineSeconds":0"#),
            "then.deadlineSeconds",
        ),
        (r#"{"kind":"DELAY","seconds":99999999}"#.into(), "then.seconds"),
        (r#"{"kind":"REQUIRE_SIGNERS","parties":[]}"#.into(), "then.parties"),
        (r#"{"kind":"DENY","reason":"a\u0007"}"#.into(), "then.reason"),
    ] {
        let found = of_effect(&then);
        assert_eq!(found.len(), 1, "{then}: {found:?}");
        assert!(found[0].starts_with(&format!("rules[1].{path}: ")), "{then}: {found:?}");
    }
}

#[test]
fn services_must_be_services() {
    let found = whole(
        r#"{"currency":"CHF","priceMaxAgeSeconds":0,"initiatingServices":["client.operator","client.service"],
            "prices":{"by":["client.operator"]},
            "screening":{"by":["nobody","platform.screening"],"maxAgeSeconds":0},
            "rules":[{"id":"a","then":{"kind":"ALLOW"}}]}"#,
    );
    assert_eq!(
        found,
        [
            "priceMaxAgeSeconds: must be above 0, or no price ever counts",
            "screening.maxAgeSeconds: must be above 0, or no verdict ever counts",
            "screening.by: nobody is not an INTEGRATION_SERVICE in the directory",
            "prices.by: client.operator is not an INTEGRATION_SERVICE in the directory",
            "initiatingServices: client.operator is not an INTEGRATION_SERVICE in the directory",
        ]
    );
}
