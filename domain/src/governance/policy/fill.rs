//! What the policy says about an order to use up a nonce ([`crate::fill`]), which pays nobody.
//!
//! Only rules that can be held against it count: over chain, asset, wallet, initiator and role, time window and fee. Whatever else a rule
//! asks about (recipients, amounts, sums, risk) is left open, and an open part settles nothing: a DENY or REQUIRE_SIGNERS applies only if it holds whatever that
//! part says, and an ALLOW suffices unless what can be held against the order excludes it. REQUIRE and DELAY are about payments.

use super::{
    Allowed, Condition, Decision, DenyReason, Effect, Facts, Fired, Match, Outcome, Policy, Request,
    explain::Finding,
    facts::{FactName, Gap},
    matching::Case,
    truth::Truth,
};
use std::collections::BTreeSet;

/// Decides about a filler. `request` has no payouts. Never fails.
pub fn evaluate_fill(policy: &Policy, request: &Request, facts: &Facts) -> Decision {
    let case = Case { policy, request, facts };
    let (mut denied, mut allowed, mut signers) = (BTreeSet::new(), false, BTreeSet::new());
    let mut explanation = Vec::new();
    for rule in &policy.rules {
        let Finding { truth, why } = holds(&case, &rule.when);
        let applies = match &rule.then {
            Effect::Deny { .. } | Effect::RequireSigners { .. } => truth == Truth::Yes,
            Effect::Allow {} => truth != Truth::No,
            Effect::Require(_) | Effect::Delay { .. } => false,
        };
        if applies {
            match &rule.then {
                Effect::Deny { reason } => {
                    denied.insert(DenyReason::Rule { rule: rule.id.clone(), reason: reason.clone() });
                }
                Effect::RequireSigners { parties } => signers.extend(parties),
                Effect::Allow {} => allowed = true,
                Effect::Require(_) | Effect::Delay { .. } => {}
            }
        }
        explanation.push(Fired { rule: rule.id.clone(), matched: Match::from(&truth), applies, why });
    }
    if !allowed {
        denied.insert(DenyReason::NoAllow);
    }
    let outcome = match denied.is_empty() {
        true => Outcome::Allowed(Allowed { signers, ..Allowed::default() }),
        false => Outcome::Denied { reasons: denied },
    };
    Decision { outcome, explanation }
}

/// Only what is about payments is left out, so that a part which is new to [`Condition`] is not.
fn holds(case: &Case<'_>, condition: &Condition) -> Finding {
    let about_payments = condition.operations.is_some()
        || condition.destination.is_some()
        || condition.amount.is_some()
        || condition.velocity.is_some()
        || condition.balance_share_above.is_some()
        || condition.risk.is_some()
        || condition.contract_call.is_some();
    let rest = Condition {
        operations: None,
        destination: None,
        amount: None,
        velocity: None,
        balance_share_above: None,
        risk: None,
        contract_call: None,
        any: Vec::new(),
        not: None,
        ..condition.clone()
    };
    let mut parts = Vec::new();
    if rest != Condition::default() {
        parts.push(case.holds(&rest));
    }
    if about_payments {
        let open = Truth::gap(FactName::Price, Gap::Unknowable);
        parts.push(Finding { truth: open, why: "about payments: open".into() });
    }
    if !condition.any.is_empty() {
        parts.push(Finding::any(condition.any.iter().map(|part| holds(case, part)).collect()));
    }
    parts.extend(condition.not.as_deref().map(|part| Finding::not(holds(case, part))));
    Finding::all(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{amount::Amount, asset::Asset, governance::policy::Operation, time::Timestamp};

    fn decide(rules: &str, fee: u64) -> Outcome {
        let policy = format!(r#"{{"currency":"USD","priceMaxAgeSeconds":60,"rules":{rules}}}"#);
        let policy: Policy = serde_json::from_str(&policy).unwrap();
        let request = Request {
            operation: Operation::Transfer,
            wallet: "ethereum:1/ethereum/0".parse().unwrap(),
            asset: Asset::Eth,
            initiator: "olga".parse().unwrap(),
            initiator_roles: [crate::governance::role::Role::Operator].into(),
            payouts: Vec::new(),
            total: Amount::ZERO,
            max_fee: Amount::from_u64(fee),
        };
        evaluate_fill(&policy, &request, &Facts::unknowable(Timestamp::from_secs(0))).outcome
    }

    fn allowed(rules: &str) -> bool {
        matches!(decide(rules, 10), Outcome::Allowed(_))
    }

    const ALLOW: &str = r#"{"id":"allow","then":{"kind":"ALLOW"}}"#;

    #[test]
    fn rules_over_initiator_fee_and_time_hold_and_those_over_payments_settle_nothing() {
        assert!(!allowed("[]"), "nothing allows");
        assert!(allowed(&format!("[{ALLOW}]")));
        for (when, denies) in [
            (r#"{"initiators":["olga"]}"#, true),
            (r#"{"initiators":["otto"]}"#, false),
            (r#"{"initiatorRoles":["OPERATOR"]}"#, true),
            (r#"{"chains":["ethereum"]}"#, true),
            (r#"{"fee":{"chain":"ethereum","above":"9"}}"#, true),
            (r#"{"fee":{"chain":"ethereum","above":"10"}}"#, false),
            // A Thursday.
            (r#"{"timeWindow":{"days":["THU"],"from":"00:00","to":"24:00"}}"#, true),
            (r#"{"timeWindow":{"days":["FRI"],"from":"00:00","to":"24:00"}}"#, false),
            ("{}", true),
            (r#"{"destination":{"kind":"ONE_TIME"}}"#, false),
            (r#"{"amount":{"in":"ETH","atMost":"1"}}"#, false),
            (r#"{"initiators":["olga"],"destination":{"kind":"ONE_TIME"}}"#, false),
            (r#"{"any":[{"initiators":["olga"]},{"destination":{"kind":"ONE_TIME"}}]}"#, true),
            (r#"{"not":{"destination":{"kind":"ONE_TIME"}}}"#, false),
        ] {
            let deny = format!(r#"{{"id":"deny","when":{when},"then":{{"kind":"DENY","reason":"no"}}}}"#);
            assert_eq!(allowed(&format!("[{ALLOW},{deny}]")), !denies, "{when}");
        }
    }

    #[test]
    fn a_permission_counts_unless_what_can_be_held_against_the_order_excludes_it() {
        for (when, allows) in [
            (r#"{"destination":{"kind":"ANY_LISTED"}}"#, true),
            (r#"{"initiators":["olga"],"amount":{"in":"ETH","atMost":"1"}}"#, true),
            (r#"{"initiators":["otto"],"amount":{"in":"ETH","atMost":"1"}}"#, false),
            (r#"{"assets":["XRP"]}"#, false),
        ] {
            let rule = format!(r#"[{{"id":"allow","when":{when},"then":{{"kind":"ALLOW"}}}}]"#);
            assert_eq!(allowed(&rule), allows, "{when}");
        }
    }

    #[test]
    fn parties_are_asked_for_and_approvals_and_delays_are_not() {
        let rules = format!(
            r#"[{ALLOW},
            {{"id":"two","then":{{"kind":"REQUIRE","of":"ALL","groups":[{{"group":"payments","quorum":2}}]}}}},
            {{"id":"wait","then":{{"kind":"DELAY","seconds":60}}}},
            {{"id":"ours","then":{{"kind":"REQUIRE_SIGNERS","parties":["CLIENT"]}}}}]"#
        );
        let Outcome::Allowed(allowed) = decide(&rules, 10) else { panic!("denied") };
        let signers = [crate::signing::PartyRole::Client].into();
        assert_eq!(allowed, Allowed { signers, ..Allowed::default() });
    }
}
