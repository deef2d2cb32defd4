//! Every kind of condition and effect that docs/policy.md names, each once where it decides and once where it does not, by the whole way from
//! rules in JSON to what must be done.

use super::*;
use crate::{
    governance::{
        approval::{Approval, ApprovalPayload, Ballot, Progress, Vote},
        testing::{TestDesk, key},
    },
    intent::IntentDigest,
    signing::PartyRole,
};

/// A condition, what makes it hold, and what does not.
struct Row {
    names: &'static str,
    when: &'static str,
    holds: fn(&mut Request, &mut Facts),
    fails: fn(&mut Request, &mut Facts),
}

const TOKEN: Asset = Asset::Erc20([0x11; 20]);

fn listing(entry: &str, counterparty: Option<&str>, age: i64) -> Option<Listing> {
    let since = Timestamp(NOW.0 - age * 1_000_000);
    Some(Listing { entry: name(entry), counterparty: counterparty.map(name), since })
}

fn pays(request: &mut Request, amount: u64) {
    request.total = Amount::from_u64(amount);
    request.payouts[0].amount = request.total;
}

fn earlier(facts: &mut Facts, sum: u64) {
    facts.velocity.values_mut().for_each(|before| *before = Ok(Amount::from_u64(sum)));
}

fn rows() -> Vec<Row> {
    let row = |names, when, holds, fails| Row { names, when, holds, fails };
    let mut rows: Vec<Row> = vec![
        row("operation", r#"{"operations":["BATCH"]}"#, |r, _| r.operation = Operation::Batch, |_, _| ()),
        row("chain", r#"{"chains":["ethereum"]}"#, |_, _| (), |r, _| r.asset = Asset::Btc),
        row("asset", r#"{"assets":["ETH"]}"#, |_, _| (), |r, _| r.asset = TOKEN),
        row(
            "source wallet",
            r#"{"wallets":["ethereum:1/ethereum/0"]}"#,
            |_, _| (),
            |r, _| {
                r.wallet = name("ethereum:1/ethereum/1");
            },
        ),
        row(
            "address-book entry",
            r#"{"destination":{"kind":"LISTED","entries":["kraken"]}}"#,
            |r, _| r.payouts[0].listing = listing("kraken", None, 0),
            |r, _| r.payouts[0].listing = listing("bitstamp", None, 0),
        ),
        row(
            "listed for how long",
            r#"{"destination":{"kind":"ANY_LISTED","forAtLeastSeconds":60}}"#,
            |r, _| r.payouts[0].listing = listing("kraken", None, 60),
            |r, _| r.payouts[0].listing = listing("kraken", None, 59),
        ),
        row(
            "one-time",
            r#"{"destination":{"kind":"ONE_TIME"}}"#,
            |_, _| (),
            |r, _| {
                r.payouts[0].listing = listing("kraken", None, 0);
            },
        ),
        row(
            "counterparty",
            r#"{"destination":{"kind":"COUNTERPARTY","names":["exchange"]}}"#,
            |r, _| r.payouts[0].listing = listing("kraken", Some("exchange"), 0),
            |r, _| r.payouts[0].listing = listing("kraken", Some("bank"), 0),
        ),
        row("initiator", r#"{"initiators":["olga"]}"#, |_, _| (), |r, _| r.initiator = name("otto")),
        row(
            "initiator's role",
            r#"{"initiatorRoles":["OPERATOR"]}"#,
            |_, _| (),
            |r, _| r.initiator_roles.clear(),
        ),
        row("amount in the asset", r#"{"amount":{"in":"ETH","above":"99"}}"#, |_, _| (), |r, _| pays(r, 99)),
        // Ten units are a hundredth.
        row("amount in fiat", r#"{"amount":{"in":"FIAT","above":"9"}}"#, |_, _| (), |r, _| pays(r, 90)),
        row(
            "amount in fiat, two ends",
            r#"{"amount":{"in":"FIAT","above":"8","atMost":"9"}}"#,
            |r, _| pays(r, 90),
            |_, _| (),
        ),
        row(
            "share of balance",
            r#"{"balanceShareAbove":999}"#,
            |_, _| (),
            |_, f| f.balance = Ok(Amount::from_u64(1002)),
        ),
        row(
            "time window",
            r#"{"timeWindow":{"days":["THU"],"from":"00:00","to":"01:00"}}"#,
            |_, _| (),
            |_, f| f.now = Timestamp(NOW.0 + 3_600_000_000),
        ),
        row("KYT risk", r#"{"risk":["HIGH"]}"#, |_, f| f.risk = Ok(RiskBand::High), |_, _| ()),
        row(
            "fee cap",
            r#"{"fee":{"chain":"ethereum","above":"4"}}"#,
            |_, _| (),
            |r, _| r.max_fee = Amount::from_u64(4),
        ),
        row("contract call", r#"{"contractCall":{}}"#, |r, _| r.asset = TOKEN, |_, _| ()),
        row(
            "contract call: which contract",
            r#"{"contractCall":{"contract":"0x1111111111111111111111111111111111111111"}}"#,
            |r, _| r.asset = TOKEN,
            |r, _| r.asset = Asset::Erc20([0x12; 20]),
        ),
        row(
            "contract call: which function",
            r#"{"contractCall":{"selector":"0xa9059cbb"}}"#,
            |r, _| r.asset = TOKEN,
            |_, _| (),
        ),
        row(
            "any",
            r#"{"any":[{"chains":["xrp"]},{"initiators":["olga"]}]}"#,
            |_, _| (),
            |r, _| r.initiator = name("otto"),
        ),
        row("not", r#"{"not":{"initiators":["otto"]}}"#, |_, _| (), |r, _| r.initiator = name("otto")),
    ];
    for (names, when) in [
        (
            "count, by wallet",
            r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"WALLET","above":"5"}}"#,
        ),
        (
            "count, by initiator",
            r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"INITIATOR","above":"5"}}"#,
        ),
        (
            "count, by destination",
            r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"DESTINATION","above":"5"}}"#,
        ),
        ("count, of all", r#"{"velocity":{"windowSeconds":60,"of":"COUNT","groupBy":"ALL","above":"5"}}"#),
    ] {
        rows.push(row(names, when, |_, f| earlier(f, 5), |_, f| earlier(f, 4)));
    }
    for (names, when) in [
        (
            "sum, by wallet",
            r#"{"velocity":{"windowSeconds":60,"of":"ETH","groupBy":"WALLET","above":"150"}}"#,
        ),
        (
            "sum, by destination",
            r#"{"velocity":{"windowSeconds":60,"of":"ETH","groupBy":"DESTINATION","above":"150"}}"#,
        ),
    ] {
        rows.push(row(names, when, |_, f| earlier(f, 51), |_, f| earlier(f, 50)));
    }
    let fiat = r#"{"velocity":{"windowSeconds":60,"of":"FIAT","groupBy":"ALL","above":"15"}}"#;
    rows.push(row("sum in fiat", fiat, |_, f| earlier(f, 6), |_, f| earlier(f, 5)));
    rows
}

/// Which of these rules' effects apply.
fn decide(rules: &str, change: fn(&mut Request, &mut Facts)) -> Decision {
    let rules: Vec<Rule> = serde_json::from_str(rules).unwrap_or_else(|error| panic!("{rules}: {error}"));
    let policy = policy(rules);
    let (mut request, mut facts) = (request(), facts(&policy, &request()));
    change(&mut request, &mut facts);
    evaluate(&policy, &request, &facts)
}

#[test]
fn each_condition_decides_under_an_effect_that_forbids_and_one_that_permits() {
    for Row { names, when, holds, fails } in rows() {
        let allow = format!(r#"[{{"id":"r","when":{when},"then":{{"kind":"ALLOW"}}}}]"#);
        let deny = format!(
            r#"[{{"id":"r","when":{when},"then":{{"kind":"DENY","reason":"no"}}}},{{"id":"all","then":{{"kind":"ALLOW"}}}}]"#
        );
        let allowed = |rules: &str, change| matches!(decide(rules, change).outcome, Outcome::Allowed(_));
        assert!(allowed(&allow, holds) && !allowed(&deny, holds), "{names} holds");
        assert!(!allowed(&allow, fails) && allowed(&deny, fails), "{names} does not hold");
    }
}

/// What policy knows of the request is the intent's, so that a co-signer knows it as well.
#[test]
fn only_tokens_call_contracts() {
    let call = |asset| Request { asset, ..request() }.contract_call();
    let token = ContractCall { contract: ContractAddress([0x11; 20]), selector: Selector::TRANSFER };
    assert_eq!(call(TOKEN), Some(token));
    for asset in [Asset::Eth, Asset::Btc, Asset::Xrp] {
        assert_eq!(call(asset), None);
    }
    for json in [
        r#"{"contractCall":{"selector":"a9059cbb"}}"#,
        r#"{"contractCall":{"selector":"0xa9059c"}}"#,
        r#"{"contractCall":{"contract":"0x11"}}"#,
        r#"{"contractCall":{"value":"1"}}"#,
    ] {
        assert!(serde_json::from_str::<Condition>(json).is_err(), "{json}");
    }
}

#[test]
fn each_effect_does_what_it_says() {
    let all = r#"{"id":"all","then":{"kind":"ALLOW"}}"#;
    let with = |then: &str| match decide(&format!(r#"[{all},{{"id":"r","then":{then}}}]"#), |_, _| ()).outcome
    {
        Outcome::Allowed(allowed) => Ok(allowed),
        Outcome::Denied { reasons } => Err(reasons.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    assert_eq!(with(r#"{"kind":"DENY","reason":"no"}"#), Err(vec!["rule r: no".into()]));
    assert_eq!(with(r#"{"kind":"ALLOW"}"#), Ok(Allowed::default()));
    assert_eq!(with(r#"{"kind":"DELAY","seconds":60}"#).unwrap().delay_seconds, 60);
    let signers = with(r#"{"kind":"REQUIRE_SIGNERS","parties":["CLIENT"]}"#).unwrap().signers;
    assert_eq!(signers, BTreeSet::from([PartyRole::Client]));
    let required =
        with(r#"{"kind":"REQUIRE","of":"ANY","groups":[{"group":"g","quorum":2}]}"#).unwrap().requirements;
    assert_eq!(required.first().unwrap().requirement.groups[0].quorum, 2);
    // Nothing allows.
    let none = decide(r#"[{"id":"r","then":{"kind":"DELAY","seconds":60}}]"#, |_, _| ());
    assert!(matches!(none.outcome, Outcome::Denied { .. }));
}

/// Who approved when, by seconds after the submission, and whether that is enough, or never will be.
fn votes(requirement: &str, votes: &[(&str, i64)], now: i64) -> (bool, bool) {
    let mut genesis = crate::governance::testing::genesis(crate::governance::testing::rules(0));
    for (id, members) in [("client", "client.approver"), ("manager", "manager.approver")] {
        let group = crate::governance::directory::Group { id: name(id), members: [name(members)].into() };
        genesis.groups.push(group);
    }
    let desk = TestDesk::found(genesis);
    let at = |seconds: i64| Timestamp(NOW.0 + seconds * 1_000_000);
    let (head, intent, initiator) = (desk.state.head(), IntentDigest([1; 32]), name("client.operator"));
    let approve = |(user, seconds): &(&str, i64)| {
        let given_at = at(*seconds);
        let payload = ApprovalPayload {
            intent,
            policy: head,
            head,
            vote: Vote::Approve,
            given_at,
            expires_at: at(10_000),
        };
        Approval { signature: key(user).sign(&payload.digest()), payload }
    };
    let approvals: Vec<_> = votes.iter().map(approve).collect();
    let required = Required { rule: name("r"), requirement: serde_json::from_str(requirement).unwrap() };
    let ballot = Ballot {
        state: &desk.state,
        policy: head,
        intent,
        initiator: &initiator,
        submitted_at: NOW,
        now: at(now),
    };
    let Progress { requirements, .. } = ballot.count([&required], &approvals);
    (requirements[0].met, requirements[0].overdue)
}

#[test]
fn requirements_count_quorums_of_all_or_any_in_order_and_in_time() {
    const OPEN: (bool, bool) = (false, false);
    const MET: (bool, bool) = (true, false);
    const OVERDUE: (bool, bool) = (false, true);
    let quorum = r#"{"of":"ALL","groups":[{"group":"payments","quorum":2}]}"#;
    assert_eq!(votes(quorum, &[("client.approver", 1)], 5), OPEN);
    assert_eq!(votes(quorum, &[("client.approver", 1), ("client.approver", 2)], 5), OPEN);
    assert_eq!(votes(quorum, &[("client.approver", 1), ("platform.approver", 2)], 5), MET);
    let groups = r#"[{"group":"client","quorum":1},{"group":"manager","quorum":1}]"#;
    let all = format!(r#"{{"of":"ALL","groups":{groups}}}"#);
    let any = format!(r#"{{"of":"ANY","groups":{groups}}}"#);
    let one = [("manager.approver", 1)];
    assert_eq!((votes(&all, &one, 5), votes(&any, &one, 5)), (OPEN, MET));
    assert_eq!(votes(&all, &[("manager.approver", 1), ("client.approver", 2)], 5), MET);
    // The manager after the client, and both within a minute.
    let ordered = format!(r#"{{"of":"ALL","groups":{groups},"ordered":true,"deadlineSeconds":60}}"#);
    assert_eq!(votes(&ordered, &[("client.approver", 1), ("manager.approver", 2)], 5), MET);
    assert_eq!(votes(&ordered, &[("manager.approver", 1), ("client.approver", 2)], 5), OPEN);
    assert_eq!(votes(&ordered, &[("client.approver", 1), ("manager.approver", 60)], 60), MET);
    assert_eq!(votes(&ordered, &[("client.approver", 1), ("manager.approver", 61)], 61), OVERDUE);
    assert_eq!(votes(&ordered, &[("client.approver", 1), ("manager.approver", 2)], 100), MET);
    assert_eq!(votes(&ordered, &[("client.approver", 1)], 60), OPEN);
}

/// Tags are the receiver's own: whoever is paid under a thousand of them is one.
#[test]
fn a_tag_is_no_other_destination() {
    let to = |tag| {
        let mut request = Request { wallet: name("xrp:0/xrp-ed25519/0"), asset: Asset::Xrp, ..request() };
        request.payouts[0].destination = Destination { address: "rExchange".into(), tag };
        request
    };
    let json = r#"{"velocity":{"windowSeconds":60,"of":"XRP","groupBy":"DESTINATION","above":"150"}}"#;
    let when: Condition = serde_json::from_str(json).unwrap();
    let policy = policy(vec![rule("r", when, deny()), rule("all", Condition::default(), Effect::Allow {})]);
    let queries: Vec<_> = [None, Some(0), Some(7)].map(|tag| policy.velocity_queries(&to(tag))).into();
    assert!(queries.iter().all(|query| *query == queries[0] && query.len() == 1), "{queries:?}");
    let query = queries[0].first().unwrap();
    assert_eq!(query.to_string(), "60 XRP destination xrp:0 rExchange");
    assert_eq!(query.adds(&policy, &to(Some(7)), &Facts::unknowable(NOW)), Ok(Amount::from_u64(100)));
}

#[test]
fn what_no_rule_asks_for_yet_is_counted() {
    let mut priced = policy(Vec::new());
    let names = |policy: &Policy| -> Vec<String> {
        policy.velocity_standing(&request()).iter().map(ToString::to_string).collect()
    };
    let plain = names(&priced);
    assert_eq!(plain.len(), 8, "{plain:?}");
    for kept in [
        "0 COUNT all",
        "0 ETH wallet ethereum:1/ethereum/0",
        "0 ETH initiator olga",
        "0 COUNT destination ethereum:1 0x01",
    ] {
        assert!(plain.iter().any(|name| name == kept), "{kept}");
    }
    priced.prices = Some(Prices { by: [name("service")].into() });
    assert!(names(&priced).contains(&"0 FIAT all".to_owned()));
}
