//! Who calls, as far as it was proved.

use bursar_domain::{
    governance::{
        directory::{KeyId, User, UserId},
        role::{Permission, Role},
    },
    ids::{ApiKeyId, WalletId},
    signing::PartyRole,
};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fmt, net::IpAddr, sync::Arc};

/// How a caller proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// An HTTP Message Signature by an Ed25519 key (RFC 9421).
    Signature {
        key: [u8; 32],
        /// SHA-256 of the signature base: what exactly was signed.
        digest: [u8; 32],
    },
    /// A session that began with a passkey.
    Session { id: uuid::Uuid },
    /// A bearer API key.
    Bearer,
}

impl Proof {
    pub const SESSION: &str = "SESSION";

    /// `SIGNATURE`, `SESSION` or `BEARER`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "SIGNATURE",
            Self::Session { .. } => Self::SESSION,
            Self::Bearer => "BEARER",
        }
    }
}

/// Whose request this is. Handlers get it as an extension; it is there on every route that is not open.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Stands for the caller in the books: the API key, or a number that follows from the user's id and is the same for all of the
    /// user's keys and sessions. An `Idempotency-Key` belongs to it.
    pub id: ApiKeyId,
    /// The API key's name; `None` for a user of the directory.
    pub name: Option<String>,
    /// Of a governed installation's directory.
    pub user: Option<UserId>,
    /// Which of the user's keys.
    pub key: Option<KeyId>,
    pub party: Option<PartyRole>,
    pub roles: BTreeSet<Role>,
    pub proof: Proof,
    /// Where the request came from; behind a trusted proxy, what that says.
    pub address: Option<IpAddr>,
    /// The wallets that it is limited to; `None`: no limit.
    pub wallets: Option<Arc<BTreeSet<WalletId>>>,
}

impl Caller {
    /// What stands for a user, whatever key the user comes with (a UUID of version 8, RFC 9562).
    pub fn id_of(user: &UserId) -> ApiKeyId {
        let digest: [u8; 32] = Sha256::digest(format!("bursar/user/{user}")).into();
        let bytes = *digest.first_chunk::<16>().expect("a digest has 32 bytes");
        ApiKeyId::new(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// A user of the directory. Roles are those of this moment.
    pub fn of_user(user: &User, key: KeyId, proof: Proof) -> Self {
        Self {
            id: Self::id_of(&user.id),
            name: None,
            user: Some(user.id.clone()),
            key: Some(key),
            party: Some(user.party),
            roles: user.roles.clone(),
            proof,
            address: None,
            wallets: None,
        }
    }

    /// Whether its roles suffice.
    pub fn may(&self, permission: Permission) -> bool {
        let platform_initiates =
            permission == Permission::Initiate && self.party == Some(PartyRole::CustodyPlatform);
        !platform_initiates && permission.roles().iter().any(|role| self.roles.contains(role))
    }

    /// Whether it may know of this wallet.
    pub fn sees(&self, wallet: WalletId) -> bool {
        self.wallets.as_ref().is_none_or(|wallets| wallets.contains(&wallet))
    }
}

/// For logs and for people.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.user, &self.key) {
            (Some(user), Some(key)) => write!(f, "user {user} by key {key}"),
            (Some(user), None) => write!(f, "user {user}"),
            (None, _) => write!(f, "API key {}", self.id),
        }
    }
}
