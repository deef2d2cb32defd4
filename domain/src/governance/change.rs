//! What an entry of the log can change, who may propose it and who must approve it.

use super::{
    address_book::AddressEntry,
    directory::{AddressEntryId, Group, GroupId, KeyId, User, UserId, UserKey, WebhookName},
    freeze::Scope,
    policy::Policy,
    role::{Permission, Role},
    webhook::Webhook,
};
use crate::signing::PartyRole;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, time::Duration};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Change {
    /// The first entry, and only it.
    Genesis(Genesis),
    /// Adds a user, or replaces one: name, roles, keys and all.
    PutUser {
        user: User,
    },
    SuspendUser {
        user: UserId,
    },
    ResumeUser {
        user: UserId,
    },
    AddKey {
        user: UserId,
        key: UserKey,
    },
    RemoveKey {
        user: UserId,
        key: KeyId,
    },
    SetRoles {
        user: UserId,
        roles: BTreeSet<Role>,
    },
    /// Adds a group, or replaces its members.
    PutGroup {
        group: Group,
    },
    SetPolicy {
        policy: Policy,
    },
    /// Lists an address, or replaces an entry, whose age starts anew.
    PutAddress {
        entry: AddressEntry,
    },
    RemoveAddress {
        id: AddressEntryId,
    },
    Freeze {
        scope: Scope,
        reason: String,
    },
    /// Ends the freeze that the entry `freeze` began.
    Lift {
        freeze: u64,
    },
    /// Ends a change that waits for its delay.
    Veto {
        seq: u64,
    },
    /// Brings a change into force whose delay is over.
    Enact {
        seq: u64,
    },
    SetChangeRules {
        rules: ChangeRules,
    },
    /// Has events sent on to an endpoint, or replaces one.
    PutWebhook {
        webhook: Webhook,
    },
    RemoveWebhook {
        id: WebhookName,
    },
}

/// Where a log begins. Its authority is that every co-signer pins its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// What the desk is called: 1 to 100 characters.
    pub desk: String,
    pub users: Vec<User>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<Group>,
    pub rules: ChangeRules,
    /// The shortest delay that a loosening may ever have. An hour, if absent. 0 is for throw-away networks: with it, who has a quorum
    /// changes everything at once, and nobody has the time to veto.
    #[serde(default = "least_delay", skip_serializing_if = "is_least_delay")]
    pub least_delay_seconds: u64,
    /// No origin ever has passkeys for access and passkeys for documents, and so no passkey is for both: the page at which people log in
    /// can ask nobody for a document's signature.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate_passkeys: bool,
}

const fn least_delay() -> u64 {
    3600
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_least_delay(seconds: &u64) -> bool {
    *seconds == least_delay()
}

/// What a loosening needs, for each class of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeRules {
    /// Users, keys, roles, groups.
    pub people: Quorum,
    pub policy: Quorum,
    pub address_book: Quorum,
    /// Ending a freeze.
    pub lift: Quorum,
    /// These rules.
    pub change_rules: Quorum,
    /// Endpoints that events are sent on to; as `people` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<Quorum>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quorum {
    /// How many must approve besides the author: at least 1.
    pub approvals: u8,
    /// How many parties author and approvers must belong to: 1 to 3; at least 2 for people, policy and change rules.
    pub parties: u8,
    /// How long it waits after that, by the clock of each who holds the log. 0: not at all.
    pub delay_seconds: u64,
}

impl Quorum {
    pub const fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_seconds)
    }
}

/// Changes that are approved by the same rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    People,
    Policy,
    AddressBook,
    /// Freeze and veto only ever forbid: they need no approval, and have no quorum.
    Brake,
    Lift,
    ChangeRules,
    Webhooks,
    Enact,
    Genesis,
}

/// What a change is about. A change makes earlier ones of the same subject void that still wait.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    User(UserId),
    Group(GroupId),
    Policy,
    Address(AddressEntryId),
    Freeze(u64),
    Change(u64),
    ChangeRules,
    Webhook(WebhookName),
    Genesis,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRules {
    #[error("{class}.approvals: must be 1 to {MAX_APPROVALS}")]
    Approvals { class: Class },
    #[error("{class}.parties: must be {least} to 3, and at most one more than approvals")]
    Parties { class: Class, least: u8 },
    #[error("{class}.delaySeconds: must be at most {}, which is 90 days", MAX_DELAY.as_secs())]
    Delay { class: Class },
    #[error("{class}.delaySeconds: must be at least {least}, which the genesis says")]
    TooShort { class: Class, least: u64 },
}

pub const MAX_APPROVALS: u8 = 16;
pub const MAX_DELAY: Duration = Duration::from_secs(90 * 24 * 3600);
/// The longest reason of a freeze, in characters.
pub const MAX_REASON: usize = 500;

impl ChangeRules {
    /// What a loosening of this class needs; `None` of a class that has none.
    pub const fn quorum(&self, class: Class) -> Option<Quorum> {
        match class {
            Class::People => Some(self.people),
            Class::Policy => Some(self.policy),
            Class::AddressBook => Some(self.address_book),
            Class::Lift => Some(self.lift),
            Class::ChangeRules => Some(self.change_rules),
            Class::Webhooks => Some(match self.webhooks {
                Some(quorum) => quorum,
                None => self.people,
            }),
            Class::Brake | Class::Enact | Class::Genesis => None,
        }
    }

    /// `least_delay`: what the genesis says.
    pub fn validate(&self, least_delay: Duration) -> Result<(), InvalidRules> {
        for (class, least) in [
            (Class::People, 2),
            (Class::Policy, 2),
            (Class::AddressBook, 1),
            (Class::Lift, 1),
            (Class::ChangeRules, 2),
            (Class::Webhooks, 2),
        ] {
            let Some(quorum) = self.quorum(class) else { continue };
            if !(1..=MAX_APPROVALS).contains(&quorum.approvals) {
                return Err(InvalidRules::Approvals { class });
            }
            if !(least..=3).contains(&quorum.parties) || quorum.parties > quorum.approvals + 1 {
                return Err(InvalidRules::Parties { class, least });
            }
            if quorum.delay() > MAX_DELAY {
                return Err(InvalidRules::Delay { class });
            }
            if quorum.delay() < least_delay {
                return Err(InvalidRules::TooShort { class, least: least_delay.as_secs() });
            }
        }
        Ok(())
    }
}

impl Class {
    pub const fn name(self) -> &'static str {
        match self {
            Self::People => "people",
            Self::Policy => "policy",
            Self::AddressBook => "addressBook",
            Self::Brake => "brake",
            Self::Lift => "lift",
            Self::ChangeRules => "changeRules",
            Self::Webhooks => "webhooks",
            Self::Enact => "enact",
            Self::Genesis => "genesis",
        }
    }
    /// Who may approve a loosening of this class; `None` of a class that needs no approval.
    pub const fn approve(self) -> Option<Permission> {
        match self {
            Self::People | Self::Webhooks => Some(Permission::ApprovePeople),
            Self::Policy => Some(Permission::ApprovePolicy),
            Self::AddressBook => Some(Permission::ApproveAddress),
            Self::Lift => Some(Permission::Brake),
            Self::ChangeRules => Some(Permission::ApproveChangeRules),
            Self::Brake | Self::Enact | Self::Genesis => None,
        }
    }
}
impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Change {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Genesis(_) => "GENESIS",
            Self::PutUser { .. } => "PUT_USER",
            Self::SuspendUser { .. } => "SUSPEND_USER",
            Self::ResumeUser { .. } => "RESUME_USER",
            Self::AddKey { .. } => "ADD_KEY",
            Self::RemoveKey { .. } => "REMOVE_KEY",
            Self::SetRoles { .. } => "SET_ROLES",
            Self::PutGroup { .. } => "PUT_GROUP",
            Self::SetPolicy { .. } => "SET_POLICY",
            Self::PutAddress { .. } => "PUT_ADDRESS",
            Self::RemoveAddress { .. } => "REMOVE_ADDRESS",
            Self::Freeze { .. } => "FREEZE",
            Self::Lift { .. } => "LIFT",
            Self::Veto { .. } => "VETO",
            Self::Enact { .. } => "ENACT",
            Self::SetChangeRules { .. } => "SET_CHANGE_RULES",
            Self::PutWebhook { .. } => "PUT_WEBHOOK",
            Self::RemoveWebhook { .. } => "REMOVE_WEBHOOK",
        }
    }

    pub const fn class(&self) -> Class {
        match self {
            Self::Genesis(_) => Class::Genesis,
            Self::PutUser { .. }
            | Self::SuspendUser { .. }
            | Self::ResumeUser { .. }
            | Self::AddKey { .. }
            | Self::RemoveKey { .. }
            | Self::SetRoles { .. }
            | Self::PutGroup { .. } => Class::People,
            Self::SetPolicy { .. } => Class::Policy,
            Self::PutAddress { .. } | Self::RemoveAddress { .. } => Class::AddressBook,
            Self::Freeze { .. } | Self::Veto { .. } => Class::Brake,
            Self::Lift { .. } => Class::Lift,
            Self::Enact { .. } => Class::Enact,
            Self::SetChangeRules { .. } => Class::ChangeRules,
            Self::PutWebhook { .. } | Self::RemoveWebhook { .. } => Class::Webhooks,
        }
    }

    /// Who may propose it; `None` of the genesis, which nobody proposes to a log.
    pub const fn propose(&self) -> Option<Permission> {
        match self {
            Self::RemoveAddress { .. } => Some(Permission::RemoveAddress),
            _ => match self.class() {
                Class::People | Class::Webhooks => Some(Permission::ProposePeople),
                Class::Policy => Some(Permission::ProposePolicy),
                Class::AddressBook => Some(Permission::ProposeAddress),
                Class::Brake | Class::Lift => Some(Permission::Brake),
                Class::ChangeRules => Some(Permission::ProposeChangeRules),
                Class::Enact => Some(Permission::Enact),
                Class::Genesis => None,
            },
        }
    }

    pub fn subject(&self) -> Subject {
        match self {
            Self::Genesis(_) => Subject::Genesis,
            Self::PutUser { user } => Subject::User(user.id.clone()),
            Self::SuspendUser { user }
            | Self::ResumeUser { user }
            | Self::AddKey { user, .. }
            | Self::RemoveKey { user, .. }
            | Self::SetRoles { user, .. } => Subject::User(user.clone()),
            Self::PutGroup { group } => Subject::Group(group.id.clone()),
            Self::SetPolicy { .. } => Subject::Policy,
            Self::PutAddress { entry } => Subject::Address(entry.id.clone()),
            Self::RemoveAddress { id } => Subject::Address(id.clone()),
            Self::Freeze { .. } => Subject::Freeze(0),
            Self::Lift { freeze } => Subject::Freeze(*freeze),
            Self::Veto { seq } | Self::Enact { seq } => Subject::Change(*seq),
            Self::SetChangeRules { .. } => Subject::ChangeRules,
            Self::PutWebhook { webhook } => Subject::Webhook(webhook.id.clone()),
            Self::RemoveWebhook { id } => Subject::Webhook(id.clone()),
        }
    }
}

/// The parties of these users, each once.
pub(super) fn parties<'u>(users: impl IntoIterator<Item = &'u User>) -> BTreeSet<PartyRole> {
    users.into_iter().map(|user| user.party).collect()
}
