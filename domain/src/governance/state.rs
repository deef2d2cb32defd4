//! What the log says: replay, and the rules by which an entry counts.

use super::{
    address_book::{AddressBook, InvalidAddress},
    change::{Change, ChangeRules, InvalidRules},
    directory::{Directory, InvalidDirectory, UserId},
    freeze::Freezes,
    log::{Entry, EntryDigest, Head, InvalidEntry},
    policy::Policy,
    webhook::{InvalidWebhook, Webhooks},
};
use crate::{intent::Intent, time::Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// All that the entries so far have brought about. Cheap to clone.
///
/// It depends on the entries alone: two states with one head are the same, except for the times at which their holders first saw
/// things ([`Pending::until`], [`Listed::since`](super::address_book::Listed::since)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    genesis: EntryDigest,
    head: Head,
    directory: Arc<Directory>,
    rules: ChangeRules,
    /// What the genesis says.
    least_delay: Duration,
    policy: Option<PublishedPolicy>,
    /// The versions of all policies that ever were in force, in order.
    versions: Arc<Vec<Head>>,
    address_book: Arc<AddressBook>,
    freezes: Freezes,
    webhooks: Arc<Webhooks>,
    pending: BTreeMap<u64, Pending>,
}

/// The policy in force, and the entry that published it, which is its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPolicy {
    pub version: Head,
    pub policy: Arc<Policy>,
}

/// A change that has its quorum and waits for its delay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    pub seq: u64,
    pub digest: EntryDigest,
    pub author: UserId,
    pub change: Arc<Change>,
    /// Nobody can enact it before, by the clock of whoever holds this state.
    pub until: Timestamp,
}

/// An entry that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub head: Head,
    pub author: UserId,
    pub change: Arc<Change>,
    pub effect: Effect,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    InForce,
    /// It can be enacted from then on.
    Waits {
        until: Timestamp,
    },
}

/// Why an entry does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
    #[error("genesis: its digest is {found}, and {pinned} is pinned")]
    OtherGenesis { pinned: EntryDigest, found: EntryDigest },
    #[error(
        "genesis: must be the first entry, with seq 0 and a previous of zeros, and only the first is one"
    )]
    NotGenesis,
    #[error("seq: {found}, where {expected} comes next")]
    Place { expected: u64, found: u64 },
    #[error("previous: names another entry than the last, {head}; propose the change again on top of it")]
    Previous { head: Head },
    #[error("{user} may not propose {change}")]
    MayNotPropose { user: UserId, change: &'static str },
    #[error("{user} may not approve {change}")]
    MayNotApprove { user: UserId, change: &'static str },
    #[error("{user} may not approve {change}, which is about {user}")]
    OwnRights { user: UserId, change: &'static str },
    #[error("{change}: approved by {have}, and {need} are needed besides the author")]
    Approvals { change: &'static str, have: usize, need: u8 },
    #[error("{change}: author and approvers belong to {have} parties, and {need} are needed")]
    Parties { change: &'static str, have: usize, need: u8 },
    #[error("too early: entry {seq} waits until {} (microseconds since the epoch)", until.0)]
    TooEarly { seq: u64, until: Timestamp },
    #[error("{0}")]
    Change(#[from] InvalidChange),
}

/// Why a change cannot be made, whoever signs it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChange {
    #[error(transparent)]
    Directory(#[from] InvalidDirectory),
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    #[error(transparent)]
    Webhook(#[from] InvalidWebhook),
    #[error("rules: {0}")]
    Rules(#[from] InvalidRules),
    #[error("desk: must be 1 to 100 characters without control characters")]
    Desk,
    #[error("reason: must be 1 to 500 characters without control characters")]
    Reason,
    #[error("freeze: entry {0} is no freeze in force")]
    NoFreeze(u64),
    #[error("seq: entry {0} does not wait: it is in force, vetoed, overtaken, or no change")]
    NotPending(u64),
    #[error(
        "this would leave {have} active users of {parties} parties who can change users, and {need} of {need_parties} are \
         needed: nobody could ever be added again"
    )]
    LocksOut { have: usize, parties: usize, need: usize, need_parties: u8 },
    #[error(
        "without {0}, those who can change users would be no quorum: {0} could block every change, and never be removed. Let one more user \
         change users, or ask for fewer"
    )]
    OneBlocks(UserId),
}

impl Refused {
    /// For programs; never changes.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Entry(InvalidEntry::Signature { .. }) => "SIGNATURE",
            Self::Entry(_) => "ENTRY",
            Self::OtherGenesis { .. } | Self::NotGenesis => "GENESIS",
            // The log has moved on: propose again.
            Self::Place { .. } | Self::Previous { .. } => "PLACE",
            Self::MayNotPropose { .. } => "MAY_NOT_PROPOSE",
            Self::MayNotApprove { .. } | Self::OwnRights { .. } => "MAY_NOT_APPROVE",
            Self::Approvals { .. } | Self::Parties { .. } => "QUORUM",
            Self::TooEarly { .. } => "TOO_EARLY",
            Self::Change(_) => "CHANGE",
        }
    }
}

impl State {
    /// # Errors
    /// [`Refused`], if this is not the entry that is pinned, or no genesis that makes sense.
    pub fn genesis(entry: &Entry, pinned: EntryDigest) -> Result<Self, Refused> {
        replay::genesis(entry, pinned)
    }

    /// What [`append`](Self::append) would say, without doing it.
    pub fn check(&self, entry: &Entry, now: Timestamp) -> Result<Accepted, Refused> {
        replay::next(self, entry, now).map(|(_, accepted)| accepted)
    }

    /// Takes the next entry. `seen_at` is when whoever holds this state first saw it, by their own clock: store it with the entry, and
    /// replay with it.
    ///
    /// # Errors
    /// [`Refused`]; the state is as it was. Only [`Refused::TooEarly`] can turn into a yes later.
    pub fn append(&mut self, entry: &Entry, seen_at: Timestamp) -> Result<Accepted, Refused> {
        let (next, accepted) = replay::next(self, entry, seen_at)?;
        *self = next;
        Ok(accepted)
    }

    /// The state after all these entries, each with the time at which it was first seen.
    ///
    /// # Errors
    /// The place of the first entry that is refused, and why.
    pub fn replay<'e>(
        pinned: EntryDigest,
        entries: impl IntoIterator<Item = (&'e Entry, Timestamp)>,
    ) -> Result<Self, (usize, Refused)> {
        let mut entries = entries.into_iter().enumerate();
        let Some((_, (first, _))) = entries.next() else { return Err((0, Refused::NotGenesis)) };
        let mut state = Self::genesis(first, pinned).map_err(|refused| (0, refused))?;
        for (index, (entry, seen_at)) in entries {
            state.append(entry, seen_at).map_err(|refused| (index, refused))?;
        }
        Ok(state)
    }

    /// The pinned digest that this log began with.
    pub fn genesis_digest(&self) -> EntryDigest {
        self.genesis
    }
    pub fn head(&self) -> Head {
        self.head
    }
    pub fn directory(&self) -> &Directory {
        &self.directory
    }
    pub fn change_rules(&self) -> &ChangeRules {
        &self.rules
    }
    /// The shortest delay that the genesis lets a loosening have. Zero: a desk on throw-away networks.
    pub fn least_delay(&self) -> Duration {
        self.least_delay
    }
    /// `None` until one is published: nothing is allowed.
    pub fn policy(&self) -> Option<&PublishedPolicy> {
        self.policy.as_ref()
    }
    /// Whether it matters when an order was first seen: by the policy in force ([`super::policy::Policy::times_orders`]).
    pub fn times_orders(&self) -> bool {
        self.policy().is_some_and(|published| published.policy.times_orders())
    }
    /// Whether this is the version of a policy that is or was in force.
    pub fn had_policy(&self, version: &Head) -> bool {
        self.versions.contains(version)
    }
    pub fn address_book(&self) -> &AddressBook {
        &self.address_book
    }
    pub fn freezes(&self) -> &Freezes {
        &self.freezes
    }
    /// Where events are sent on to.
    pub fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }
    /// The freeze that keeps this intent from being signed.
    pub fn frozen(&self, intent: &Intent) -> Option<&super::freeze::Freeze> {
        self.freezes.covering(intent)
    }
    /// Changes that wait for their delay, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }
}

mod needs;
mod replay;

pub use needs::Needs;

#[cfg(test)]
mod tests;
