//! The published rules: which transfers are allowed, who must approve them, how long they wait.
//!
//! A policy is part of the governance log, so that the orchestrator and every co-signer decide by the same one. Deciding is
//! pure: [`evaluate`] takes the policy, what is asked ([`Request`]) and what is known ([`Facts`]), and gives a [`Decision`].
//!
//! **Nothing is ever permitted by what is not known.** A condition is yes, no, or unsure. A rule that tightens
//! (DENY, REQUIRE, DELAY, REQUIRE_SIGNERS) holds unless its condition is a clear no; a rule that permits (ALLOW) holds only if it
//! is a clear yes. From this alone follow the properties that the tests prove: a fact less never permits more, and an
//! amount without a price is treated no better than any price would be. docs/policy.md is the reference for its writers.

mod call;
mod condition;
mod effect;
mod evaluate;
mod explain;
mod facts;
mod fill;
mod matching;
mod removal;
mod request;
mod travel;
mod truth;
mod validate;
mod velocity;

pub use call::{ContractAddress, ContractCall, ContractCallTest, InvalidCall, Selector};
pub use condition::{
    AmountTest, Condition, Day, DestinationTest, FeeTest, GroupBy, Measure, TimeOfDay, TimeWindow, Unit,
    VelocityTest,
};
pub use effect::{Effect, GroupQuorum, Of, Requirement};
pub use evaluate::{Allowed, Decision, DenyReason, Outcome, Required, evaluate};
pub use explain::{Fired, Match};
pub use facts::{Currency, Fact, FactName, Facts, Gap, Price, RiskBand};
pub use fill::evaluate_fill;
pub use request::{Listing, Operation, Payout, Request};
pub use travel::must_tell;
pub use validate::{Problem, validate};
pub use velocity::{VelocityGroup, VelocityQuery};

use super::directory::{CounterpartyId, UserId};
use crate::text::serde_as_text;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// The most rules in one policy.
pub const MAX_RULES: usize = 500;
/// How deep `any` and `not` may nest.
pub const MAX_DEPTH: usize = 8;

/// The rules in force. The order of `rules` has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The reference currency of every amount in fiat, which is counted in hundredths of it.
    pub currency: Currency,
    /// An older price is no price. Seconds.
    pub price_max_age_seconds: u64,
    /// Nothing is authorized without a screening verdict, if present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screening: Option<Screening>,
    /// Of which transfers the institution at the other end is told first. Without it each installation says so itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub travel_rule: Option<Box<TravelRule>>,
    /// Whose prices count. Without it, every amount in fiat is above every limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// The integration services that may initiate transfers. People need the role OPERATOR instead.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub initiating_services: BTreeSet<UserId>,
    pub rules: Vec<Rule>,
}

impl Policy {
    /// Whether some rule counts time from when an order was first seen: a delay, or a deadline for approvals.
    pub fn times_orders(&self) -> bool {
        let times = |effect: &Effect| match effect {
            Effect::Delay { .. } => true,
            Effect::Require(requirement) => requirement.deadline_seconds.is_some(),
            Effect::Deny { .. } | Effect::RequireSigners { .. } | Effect::Allow {} => false,
        };
        self.rules.iter().any(|rule| times(&rule.then))
    }
}

/// Whose verdicts count, and how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Screening {
    /// The integration services whose verdicts are believed. Any one of them suffices.
    pub by: BTreeSet<UserId>,
    /// A verdict counts this long after the screening, and never past its own expiry. Seconds.
    pub max_age_seconds: u64,
}

/// Which transfers need an exchange under the travel rule (docs/travel-rule.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TravelRule {
    /// Counterparties of the address book behind which there is no institution. What goes to them needs none, nor what goes to wallets of
    /// this installation.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub self_hosted: BTreeSet<CounterpartyId>,
    /// Of what goes to all others, as if it were the whole order. Absent: always.
    #[serde(default)]
    pub when: Condition,
}

/// Whose quotes are believed, as long as `price_max_age_seconds` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prices {
    /// Integration services. Of their quotes the freshest counts.
    pub by: BTreeSet<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    pub id: RuleId,
    /// For people; has no effect.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Absent: every transfer.
    #[serde(default)]
    pub when: Condition,
    pub then: Effect,
}

/// Names a rule within its policy: 1 to 64 of `a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a rule id: must be 1 to 64 characters of a-z 0-9 . _ -")]
pub struct InvalidRuleId;

impl FromStr for RuleId {
    type Err = InvalidRuleId;
    fn from_str(text: &str) -> Result<Self, InvalidRuleId> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
        let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        valid.then(|| Self(text.to_owned())).ok_or(InvalidRuleId)
    }
}
impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
serde_as_text!(RuleId);

#[cfg(test)]
mod tests;
