//! Combines what the rules say. Deny wins, what tightens adds up, and something must allow.

use super::{
    Policy, Request, Rule, RuleId,
    effect::{Effect, Requirement},
    explain::{Finding, Fired, Match},
    facts::{FactName, Facts},
    matching::Case,
    truth::Truth,
};
use crate::signing::PartyRole;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What the policy says about a transfer, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Decision {
    pub outcome: Outcome,
    /// Each rule, in the policy's order.
    pub explanation: Vec<Fired>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// Never empty.
    Denied {
        reasons: BTreeSet<DenyReason>,
    },
    Allowed(Allowed),
}

/// Permitted, if all of this is met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Allowed {
    pub requirements: BTreeSet<Required>,
    /// Counted from the submission.
    pub delay_seconds: u64,
    /// Whose co-signers must take part.
    pub signers: BTreeSet<PartyRole>,
}

/// A requirement and the rule that made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Required {
    pub rule: RuleId,
    pub requirement: Requirement,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum DenyReason {
    #[error("rule {rule}: {reason}")]
    Rule { rule: RuleId, reason: String },
    #[error("rule {rule} cannot be evaluated: {fact} is missing")]
    Missing { rule: RuleId, fact: FactName },
    #[error("no rule allows this transfer")]
    NoAllow,
}

/// Decides. Never fails: what cannot be evaluated is denied.
pub fn evaluate(policy: &Policy, request: &Request, facts: &Facts) -> Decision {
    let case = Case { policy, request, facts };
    let mut sum = Sum::default();
    let explanation = policy.rules.iter().map(|rule| sum.add(rule, case.holds(&rule.when))).collect();
    Decision { outcome: sum.outcome(), explanation }
}

/// Grows with each rule; every field is one in which order does not count.
#[derive(Default)]
struct Sum {
    denied: BTreeSet<DenyReason>,
    allowed: bool,
    needs: Allowed,
}

impl Sum {
    fn add(&mut self, rule: &Rule, Finding { truth, why }: Finding) -> Fired {
        let id = &rule.id;
        self.denied.extend(truth.missing().map(|fact| DenyReason::Missing { rule: id.clone(), fact }));
        let applies = match &truth {
            Truth::Yes => true,
            Truth::No => false,
            Truth::Unsure(_) => rule.then.tightens(),
        };
        if applies {
            self.apply(id, &rule.then);
        }
        Fired { rule: id.clone(), matched: Match::from(&truth), applies, why }
    }

    fn apply(&mut self, rule: &RuleId, effect: &Effect) {
        let needs = &mut self.needs;
        match effect {
            Effect::Deny { reason } => {
                self.denied.insert(DenyReason::Rule { rule: rule.clone(), reason: reason.clone() });
            }
            Effect::Require(requirement) => {
                needs.requirements.insert(Required { rule: rule.clone(), requirement: requirement.clone() });
            }
            Effect::Delay { seconds } => needs.delay_seconds = needs.delay_seconds.saturating_add(*seconds),
            Effect::RequireSigners { parties } => needs.signers.extend(parties),
            Effect::Allow {} => self.allowed = true,
        }
    }

    fn outcome(mut self) -> Outcome {
        if !self.allowed {
            self.denied.insert(DenyReason::NoAllow);
        }
        if self.denied.is_empty() {
            Outcome::Allowed(self.needs)
        } else {
            Outcome::Denied { reasons: self.denied }
        }
    }
}

impl Outcome {
    /// Whether `self` permits at most what `other` permits: it is denied, or asks for all that `other` asks for.
    pub fn permits_no_more_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Denied { .. }, _) => true,
            (Self::Allowed(_), Self::Denied { .. }) => false,
            (Self::Allowed(ours), Self::Allowed(theirs)) => {
                ours.requirements.is_superset(&theirs.requirements)
                    && ours.delay_seconds >= theirs.delay_seconds
                    && ours.signers.is_superset(&theirs.signers)
            }
        }
    }
}
