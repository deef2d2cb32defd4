//! Whether the institution at the other end must be told of a transfer before it is paid.

use super::{Facts, Policy, Request, matching::Case, truth::Truth};
use crate::travel_rule::Demand;

/// What the policy demands of `request`, which has those payouts only that go to institutions. `None`: it says nothing about the travel rule.
///
/// In doubt it is demanded: what is not known never spares anybody the exchange.
pub fn must_tell(policy: &Policy, request: &Request, facts: &Facts) -> Option<Demand> {
    let rule = policy.travel_rule.as_deref()?;
    let finding = Case { policy, request, facts }.holds(&rule.when);
    Some(Demand { asked: finding.truth != Truth::No, why: format!("by the policy: {}", finding.why) })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            AmountTest, Condition, Effect, Gap, TravelRule, Unit,
            tests::{facts, policy, request, rule},
            validate,
        },
        *,
    };
    use crate::{
        amount::Amount,
        governance::{address_book::AddressBook, testing::TestDesk},
    };
    use serde_json::json;
    use std::collections::BTreeSet;

    fn above(unit: Unit, limit: u64) -> Policy {
        let amount = AmountTest { unit, above: Some(Amount::from_u64(limit)), at_most: None };
        let when = Condition { amount: Some(amount), ..Condition::default() };
        let travel_rule = Some(Box::new(TravelRule { self_hosted: BTreeSet::new(), when }));
        Policy { travel_rule, ..policy(vec![]) }
    }

    #[test]
    fn only_a_clear_no_spares_the_exchange() {
        let request = request();
        let asked =
            |policy: &Policy, facts: &Facts| must_tell(policy, &request, facts).map(|demand| demand.asked);
        let plain = policy(vec![]);
        let known = facts(&plain, &request);
        assert_eq!(asked(&plain, &known), None);
        // 100 units, which are worth 10 hundredths.
        let wei = |limit| above(Unit::Asset(request.asset), limit);
        assert_eq!((asked(&wei(99), &known), asked(&wei(100), &known)), (Some(true), Some(false)));
        let fiat = |limit| above(Unit::Fiat, limit);
        assert_eq!((asked(&fiat(9), &known), asked(&fiat(10), &known)), (Some(true), Some(false)));
        for gap in [Gap::Missing, Gap::Unknowable, Gap::Unpriceable] {
            let unpriced = Facts { price: Err(gap), ..known.clone() };
            assert_eq!(asked(&fiat(10), &unpriced), Some(true), "{gap:?}");
        }
        let always = Policy {
            travel_rule: Some(Box::new(TravelRule {
                self_hosted: BTreeSet::new(),
                when: Condition::default(),
            })),
            ..plain
        };
        assert_eq!(asked(&always, &known), Some(true));
    }

    #[test]
    fn what_is_known_later_or_can_be_lost_is_not_asked_for() {
        let desk = TestDesk::new(0);
        let paths = |travel_rule: serde_json::Value| {
            let rules = vec![rule("all", Condition::default(), Effect::Allow {})];
            let travel_rule = Some(serde_json::from_value(travel_rule).unwrap());
            let policy = Policy { travel_rule, ..policy(rules) };
            let problems = validate(&policy, desk.state.directory(), &AddressBook::default());
            problems.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
        };
        let when = |when: serde_json::Value| paths(json!({ "when": when }));
        assert!(paths(json!({})).is_empty());
        assert!(when(json!({ "not": { "amount": { "in": "BTC", "atMost": "5" } } })).is_empty());
        for asked in [
            json!({ "any": [{ "risk": ["HIGH"] }] }),
            json!({ "balanceShareAbove": 5 }),
            json!({ "not": { "destination": { "kind": "ONE_TIME" } } }),
            json!({ "initiatorRoles": ["OPERATOR"] }),
            json!({ "amount": { "in": "FIAT", "above": "5" } }),
        ] {
            assert_eq!(when(asked.clone()), ["travelRule.when"], "{asked}");
        }
        assert_eq!(paths(json!({ "selfHosted": ["nobody"] })), ["travelRule.selfHosted"]);
    }
}
