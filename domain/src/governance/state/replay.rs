//! One entry after the other: does it count, and what does it bring about? Everything is judged by the state before it.

use super::{Accepted, Effect, InvalidChange, Pending, PublishedPolicy, Refused, State};
use crate::{
    governance::{
        address_book::{AddressBook, Listed},
        change::{Change, ChangeRules, Class, Genesis, MAX_REASON, parties},
        directory::{Directory, InvalidDirectory, User, UserId, is_label},
        freeze::{Freeze, Freezes},
        log::{Document, Entry, EntryDigest, Head, InvalidEntry},
        role::Permission,
        signature::Signer,
    },
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn genesis(entry: &Entry, pinned: EntryDigest) -> Result<State, Refused> {
    // First, for it bounds what is hashed.
    let document = entry.read()?;
    let digest = entry.digest();
    if digest != pinned {
        return Err(Refused::OtherGenesis { pinned, found: digest });
    }
    let (0, EntryDigest::NONE, Change::Genesis(genesis)) =
        (document.seq, document.previous, &document.change)
    else {
        return Err(Refused::NotGenesis);
    };
    let state = State {
        genesis: digest,
        head: Head { seq: 0, digest },
        directory: Arc::new(first_directory(genesis)?),
        rules: genesis.rules.clone(),
        policy: None,
        address_book: Arc::new(AddressBook::default()),
        freezes: Freezes::default(),
        pending: BTreeMap::new(),
    };
    if !is_label(&genesis.desk, 100) {
        return Err(InvalidChange::Desk.into());
    }
    genesis.rules.validate().map_err(InvalidChange::from)?;
    state.keeps_people_changeable()?;
    // The pin is what makes it count. The signatures show that their users hold the keys that it gives them.
    signers(&state.directory, entry, digest)?;
    Ok(state)
}

fn first_directory(genesis: &Genesis) -> Result<Directory, InvalidChange> {
    let mut directory = Directory::default();
    for user in &genesis.users {
        if directory.user(&user.id).is_some() {
            return Err(InvalidDirectory::UserTwice(user.id.clone()).into());
        }
        directory.put_user(user)?;
    }
    for group in &genesis.groups {
        if directory.group(&group.id).is_some() {
            return Err(InvalidDirectory::GroupTwice(group.id.clone()).into());
        }
        directory.put_group(group)?;
    }
    Ok(directory)
}

pub(super) fn next(state: &State, entry: &Entry, now: Timestamp) -> Result<(State, Accepted), Refused> {
    let Document { seq, previous, author, change, .. } = entry.read()?;
    // A log ends long before 2⁶⁴ entries.
    let expected = state.head.seq.saturating_add(1);
    if matches!(change, Change::Genesis(_)) {
        return Err(Refused::NotGenesis);
    }
    if seq != expected {
        return Err(Refused::Place { expected, found: seq });
    }
    if previous != state.head.digest {
        return Err(Refused::Previous { head: state.head });
    }
    let digest = entry.digest();
    let signers = signers(&state.directory, entry, digest)?;
    let loosens = change.loosens(state);
    judge(&change, &signers)?;

    let change = Arc::new(change);
    let head = Head { seq, digest };
    let mut next = State { head, ..state.clone() };
    let delay = match state.rules.quorum(change.class()) {
        Some(quorum) if loosens => quorum.delay(),
        _ => std::time::Duration::ZERO,
    };
    let effect = if delay.is_zero() {
        next.apply(head, &author, &change, now)?;
        // After everything else: a proposal that lacks only signatures is told apart from one that no signature could save.
        count(state, &change, &signers, loosens)?;
        Effect::InForce
    } else {
        // What could not be done today is not worth waiting for.
        next.clone().apply(head, &author, &change, now)?;
        count(state, &change, &signers, loosens)?;
        let until = now.plus(delay);
        let pending = Pending { seq, digest, author: author.clone(), change: change.clone(), until };
        next.pending.insert(seq, pending);
        Effect::Waits { until }
    };
    Ok((next, Accepted { head, author, change, effect }))
}

/// Every signature must verify: what somebody attached that proves nothing would be carried along for ever.
fn signers<'d>(
    directory: &'d Directory,
    entry: &Entry,
    digest: EntryDigest,
) -> Result<Vec<&'d User>, InvalidEntry> {
    let verify = |(index, signature): (usize, &crate::governance::signature::Signature)| {
        signature
            .verify(directory, &digest.0)
            .map(|Signer { user, .. }| user)
            .map_err(|source| InvalidEntry::Signature { index, source })
    };
    entry.signatures.iter().enumerate().map(verify).collect()
}

/// Whether these users may make this change. The first is its author.
fn judge(change: &Change, signers: &[&User]) -> Result<(), Refused> {
    let (Some((author, approvers)), Some(propose)) = (signers.split_first(), change.propose()) else {
        return Err(Refused::NotGenesis);
    };
    let name = change.name();
    if !author.may(propose) {
        return Err(Refused::MayNotPropose { user: author.id.clone(), change: name });
    }
    for approver in approvers {
        if !change.class().approve().is_some_and(|permission| approver.may(permission)) {
            return Err(Refused::MayNotApprove { user: approver.id.clone(), change: name });
        }
        if change.concerns() == Some(&approver.id) {
            return Err(Refused::OwnRights { user: approver.id.clone(), change: name });
        }
    }
    Ok(())
}

/// Whether there are enough of them.
fn count(state: &State, change: &Change, signers: &[&User], loosens: bool) -> Result<(), Refused> {
    let name = change.name();
    let approvers = signers.get(1..).unwrap_or_default();
    if let Some(quorum) = state.rules.quorum(change.class()).filter(|_| loosens) {
        if approvers.len() < usize::from(quorum.approvals) {
            return Err(Refused::Approvals { change: name, have: approvers.len(), need: quorum.approvals });
        }
        let have = parties(signers.iter().copied()).len();
        if have < usize::from(quorum.parties) {
            return Err(Refused::Parties { change: name, have, need: quorum.parties });
        }
    }
    Ok(())
}

impl Change {
    /// Whether it could allow anything that `state` forbids. What is not clearly a tightening is a loosening.
    pub fn loosens(&self, state: &State) -> bool {
        match self {
            Self::SuspendUser { .. }
            | Self::RemoveKey { .. }
            | Self::RemoveAddress { .. }
            | Self::Freeze { .. }
            | Self::Veto { .. }
            // Only what waited is enacted, and its quorum was there.
            | Self::Enact { .. } => false,
            Self::SetRoles { user, roles } => {
                !state.directory.user(user).is_some_and(|before| roles.is_subset(&before.roles))
            }
            Self::PutUser { user } => !state.directory.user(&user.id).is_some_and(|before| {
                let same_name = user.name == before.name && user.party == before.party;
                let no_more_keys = user.keys.iter().all(|key| before.keys.contains(key));
                same_name
                    && no_more_keys
                    && user.roles.is_subset(&before.roles)
                    && (user.suspended || !before.suspended)
            }),
            Self::PutGroup { group } => !state
                .directory
                .group(&group.id)
                .is_some_and(|before| group.members.is_subset(&before.members)),
            Self::Genesis(_)
            | Self::ResumeUser { .. }
            | Self::AddKey { .. }
            | Self::SetPolicy { .. }
            | Self::PutAddress { .. }
            | Self::Lift { .. }
            | Self::SetChangeRules { .. } => true,
        }
    }
}

impl State {
    /// Brings a change into force that the entry `at` made. On an error the state is of no use any more.
    fn apply(&mut self, at: Head, author: &UserId, change: &Change, now: Timestamp) -> Result<(), Refused> {
        match change {
            Change::Veto { seq } => {
                self.pending.remove(seq).ok_or(InvalidChange::NotPending(*seq))?;
                Ok(())
            }
            Change::Enact { seq } => {
                let waiting = self.pending.remove(seq).ok_or(InvalidChange::NotPending(*seq))?;
                if now < waiting.until {
                    return Err(Refused::TooEarly { seq: *seq, until: waiting.until });
                }
                let at = Head { seq: waiting.seq, digest: waiting.digest };
                Ok(self.bring_about(at, &waiting.author, &waiting.change, now)?)
            }
            _ => Ok(self.bring_about(at, author, change, now)?),
        }
    }

    fn bring_about(
        &mut self,
        at: Head,
        author: &UserId,
        change: &Change,
        now: Timestamp,
    ) -> Result<(), InvalidChange> {
        match change {
            Change::PutUser { user } => Arc::make_mut(&mut self.directory).put_user(user)?,
            Change::SuspendUser { user } => self.edit_user(user, |user| {
                user.suspended = true;
                Ok(())
            })?,
            Change::ResumeUser { user } => self.edit_user(user, |user| {
                user.suspended = false;
                Ok(())
            })?,
            Change::AddKey { user, key } => self.edit_user(user, |user| {
                user.keys.push(key.clone());
                Ok(())
            })?,
            Change::RemoveKey { user, key } => self.edit_user(user, |user| {
                let before = user.keys.len();
                user.keys.retain(|other| other.id != *key);
                let unknown = || InvalidDirectory::UnknownKey { user: user.id.clone(), key: key.clone() };
                (user.keys.len() < before).then_some(()).ok_or_else(unknown)
            })?,
            Change::SetRoles { user, roles } => self.edit_user(user, |user| {
                user.roles.clone_from(roles);
                Ok(())
            })?,
            Change::PutGroup { group } => Arc::make_mut(&mut self.directory).put_group(group)?,
            Change::SetPolicy { policy } => {
                self.policy = Some(PublishedPolicy { version: at, policy: Arc::new(policy.clone()) });
            }
            Change::PutAddress { entry } => Arc::make_mut(&mut self.address_book).put(Listed {
                entry: entry.clone(),
                seq: at.seq,
                since: now,
            })?,
            Change::RemoveAddress { id } => Arc::make_mut(&mut self.address_book).remove(id)?,
            Change::Freeze { scope, reason } => {
                if !is_label(reason, MAX_REASON) {
                    return Err(InvalidChange::Reason);
                }
                let (scope, reason) = (scope.clone(), reason.clone());
                self.freezes.insert(Freeze { seq: at.seq, scope, reason, by: author.clone() });
            }
            Change::Lift { freeze } => {
                self.freezes.remove(*freeze).ok_or(InvalidChange::NoFreeze(*freeze))?;
            }
            Change::SetChangeRules { rules } => {
                rules.validate()?;
                self.rules = rules.clone();
            }
            // Neither waits, and neither comes here: see `apply` and `next`.
            Change::Veto { seq } | Change::Enact { seq } => return Err(InvalidChange::NotPending(*seq)),
            Change::Genesis(_) => return Err(InvalidChange::NotPending(at.seq)),
        }
        if matches!(change.class(), Class::People | Class::ChangeRules) {
            self.keeps_people_changeable()?;
        }
        self.void_earlier(at.seq, change);
        Ok(())
    }

    fn edit_user(
        &mut self,
        id: &UserId,
        edit: impl FnOnce(&mut User) -> Result<(), InvalidDirectory>,
    ) -> Result<(), InvalidDirectory> {
        let mut user =
            self.directory.user(id).cloned().ok_or_else(|| InvalidDirectory::UnknownUser(id.clone()))?;
        edit(&mut user)?;
        Arc::make_mut(&mut self.directory).put_user(&user)
    }

    /// What waits from before and is about the same thing was written for another situation. Without this, an older policy could be
    /// enacted over a newer one, and a suspended user be given a key.
    fn void_earlier(&mut self, seq: u64, change: &Change) {
        let subject = change.subject();
        self.pending.retain(|_, waiting| waiting.seq > seq || waiting.change.subject() != subject);
    }

    /// One person alone can suspend people. They cannot so leave the desk without anybody to add people again.
    fn keeps_people_changeable(&self) -> Result<(), InvalidChange> {
        let ChangeRules { people, .. } = self.rules;
        let able: Vec<&User> = self
            .directory
            .users()
            .filter(|user| user.may(Permission::ApprovePeople) && !user.keys.is_empty())
            .collect();
        let (have, need) = (able.len(), usize::from(people.approvals) + 1);
        let parties: BTreeSet<_> = parties(able);
        if have < need || parties.len() < usize::from(people.parties) {
            let (parties, need_parties) = (parties.len(), people.parties);
            return Err(InvalidChange::LocksOut { have, parties, need, need_parties });
        }
        Ok(())
    }
}
