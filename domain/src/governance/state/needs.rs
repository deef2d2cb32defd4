//! What a change needs before it counts: whether it tightens or loosens, whose approvals are asked for, and how long it waits.
//!
//! A change tightens if it can only forbid more, under the policy in force and under every policy that waits for its delay. Whatever could
//! allow something that is forbidden now, in some case however odd, is a loosening. (A rejection is not among what this looks at: who leaves a
//! group takes their *no* with them. It ends a transfer when it is given; that one might still be given was never a protection, for
//! whoever carries the votes could leave it out.)

use super::State;
use crate::governance::{
    change::{Change, Class, Quorum, parties},
    directory::{Directory, Group, GroupId, User, UserId, UserKey},
    policy::Policy,
    role::Permission,
};
use std::{collections::BTreeSet, time::Duration};

/// What a change needs besides its author's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Who must approve; `None`: nobody.
    pub quorum: Option<Quorum>,
    /// How long it waits when it has that.
    pub delay: Duration,
    /// Its author gains by it, so that only approvals of other parties count.
    pub author_gains: bool,
}

impl State {
    /// What `change` needs, if `author` proposes it now.
    pub fn needs(&self, change: &Change, author: &UserId) -> Needs {
        let quorum = self.rules.quorum(change.class());
        if change.loosens(self) {
            let author_gains = change.concerns(&self.directory).contains(author);
            return Needs { quorum, delay: quorum.map_or(Duration::ZERO, |it| it.delay()), author_gains };
        }
        let quorum = quorum.filter(|_| self.thins(change));
        Needs { quorum, delay: Duration::ZERO, author_gains: false }
    }

    /// Whether a tightening takes away one of those who can change people, and leaves so few that one of the rest could block whatever they
    /// want: then one person must not do it alone.
    ///
    /// Else somebody hostile among them could suspend the others until every one of the rest is needed for a quorum, and be removed by
    /// nobody any more. As it is, whoever is hostile leaves a quorum of others, and those can suspend them.
    fn thins(&self, change: &Change) -> bool {
        if change.class() != Class::People {
            return false;
        }
        let mut after = (*self.directory).clone();
        // One that cannot be made is refused for that.
        if super::replay::change_people(&mut after, change).is_err() {
            return false;
        }
        let left: BTreeSet<&UserId> = able(&after).into_iter().map(|user| &user.id).collect();
        let takes_one = able(&self.directory).into_iter().any(|user| !left.contains(&user.id));
        takes_one && blocker(&after, self.rules.people).is_some()
    }

    /// The policy in force, and those that wait.
    fn policies(&self) -> impl Iterator<Item = &Policy> {
        let waiting = self.pending.values().filter_map(|pending| match &*pending.change {
            Change::SetPolicy { policy } => Some(policy),
            _ => None,
        });
        self.policy.iter().map(|published| &*published.policy).chain(waiting)
    }

    /// Whether somebody is in this group, or is to be.
    fn seats(&self, group: &GroupId, member: &UserId) -> bool {
        let now = self.directory.group(group).into_iter();
        let waiting = self.pending.values().filter_map(|pending| match &*pending.change {
            Change::PutGroup { group: put } if put.id == *group => Some(put),
            _ => None,
        });
        now.chain(waiting).any(|group| group.members.contains(member))
    }

    /// Whether a user with other roles, of which none is new, could do more.
    fn permits_more(&self, before: &User, after: &User) -> bool {
        // Conditions ask only about who initiates.
        after.may(Permission::Initiate)
            && self.policies().any(|policy| policy.loosened_by_roles(&before.roles, &after.roles))
    }

    fn members_loosen(&self, before: &Group, after: &Group) -> bool {
        let gone: Vec<&UserId> = before.members.difference(&after.members).collect();
        let elsewhere = |group: &GroupId| gone.iter().any(|user| self.seats(group, user));
        self.policies().any(|policy| policy.loosened_by_seats(&after.id, elsewhere))
    }
}

/// Those who can change people.
pub(super) fn able(directory: &Directory) -> Vec<&User> {
    let able = |user: &&User| user.may(Permission::ApprovePeople) && user.can_sign();
    directory.users().filter(able).collect()
}

/// Whether these users can make a loosening change of people.
pub(super) fn suffice<'u>(users: impl Iterator<Item = &'u User> + Clone, people: Quorum) -> bool {
    let parties = parties(users.clone());
    users.count() > usize::from(people.approvals) && parties.len() >= usize::from(people.parties)
}

/// One without whom the others who can change people are no quorum.
pub(super) fn blocker(directory: &Directory, people: Quorum) -> Option<UserId> {
    let able = able(directory);
    let blocks = |one: &&&User| !suffice(able.iter().copied().filter(|user| user.id != one.id), people);
    able.iter().find(blocks).map(|user| user.id.clone())
}

impl Change {
    /// Whether it could allow anything that `state` forbids. What is not clearly a tightening is a loosening.
    pub fn loosens(&self, state: &State) -> bool {
        let directory = &state.directory;
        match self {
            Self::SuspendUser { .. }
            | Self::RemoveKey { .. }
            | Self::RemoveWebhook { .. }
            | Self::Freeze { .. }
            | Self::Veto { .. }
            // Only what waited is enacted, and its quorum was there.
            | Self::Enact { .. } => false,
            Self::SetRoles { user, roles } => !directory.user(user).is_some_and(|before| {
                let after = User { roles: roles.clone(), ..before.clone() };
                roles.is_subset(&before.roles) && !state.permits_more(before, &after)
            }),
            Self::PutUser { user } => !directory.user(&user.id).is_some_and(|before| {
                let same_name = user.name == before.name && user.party == before.party;
                let had = |key: &UserKey| before.keys.iter().any(|before| key.permits_no_more_than(before));
                let no_more_keys = user.keys.iter().all(had);
                same_name
                    && no_more_keys
                    && user.roles.is_subset(&before.roles)
                    && (user.suspended || !before.suspended)
                    && !state.permits_more(before, user)
            }),
            Self::PutGroup { group } => !directory.group(&group.id).is_some_and(|before| {
                group.members.is_subset(&before.members) && !state.members_loosen(before, group)
            }),
            // One that is not there is refused for that.
            Self::RemoveAddress { id } => state
                .address_book
                .get(id)
                .is_some_and(|listed| state.policies().any(|policy| policy.loosened_by_unlisting(&listed.entry))),
            Self::PutWebhook { webhook } => !state
                .webhooks
                .get(&webhook.id)
                .is_some_and(|before| webhook.tells_no_more_than(&before.webhook)),
            Self::Genesis(_)
            | Self::ResumeUser { .. }
            | Self::AddKey { .. }
            | Self::SetPolicy { .. }
            | Self::PutAddress { .. }
            | Self::Lift { .. }
            | Self::SetChangeRules { .. } => true,
        }
    }

    /// The users whom it gives or takes something: nobody approves a change of their own rights. Of a group, those who are to join it.
    pub fn concerns<'c>(&'c self, directory: &Directory) -> BTreeSet<&'c UserId> {
        match self {
            Self::PutUser { user } => [&user.id].into(),
            Self::SuspendUser { user }
            | Self::ResumeUser { user }
            | Self::AddKey { user, .. }
            | Self::RemoveKey { user, .. }
            | Self::SetRoles { user, .. } => [user].into(),
            Self::PutGroup { group } => {
                let before = directory.group(&group.id);
                let joins = |user: &&UserId| before.is_none_or(|before| !before.members.contains(*user));
                group.members.iter().filter(joins).collect()
            }
            _ => BTreeSet::new(),
        }
    }
}
