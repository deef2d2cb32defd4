//! Who there is: users, their keys, and groups.

mod uses;

pub use uses::{InvalidUses, KeyUse, KeyUses, UnknownUse};

use super::role::{self, InvalidRoles, Permission, Role};
use crate::{
    signing::PartyRole,
    text::{hex_bytes, hex_vec, serde_as_text},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of a-z 0-9 . _ -")]
pub struct InvalidName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 of `a-z 0-9 . _ -`.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b"._-".contains(&c);
                let valid = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
                valid.then(|| Self(text.to_owned())).ok_or(InvalidName)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        serde_as_text!($name);
    )*};
}

names! {
    /// A user's permanent name. It is never given to another person.
    UserId;
    /// A key's name among the keys of its user.
    KeyId;
    GroupId;
    /// An address book entry's name.
    AddressEntryId;
    /// Whom an address belongs to, as the desk calls them.
    CounterpartyId;
    /// An endpoint's name among those that events are sent on to.
    WebhookName;
    /// What the orchestrator's configuration calls a secret. Secrets themselves are in no log.
    SecretName;
}

/// A person or a service of one party.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct User {
    pub id: UserId,
    /// For people to read: 1 to 100 characters.
    pub name: String,
    pub party: PartyRole,
    pub roles: BTreeSet<Role>,
    pub keys: Vec<UserKey>,
    /// A suspended user signs nothing that counts.
    #[serde(default)]
    pub suspended: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserKey {
    pub id: KeyId,
    pub material: KeyMaterial,
    /// Can be taken away, and never be given afterwards.
    #[serde(default, skip_serializing_if = "KeyUses::are_both")]
    pub uses: KeyUses,
}

/// What verifies a user's signatures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum KeyMaterial {
    /// RFC 8032.
    Ed25519 {
        #[serde(with = "hex_bytes")]
        public_key: [u8; 32],
    },
    /// A WebAuthn credential with an ES256 key.
    Passkey {
        /// P-256, SEC1 compressed.
        #[serde(with = "hex_bytes")]
        public_key: [u8; 33],
        #[serde(with = "hex_vec")]
        credential_id: Vec<u8>,
        /// The relying party's domain, such as `desk.example`.
        rp_id: String,
        /// Where assertions may be made, such as `https://desk.example`. Compared exactly.
        origins: BTreeSet<String>,
    },
}

/// A public key, whatever its kind: names its owner for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PublicKey {
    Ed25519([u8; 32]),
    P256([u8; 33]),
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ed25519(bytes) => f.write_str(&hex::encode(bytes)),
            Self::P256(bytes) => f.write_str(&hex::encode(bytes)),
        }
    }
}

/// Users that policy names together, such as those who approve large payments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    pub id: GroupId,
    pub members: BTreeSet<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirectory {
    #[error("user {user}: {source}")]
    Roles { user: UserId, source: InvalidRoles },
    #[error("user {user}: name: must be 1 to 100 characters without control characters")]
    UserName { user: UserId },
    #[error("user {user}: party: cannot change; suspend this user and add another")]
    PartyChanged { user: UserId },
    #[error("user {user}: keys: at most {MAX_KEYS}")]
    TooManyKeys { user: UserId },
    #[error("user {user}: keys: {key} is there twice")]
    KeyTwice { user: UserId, key: KeyId },
    #[error("user {user}, key {key}: {why}")]
    Key { user: UserId, key: KeyId, why: &'static str },
    #[error("user {user}, key {key}: this public key is or was one of {owner}'s; make a new one")]
    KeyTaken { user: UserId, key: KeyId, owner: UserId },
    #[error(
        "user {user}, key {key}: uses: can only be taken away, for what it signed before would count then; add another key"
    )]
    UsesAdded { user: UserId, key: KeyId },
    #[error(
        "user {user}, key {key}: rpId and origins: cannot become others, for what another page had it sign before would count then; add \
         another key"
    )]
    OriginsAdded { user: UserId, key: KeyId },
    #[error(
        "user {user}, key {key}: origins: at {origin} passkeys would be for access and for documents, which this desk keeps apart \
         (separatePasskeys); use another origin for one of the two"
    )]
    SharedOrigin { user: UserId, key: KeyId, origin: String },
    #[error("user {0}: is not in the directory")]
    UnknownUser(UserId),
    #[error("user {user}: has no key {key}")]
    UnknownKey { user: UserId, key: KeyId },
    #[error("users: {0} is there twice")]
    UserTwice(UserId),
    #[error("groups: {0} is there twice")]
    GroupTwice(GroupId),
    #[error("group {group}: members: {user} is not in the directory")]
    UnknownMember { group: GroupId, user: UserId },
}

/// The most keys of one user.
pub const MAX_KEYS: usize = 16;

/// All users and groups. Users stay for ever; a key that is gone stays remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    users: BTreeMap<UserId, User>,
    groups: BTreeMap<GroupId, Group>,
    /// Every public key that ever was in the directory, and whose it is or was.
    owners: BTreeMap<PublicKey, UserId>,
    /// Whether no origin has passkeys for access and passkeys for documents.
    separate_passkeys: bool,
}

impl User {
    pub fn holds(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
    /// Whether this user's roles suffice. Of a suspended user nothing does.
    pub fn may(&self, permission: Permission) -> bool {
        let held = permission.roles().iter().any(|role| self.holds(*role));
        let platform_initiates =
            permission == Permission::Initiate && self.party == PartyRole::CustodyPlatform;
        held && !self.suspended && !platform_initiates
    }
    pub fn key(&self, id: &KeyId) -> Option<&UserKey> {
        self.keys.iter().find(|key| key.id == *id)
    }
    /// Whether some key of theirs signs documents.
    pub fn can_sign(&self) -> bool {
        self.keys.iter().any(|key| key.uses.include(KeyUse::Documents))
    }

    fn validate(&self) -> Result<(), InvalidDirectory> {
        let user = || self.id.clone();
        role::validate(self.party, &self.roles)
            .map_err(|source| InvalidDirectory::Roles { user: user(), source })?;
        if !is_label(&self.name, 100) {
            return Err(InvalidDirectory::UserName { user: user() });
        }
        if self.keys.len() > MAX_KEYS {
            return Err(InvalidDirectory::TooManyKeys { user: user() });
        }
        for (index, key) in self.keys.iter().enumerate() {
            let id = || key.id.clone();
            let same = |other: &UserKey| other.id == key.id || other.public() == key.public();
            if self.keys[..index].iter().any(same) {
                return Err(InvalidDirectory::KeyTwice { user: user(), key: id() });
            }
            key.validate().map_err(|why| InvalidDirectory::Key { user: user(), key: id(), why })?;
        }
        Ok(())
    }
}

impl KeyMaterial {
    /// Whether no page can ask for it that could not ask for `before`, a key with the same public key.
    fn is_asked_within(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Passkey { rp_id, origins, .. }, Self::Passkey { rp_id: asked, origins: by, .. }) => {
                rp_id == asked && origins.is_subset(by)
            }
            _ => true,
        }
    }
}

impl UserKey {
    pub fn public(&self) -> PublicKey {
        match &self.material {
            KeyMaterial::Ed25519 { public_key } => PublicKey::Ed25519(*public_key),
            KeyMaterial::Passkey { public_key, .. } => PublicKey::P256(*public_key),
        }
    }

    /// Whether it is `before`, with no use that this had not.
    pub fn permits_no_more_than(&self, before: &Self) -> bool {
        self.id == before.id && self.material == before.material && self.uses.are_within(before.uses)
    }

    /// Whether a page at this origin can ask for its signatures.
    fn is_passkey_at(&self, origin: &str) -> bool {
        match &self.material {
            KeyMaterial::Passkey { origins, .. } => origins.contains(origin),
            KeyMaterial::Ed25519 { .. } => false,
        }
    }

    fn validate(&self) -> Result<(), &'static str> {
        match &self.material {
            KeyMaterial::Ed25519 { public_key } => {
                let key = ed25519_dalek::VerifyingKey::from_bytes(public_key)
                    .map_err(|_| "publicKey: not a valid Ed25519 public key")?;
                if key.is_weak() {
                    Err("publicKey: of small order, anybody could sign for it")
                } else {
                    Ok(())
                }
            }
            KeyMaterial::Passkey { public_key, credential_id, rp_id, origins } => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(public_key)
                    .map_err(|_| "publicKey: not a P-256 public key in SEC1 compressed form")?;
                if !(1..=1023).contains(&credential_id.len()) {
                    return Err("credentialId: must be 1 to 1023 bytes");
                }
                if !is_label(rp_id, 253) {
                    return Err("rpId: must be a domain such as desk.example");
                }
                if !(1..=8).contains(&origins.len()) || origins.iter().any(|origin| !is_label(origin, 300)) {
                    return Err("origins: 1 to 8 are needed, such as https://desk.example");
                }
                Ok(())
            }
        }
    }
}

/// Text for people: not empty, bounded, and nothing in it that moves a cursor.
pub(super) fn is_label(text: &str, max: usize) -> bool {
    !text.is_empty() && text.chars().count() <= max && !text.chars().any(char::is_control)
}

impl Directory {
    /// With nobody in it. `separate_passkeys`: as the genesis says.
    pub(super) fn new(separate_passkeys: bool) -> Self {
        Self { separate_passkeys, ..Self::default() }
    }

    pub fn user(&self, id: &UserId) -> Option<&User> {
        self.users.get(id)
    }
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }
    pub fn group(&self, id: &GroupId) -> Option<&Group> {
        self.groups.get(id)
    }
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }
    /// Whose key this is now, and which.
    pub fn holder(&self, public: &PublicKey) -> Option<(&User, &UserKey)> {
        let user = self.users.get(self.owners.get(public)?)?;
        user.keys.iter().find(|key| key.public() == *public).map(|key| (user, key))
    }
    /// Whether this user is there, active, and holds a role that suffices.
    pub fn may(&self, user: &UserId, permission: Permission) -> bool {
        self.users.get(user).is_some_and(|user| user.may(permission))
    }

    /// Adds a user, or replaces one. Keys that the replaced one had are gone for good unless they stay.
    pub(super) fn put_user(&mut self, user: &User) -> Result<(), InvalidDirectory> {
        user.validate()?;
        let before = self.users.get(&user.id);
        if before.is_some_and(|before| before.party != user.party) {
            return Err(InvalidDirectory::PartyChanged { user: user.id.clone() });
        }
        for key in &user.keys {
            let public = key.public();
            let had = before.and_then(|before| before.keys.iter().find(|had| had.public() == public));
            let names = || (user.id.clone(), key.id.clone());
            match (had, self.owners.get(&public)) {
                // A hostile page may have had it sign documents, as logins, while they counted for nothing.
                (Some(had), _) if !key.uses.are_within(had.uses) => {
                    let (user, key) = names();
                    return Err(InvalidDirectory::UsesAdded { user, key });
                }
                // Nor may what another page had it sign count, because that page's origin was none of its own.
                (Some(had), _) if !key.material.is_asked_within(&had.material) => {
                    let (user, key) = names();
                    return Err(InvalidDirectory::OriginsAdded { user, key });
                }
                (None, Some(owner)) => {
                    let ((user, key), owner) = (names(), owner.clone());
                    return Err(InvalidDirectory::KeyTaken { user, key, owner });
                }
                _ => {}
            }
        }
        if self.separate_passkeys {
            self.keeps_origins_apart(user)?;
        }
        for key in &user.keys {
            self.owners.insert(key.public(), user.id.clone());
        }
        self.users.insert(user.id.clone(), user.clone());
        Ok(())
    }

    /// Whether no origin of this user's passkeys has, with these in the directory, passkeys of both uses: of whomever, for whoever logs in at
    /// a page could be asked there for any of their passkeys.
    fn keeps_origins_apart(&self, user: &User) -> Result<(), InvalidDirectory> {
        let keys = || {
            let others = self.users.values().filter(|other| other.id != user.id);
            others.chain([user]).flat_map(|user| &user.keys)
        };
        // The last ones are those that a change adds.
        for key in user.keys.iter().rev() {
            let KeyMaterial::Passkey { origins, .. } = &key.material else { continue };
            let mixed = |origin: &&String| {
                let has = |wanted| keys().any(|key| key.is_passkey_at(origin) && key.uses.include(wanted));
                KeyUse::ALL.into_iter().all(has)
            };
            if let Some(origin) = origins.iter().find(mixed) {
                let (user, key, origin) = (user.id.clone(), key.id.clone(), origin.clone());
                return Err(InvalidDirectory::SharedOrigin { user, key, origin });
            }
        }
        Ok(())
    }

    pub(super) fn put_group(&mut self, group: &Group) -> Result<(), InvalidDirectory> {
        if let Some(user) = group.members.iter().find(|user| !self.users.contains_key(*user)) {
            return Err(InvalidDirectory::UnknownMember { group: group.id.clone(), user: user.clone() });
        }
        self.groups.insert(group.id.clone(), group.clone());
        Ok(())
    }
}
