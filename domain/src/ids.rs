//! Identifiers. Every noun has its own type, so that a wallet can never be passed for a transfer.

use crate::text::serde_as_text;
use std::{fmt, str::FromStr};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} id: expected a UUID such as 01936d0e-0000-7000-8000-000000000000")]
pub struct InvalidId {
    kind: &'static str,
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident: $kind:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            pub const fn new(uuid: Uuid) -> Self {
                Self(uuid)
            }
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { kind: $kind })
            }
        }
        serde_as_text!($name);
    )*};
}

uuid_ids! {
    /// A transfer: the intent to pay. Time-ordered (UUID v7).
    TransferId: "transfer";
    /// One signed or signable chain transaction.
    TransactionId: "transaction";
    WalletId: "wallet";
    AddressId: "address";
    ApiKeyId: "API key";
    SessionId: "session";
    DepositId: "deposit";
    /// Something for compliance to look into. Time-ordered (UUID v7).
    CaseId: "case";
}

/// A caller's own, permanent name for a transfer: 1 to 64 of `A-Z a-z 0-9 . _ : -`.
///
/// It is part of what the initiator signs, and the store accepts each one once, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalId(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z a-z 0-9 . _ : -")]
pub struct InvalidExternalId;

impl ExternalId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl FromStr for ExternalId {
    type Err = InvalidExternalId;
    fn from_str(text: &str) -> Result<Self, InvalidExternalId> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._:-".contains(&c);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidExternalId)
        }
    }
}
impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
serde_as_text!(ExternalId);

/// A source of fresh ids; the composition root supplies one, tests supply a counter.
pub trait IdSource: Send + Sync {
    /// A UUID v7: unique, ordered by time of creation.
    fn uuid(&self) -> Uuid;
}
