//! Effects that nobody can meet.

use super::{
    super::effect::{Effect, Of, Requirement},
    Check,
};
use crate::governance::{
    directory::{Group, UserId, is_label},
    role::Permission,
};
use std::collections::BTreeSet;

/// The longest delay and deadline: 90 days. Seconds.
const MAX_SECONDS: u64 = 90 * 86_400;
const MAX_GROUPS: usize = 16;

impl Check<'_> {
    pub(super) fn effect(&mut self, effect: &Effect, path: &str) {
        let seconds = |seconds: &u64| (1..=MAX_SECONDS).contains(seconds);
        match effect {
            Effect::Deny { reason } => {
                let at = format!("{path}.reason");
                self.must(
                    is_label(reason, 200),
                    &at,
                    "must be 1 to 200 characters without control characters",
                );
            }
            Effect::Require(requirement) => {
                if let Some(deadline) = &requirement.deadline_seconds {
                    let at = format!("{path}.deadlineSeconds");
                    self.must(seconds(deadline), &at, format!("must be 1 to {MAX_SECONDS}"));
                }
                self.requirement(requirement, path);
            }
            Effect::Delay { seconds: delay } => {
                self.must(seconds(delay), &format!("{path}.seconds"), format!("must be 1 to {MAX_SECONDS}"));
            }
            Effect::RequireSigners { parties } => {
                self.must(
                    !parties.is_empty(),
                    &format!("{path}.parties"),
                    "is empty; name at least one party",
                );
            }
            Effect::Allow {} => {}
        }
    }

    fn requirement(&mut self, requirement: &Requirement, path: &str) {
        let Requirement { of, groups, ordered, deadline_seconds: _ } = requirement;
        let count = (1..=MAX_GROUPS).contains(&groups.len());
        self.must(count, &format!("{path}.groups"), format!("must be 1 to {MAX_GROUPS}"));
        let order = !ordered || *of == Of::All;
        self.must(order, &format!("{path}.ordered"), "has no meaning with ANY; use ALL or leave it out");
        // As approvals are counted: who is in several groups has the seat of the first.
        let mut seated: BTreeSet<&UserId> = BTreeSet::new();
        let mut named = BTreeSet::new();
        let directory = self.directory;
        for (index, wanted) in groups.iter().take(MAX_GROUPS).enumerate() {
            let at = format!("{path}.groups[{index}]");
            self.must(named.insert(&wanted.group), &at, format!("{} is there twice", wanted.group));
            self.must(wanted.quorum > 0, &format!("{at}.quorum"), "must be at least 1");
            let Some(group) = directory.group(&wanted.group) else {
                self.must(false, &format!("{at}.group"), format!("{} is not in the directory", wanted.group));
                continue;
            };
            let approver = |user: &&UserId| directory.may(user, Permission::ApproveTransfer);
            let Group { members, .. } = group;
            let able = members.iter().filter(approver).filter(|user| !seated.contains(user)).count();
            let enough = able >= usize::from(wanted.quorum);
            let message = format!(
                "{} of {}, but only {able} active members are approvers who have no seat in an earlier group",
                wanted.quorum, wanted.group
            );
            self.must(enough, &format!("{at}.quorum"), message);
            seated.extend(members);
        }
    }
}
