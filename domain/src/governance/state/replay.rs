//! One entry after the other: does it count, and what does it bring about? Everything is judged by the state before it.

use super::{Accepted, Effect, InvalidChange, Needs, Pending, PublishedPolicy, Refused, State, needs};
use crate::{
    governance::{
        address_book::{AddressBook, Listed},
        change::{Change, ChangeRules, Class, Genesis, MAX_REASON, parties},
        directory::{Directory, InvalidDirectory, User, UserId, is_label},
        freeze::{Freeze, Freezes},
        log::{Document, Entry, EntryDigest, Head, InvalidEntry},
        signature::Signer,
        webhook::Webhooks,
    },
    time::Timestamp,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

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
        least_delay: Duration::from_secs(genesis.least_delay_seconds),
        policy: None,
        versions: Arc::default(),
        address_book: Arc::new(AddressBook::default()),
        freezes: Freezes::default(),
        webhooks: Arc::new(Webhooks::default()),
        pending: BTreeMap::new(),
    };
    if !is_label(&genesis.desk, 100) {
        return Err(InvalidChange::Desk.into());
    }
    genesis.rules.validate(state.least_delay).map_err(InvalidChange::from)?;
    state.keeps_people_changeable()?;
    state.nobody_blocks()?;
    // The pin is what makes it count. The signatures show that their users hold the keys that it gives them.
    signers(&state.directory, entry, digest)?;
    Ok(state)
}

fn first_directory(genesis: &Genesis) -> Result<Directory, InvalidChange> {
    let mut directory = Directory::new(genesis.separate_passkeys);
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
    let needs = state.needs(&change, &author);
    judge(state, &change, &signers)?;

    let change = Arc::new(change);
    let head = Head { seq, digest };
    let mut next = State { head, ..state.clone() };
    let effect = if needs.delay.is_zero() {
        next.apply(head, &author, &change, now)?;
        // After everything else: a proposal that lacks only signatures is told apart from one that no signature could save.
        count(needs, &change, &signers)?;
        Effect::InForce
    } else {
        // What could not be done today is not worth waiting for.
        next.clone().apply(head, &author, &change, now)?;
        count(needs, &change, &signers)?;
        let until = now.plus(needs.delay);
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
fn judge(state: &State, change: &Change, signers: &[&User]) -> Result<(), Refused> {
    let (Some((author, approvers)), Some(propose)) = (signers.split_first(), change.propose()) else {
        return Err(Refused::NotGenesis);
    };
    let name = change.name();
    if !author.may(propose) {
        return Err(Refused::MayNotPropose { user: author.id.clone(), change: name });
    }
    let concerned = change.concerns(&state.directory);
    for approver in approvers {
        if !change.class().approve().is_some_and(|permission| approver.may(permission)) {
            return Err(Refused::MayNotApprove { user: approver.id.clone(), change: name });
        }
        if concerned.contains(&approver.id) {
            return Err(Refused::OwnRights { user: approver.id.clone(), change: name });
        }
    }
    Ok(())
}

/// Whether there are enough of them.
fn count(needs: Needs, change: &Change, signers: &[&User]) -> Result<(), Refused> {
    let name = change.name();
    let (Some((author, approvers)), Some(quorum)) = (signers.split_first(), needs.quorum) else {
        return Ok(());
    };
    let counts = |approver: &&&User| !needs.author_gains || approver.party != author.party;
    let have = approvers.iter().filter(counts).count();
    if have < usize::from(quorum.approvals) {
        return Err(Refused::Approvals { change: name, have, need: quorum.approvals });
    }
    let have = parties(signers.iter().copied()).len();
    if have < usize::from(quorum.parties) {
        return Err(Refused::Parties { change: name, have, need: quorum.parties });
    }
    Ok(())
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
            Change::PutUser { .. }
            | Change::SuspendUser { .. }
            | Change::ResumeUser { .. }
            | Change::AddKey { .. }
            | Change::RemoveKey { .. }
            | Change::SetRoles { .. }
            | Change::PutGroup { .. } => change_people(Arc::make_mut(&mut self.directory), change)?,
            Change::SetPolicy { policy } => {
                self.policy = Some(PublishedPolicy { version: at, policy: Arc::new(policy.clone()) });
                Arc::make_mut(&mut self.versions).push(at);
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
                rules.validate(self.least_delay)?;
                let other_quorum = rules.people != self.rules.people;
                self.rules = rules.clone();
                if other_quorum {
                    self.nobody_blocks()?;
                }
            }
            Change::PutWebhook { webhook } => Arc::make_mut(&mut self.webhooks).put(webhook, at.seq)?,
            Change::RemoveWebhook { id } => Arc::make_mut(&mut self.webhooks).remove(id)?,
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

    /// What waits from before and is about the same thing was written for another situation. Without this, an older policy could be
    /// enacted over a newer one, and a suspended user be given a key.
    fn void_earlier(&mut self, seq: u64, change: &Change) {
        let subject = change.subject();
        self.pending.retain(|_, waiting| waiting.seq > seq || waiting.change.subject() != subject);
    }

    /// People who suspend people cannot leave the desk without anybody to add people again.
    fn keeps_people_changeable(&self) -> Result<(), InvalidChange> {
        let ChangeRules { people, .. } = self.rules;
        let able = needs::able(&self.directory);
        if needs::suffice(able.iter().copied(), people) {
            return Ok(());
        }
        let (have, need) = (able.len(), usize::from(people.approvals) + 1);
        let (parties, need_parties) = (parties(able).len(), people.parties);
        Err(InvalidChange::LocksOut { have, parties, need, need_parties })
    }

    /// Whoever is hostile among those who can change people, the others can remove them. On throw-away networks two people may do.
    fn nobody_blocks(&self) -> Result<(), InvalidChange> {
        if self.least_delay.is_zero() {
            return Ok(());
        }
        needs::blocker(&self.directory, self.rules.people)
            .map_or(Ok(()), |user| Err(InvalidChange::OneBlocks(user)))
    }
}

/// Makes a change of class [`People`](Class::People); of another class it is none.
pub(super) fn change_people(directory: &mut Directory, change: &Change) -> Result<(), InvalidDirectory> {
    match change {
        Change::PutUser { user } => directory.put_user(user),
        Change::SuspendUser { user } => edit_user(directory, user, |user| {
            user.suspended = true;
            Ok(())
        }),
        Change::ResumeUser { user } => edit_user(directory, user, |user| {
            user.suspended = false;
            Ok(())
        }),
        Change::AddKey { user, key } => edit_user(directory, user, |user| {
            user.keys.push(key.clone());
            Ok(())
        }),
        Change::RemoveKey { user, key } => edit_user(directory, user, |user| {
            let before = user.keys.len();
            user.keys.retain(|other| other.id != *key);
            let unknown = || InvalidDirectory::UnknownKey { user: user.id.clone(), key: key.clone() };
            (user.keys.len() < before).then_some(()).ok_or_else(unknown)
        }),
        Change::SetRoles { user, roles } => edit_user(directory, user, |user| {
            user.roles.clone_from(roles);
            Ok(())
        }),
        Change::PutGroup { group } => directory.put_group(group),
        _ => Ok(()),
    }
}

fn edit_user(
    directory: &mut Directory,
    id: &UserId,
    edit: impl FnOnce(&mut User) -> Result<(), InvalidDirectory>,
) -> Result<(), InvalidDirectory> {
    let mut user = directory.user(id).cloned().ok_or_else(|| InvalidDirectory::UnknownUser(id.clone()))?;
    edit(&mut user)?;
    directory.put_user(&user)
}
