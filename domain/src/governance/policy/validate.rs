//! What is wrong with a policy before it is published: all of it at once, each with its place in the document.

mod condition;
mod effect;

use super::{
    super::{
        address_book::AddressBook,
        directory::{CounterpartyId, Directory, UserId},
        role::Role,
    },
    Condition, MAX_RULES, Measure, Policy, TravelRule, Unit,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// One thing to repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Problem {
    /// Such as `rules[3].when.any[0].amount`.
    pub path: String,
    pub message: String,
}

/// Everything that is wrong with `policy`, given who there is and what is listed. Empty: it may be published.
///
/// Evaluation does not rely on it: whatever a policy says, no rule can panic or permit in doubt. What is found here are rules that do not
/// do what their author meant: that never hold, that nobody can meet, that name who does not exist.
pub fn validate(policy: &Policy, directory: &Directory, book: &AddressBook) -> Vec<Problem> {
    let mut check = Check { directory, book, problems: Vec::new() };
    check.policy(policy);
    check.problems
}

struct Check<'a> {
    directory: &'a Directory,
    book: &'a AddressBook,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Notes a problem unless `good`.
    fn must(&mut self, good: bool, path: &str, message: impl Into<String>) {
        if !good {
            self.problems.push(Problem { path: path.to_owned(), message: message.into() });
        }
    }

    fn policy(&mut self, policy: &Policy) {
        let Policy {
            currency: _,
            price_max_age_seconds,
            screening,
            travel_rule,
            prices,
            initiating_services,
            rules,
        } = policy;
        self.must(
            *price_max_age_seconds > 0,
            "priceMaxAgeSeconds",
            "must be above 0, or no price ever counts",
        );
        if let Some(screening) = screening {
            let path = "screening.maxAgeSeconds";
            self.must(screening.max_age_seconds > 0, path, "must be above 0, or no verdict ever counts");
            self.must(!screening.by.is_empty(), "screening.by", "is empty; name at least one service");
            self.services(&screening.by, "screening.by");
        }
        if let Some(prices) = prices {
            self.must(!prices.by.is_empty(), "prices.by", "is empty; name at least one service");
            self.services(&prices.by, "prices.by");
        }
        self.services(initiating_services, "initiatingServices");
        if let Some(rule) = travel_rule {
            self.travel_rule(rule, prices.is_some());
        }
        self.must(rules.len() <= MAX_RULES, "rules", format!("at most {MAX_RULES}"));
        let allows = rules.iter().any(|rule| !rule.then.tightens());
        self.must(
            allows,
            "rules",
            "no rule has the effect ALLOW, so every transfer would be denied; add one",
        );
        let mut ids = BTreeSet::new();
        for (index, rule) in rules.iter().take(MAX_RULES).enumerate() {
            let path = format!("rules[{index}]");
            self.must(ids.insert(&rule.id), &format!("{path}.id"), format!("{} is there twice", rule.id));
            let long = rule.description.chars().count() > 500;
            self.must(!long, &format!("{path}.description"), "at most 500 characters");
            self.condition(&rule.when, &format!("{path}.when"), 1);
            let risk = screening.is_some() || !asks(&rule.when, |part| part.risk.is_some());
            let message = "asks for a risk, which only a screening finds: set screening";
            self.must(risk, &format!("{path}.when"), message);
            let priced = prices.is_some() || !asks(&rule.when, in_fiat);
            self.must(priced, &format!("{path}.when"), UNPRICED);
            self.effect(&rule.then, &format!("{path}.then"));
        }
    }

    /// It is looked at before anybody approves: what is found out only then is not known, which would be as good as always. Nor may it hang on
    /// what somebody could lose, a listing or a role, so that to take those away never spares an exchange.
    fn travel_rule(&mut self, rule: &TravelRule, priced: bool) {
        self.condition(&rule.when, "travelRule.when", 1);
        let later = |part: &Condition| {
            part.velocity.is_some() || part.balance_share_above.is_some() || part.risk.is_some()
        };
        let message =
            "asks for a velocity, a share of the balance or a risk, which are not known at this step";
        self.must(!asks(&rule.when, later), "travelRule.when", message);
        let lost = |part: &Condition| part.destination.is_some() || part.initiator_roles.is_some();
        let message =
            "asks for a destination or a role: name whom nothing is told of under travelRule.selfHosted";
        self.must(!asks(&rule.when, lost), "travelRule.when", message);
        self.must(priced || !asks(&rule.when, in_fiat), "travelRule.when", UNPRICED);
        let book = self.book;
        let all: BTreeSet<_> = book.iter().filter_map(|listed| listed.entry.counterparty.as_ref()).collect();
        let known = |name: &CounterpartyId| all.contains(name);
        self.known(rule.self_hosted.iter(), known, "travelRule.selfHosted", "the address book");
    }

    fn services(&mut self, services: &BTreeSet<UserId>, path: &str) {
        for user in services {
            let known = self.directory.user(user);
            let service = known.is_some_and(|user| user.holds(Role::IntegrationService));
            self.must(service, path, format!("{user} is not an INTEGRATION_SERVICE in the directory"));
        }
    }
}

const UNPRICED: &str = "counts in FIAT, and nobody says what an asset is worth, so that every amount is above every limit: name services that \
                        quote prices under prices.by";

/// Whether a part of the condition, at any depth, asks so.
fn asks(condition: &Condition, so: impl Fn(&Condition) -> bool) -> bool {
    let mut open = vec![condition];
    while let Some(condition) = open.pop() {
        if so(condition) {
            return true;
        }
        open.extend(condition.any.iter().chain(condition.not.as_deref()));
    }
    false
}

fn in_fiat(condition: &Condition) -> bool {
    let amount = condition.amount.as_ref().is_some_and(|test| test.unit == Unit::Fiat);
    let velocity = condition.velocity.as_ref().is_some_and(|test| test.of == Measure::Sum(Unit::Fiat));
    amount || velocity
}

#[cfg(test)]
mod tests;
