//! What holds of every policy, whatever its rules say.

use super::{generate::*, *};
use proptest::{prelude::*, sample::Index, strategy::ValueTree, test_runner::TestRunner};

fn outcome(policy: &Policy, request: &Request, facts: &Facts) -> Outcome {
    evaluate(policy, request, facts).outcome
}

fn with(policy: &Policy, rule: Rule, place: Index) -> Policy {
    let mut more = policy.clone();
    more.rules.insert(place.index(policy.rules.len() + 1), rule);
    more
}

/// The properties below would hold of cases that are all denied.
#[test]
fn generated_cases_are_allowed_and_denied() {
    let mut runner = TestRunner::deterministic();
    let mut allowed = 0;
    for _ in 0..400 {
        let (policy, request, facts) = case().new_tree(&mut runner).unwrap().current();
        allowed += usize::from(matches!(outcome(&policy, &request, &facts), Outcome::Allowed(_)));
    }
    assert!((40..360).contains(&allowed), "{allowed} of 400 are allowed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn deny_wins_wherever_it_stands((policy, request, facts) in case(), place: Index) {
        let denying = with(&policy, rule("deny", Condition::default(), deny()), place);
        let reason = DenyReason::Rule { rule: name("deny"), reason: "because".into() };
        match outcome(&denying, &request, &facts) {
            Outcome::Denied { reasons } => prop_assert!(reasons.contains(&reason)),
            Outcome::Allowed(_) => prop_assert!(false, "allowed in spite of a DENY"),
        }
    }

    #[test]
    fn a_tightening_rule_more_never_permits_more(
        (policy, request, mut facts) in case(),
        rule in tightening_rule(),
        place: Index,
    ) {
        let tighter = with(&policy, rule, place);
        let asked = tighter.velocity_queries(&request);
        asked.into_iter().for_each(|query| { facts.velocity.entry(query).or_insert(Ok(Amount::ZERO)); });
        let (after, before) = (outcome(&tighter, &request, &facts), outcome(&policy, &request, &facts));
        prop_assert!(after.permits_no_more_than(&before), "{after:?} of {before:?}");
    }

    #[test]
    fn without_a_rule_that_allows_nothing_is((mut policy, request, facts) in case()) {
        policy.rules.retain(|rule| rule.then.tightens());
        let denied = matches!(outcome(&policy, &request, &facts), Outcome::Denied { .. });
        prop_assert!(denied);
    }

    #[test]
    fn a_fact_less_never_permits_more((policy, request, facts) in case(), which: Index, gap in gap()) {
        let mut fewer = facts.clone();
        let lost = which.index(3 + facts.velocity.len());
        // A gap in place of a gap is no fact less.
        match lost {
            0 => fewer.price = fewer.price.and(Err(gap)),
            1 => fewer.balance = fewer.balance.and(Err(gap)),
            2 => fewer.risk = fewer.risk.and(Err(gap)),
            _ => {
                let sum = fewer.velocity.values_mut().nth(lost - 3).expect("within the length");
                *sum = sum.and(Err(gap));
            }
        }
        let (after, before) = (outcome(&policy, &request, &fewer), outcome(&policy, &request, &facts));
        prop_assert!(after.permits_no_more_than(&before), "{after:?} of {before:?}");
    }

    /// A co-signer that knows nothing but its own velocity permits no more than the orchestrator that knows all.
    #[test]
    fn who_knows_nothing_permits_no_more((policy, request, facts) in case()) {
        prop_assume!(facts.price.is_ok() && facts.balance.is_ok() && facts.risk.is_ok());
        let ignorant = Facts { velocity: facts.velocity.clone(), ..Facts::unknowable(facts.now) };
        let (after, before) = (outcome(&policy, &request, &ignorant), outcome(&policy, &request, &facts));
        prop_assert!(after.permits_no_more_than(&before), "{after:?} of {before:?}");
    }

    #[test]
    fn unpriceable_permits_no_more_than_any_price((policy, request, facts) in case(), price in price()) {
        let priced = Facts { price: Ok(price), ..facts.clone() };
        let unpriceable = Facts { price: Err(Gap::Unpriceable), ..facts };
        let (after, before) = (outcome(&policy, &request, &unpriceable), outcome(&policy, &request, &priced));
        prop_assert!(after.permits_no_more_than(&before), "{after:?} of {before:?}");
    }

    #[test]
    fn the_order_of_rules_says_nothing(
        ((policy, request, facts), rules) in case().prop_flat_map(|case| {
            let rules = Just(case.0.rules.clone()).prop_shuffle();
            (Just(case), rules)
        }),
    ) {
        let shuffled = Policy { rules, ..policy.clone() };
        prop_assert_eq!(outcome(&shuffled, &request, &facts), outcome(&policy, &request, &facts));
    }

    #[test]
    fn policies_survive_their_json((policy, request, facts) in case()) {
        let json = serde_json::to_string(&policy).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Policy>(&json).unwrap(), &policy);
        let decision = evaluate(&policy, &request, &facts);
        let json = serde_json::to_string(&decision).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
    }

    #[test]
    fn velocity_queries_have_one_text_each((policy, request, _) in case()) {
        let queries = policy.velocity_queries(&request);
        let texts: BTreeSet<_> = queries.iter().map(ToString::to_string).collect();
        prop_assert_eq!(texts.len(), queries.len());
    }
}
