//! What a policy would permit if something that it speaks of were gone: roles of an initiator, a seat in a group, an entry of the address book.
//!
//! A rule that tightens permits more when its condition stops holding, an ALLOW when it begins to. A condition that asks for something stops
//! holding without it, and one under `not` begins to. Nothing is evaluated here: what some transfer could make true counts as true.

use super::{
    super::{address_book::AddressEntry, directory::GroupId, role::Role},
    Policy, Rule,
    condition::{Condition, DestinationTest},
    effect::{Effect, Requirement},
};
use std::collections::BTreeSet;

/// What becomes of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It held, perhaps, and does not any more.
    Falls,
    /// It holds now, perhaps, and did not.
    Rises,
}

impl Policy {
    /// Whether an initiator who had the roles `before`, and has only `after` of them, could do more.
    pub(in crate::governance) fn loosened_by_roles(
        &self,
        before: &BTreeSet<Role>,
        after: &BTreeSet<Role>,
    ) -> bool {
        let turn = |when: &Condition| {
            let asked = when.initiator_roles.as_ref()?;
            (!asked.is_disjoint(before) && asked.is_disjoint(after)).then_some(Turn::Falls)
        };
        self.rules.iter().any(|rule| rule.loosened(turn))
    }

    /// Whether somebody who leaves `group` could have a seat in another group of a requirement, where their approval would be one that
    /// was lacking. `elsewhere`: whether one of those who leave is in a group.
    pub(in crate::governance) fn loosened_by_seats(
        &self,
        group: &GroupId,
        elsewhere: impl Fn(&GroupId) -> bool,
    ) -> bool {
        let moves = |Requirement { groups, .. }: &Requirement| {
            // The first group in the list has the seat: those before it had it already.
            let later = groups.iter().skip_while(|wanted| wanted.group != *group).skip(1);
            later.map(|wanted| &wanted.group).any(&elsewhere)
        };
        self.rules.iter().any(|rule| matches!(&rule.then, Effect::Require(requirement) if moves(requirement)))
    }

    /// Whether payments to the destination of `entry` could be permitted more when it is no longer listed.
    pub(in crate::governance) fn loosened_by_unlisting(&self, entry: &AddressEntry) -> bool {
        let allows = || self.rules.iter().filter(|rule| !rule.then.tightens());
        if !allows().any(|rule| rule.when.permits_unlisted()) {
            return false;
        }
        let turn = |when: &Condition| {
            Some(match when.destination.as_ref()? {
                DestinationTest::AnyListed { .. } => Turn::Falls,
                DestinationTest::Listed { entries } => entries.contains(&entry.id).then_some(Turn::Falls)?,
                DestinationTest::Counterparty { names } => {
                    entry.counterparty.as_ref().filter(|name| names.contains(*name)).map(|_| Turn::Falls)?
                }
                DestinationTest::OneTime {} => Turn::Rises,
            })
        };
        // Nothing less will do: of a transfer that pays others, too, an ALLOW for what is listed says nothing.
        let allowed_before = allows().any(|rule| rule.when == Condition::default());
        self.rules
            .iter()
            .filter(|rule| rule.then.tightens() || !allowed_before)
            .any(|rule| rule.loosened(turn))
    }
}

impl Rule {
    /// Whether the rule could permit more when its tests turn so.
    fn loosened(&self, turn: impl Fn(&Condition) -> Option<Turn>) -> bool {
        let mut open = vec![(&self.when, false)];
        while let Some((when, negated)) = open.pop() {
            let falls = turn(when).map(|turn| (turn == Turn::Falls) != negated);
            if falls == Some(self.then.tightens()) {
                return true;
            }
            open.extend(when.any.iter().map(|part| (part, negated)));
            open.extend(when.not.as_deref().map(|part| (part, !negated)));
        }
        false
    }
}

impl Condition {
    /// Whether it may hold for a payment to an address that is not listed.
    const fn permits_unlisted(&self) -> bool {
        matches!(self.destination, None | Some(DestinationTest::OneTime {}))
    }
}
