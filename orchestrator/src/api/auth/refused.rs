//! Requests whose caller is not known. What is counted says more than what is answered.

use super::message::Malformed;
use crate::api::problem::Problem;
use bursar_store::StoreError;

/// Why. Whether a key, a user or a session exists, and what it may, is told to nobody who has not proved to hold it.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("no credentials")]
    Missing,
    /// Its form is wrong, whoever sent it.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("credentials that cannot be read, or of two kinds at once")]
    Unreadable,
    #[error("a bearer key where only signatures and sessions are taken")]
    NoBearer,
    /// Nobody's, or revoked, or of one who is suspended.
    #[error("unknown, revoked or suspended")]
    Unknown,
    /// A user's, and not for access.
    #[error("a key that signs documents only")]
    Use,
    #[error("not a signature of the key that it names")]
    Signature,
    #[error("from an address that it may not come from")]
    Address,
    #[error("a session that is over")]
    Over,
    #[error("a session's cookie without its token against forged requests")]
    Forged,
    #[error("the nonce was used before")]
    Replayed,
    #[error("the body is too large to be verified")]
    TooLarge,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Governance(#[from] bursar_workers::governance::GovernanceError),
}

impl Refused {
    /// The metric's label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(Malformed::Clock) => "clock",
            Self::Malformed(Malformed::Digest) => "digest",
            Self::Malformed(_) | Self::Unreadable => "malformed",
            Self::NoBearer => "bearer",
            Self::Unknown => "unknown",
            Self::Use => "use",
            Self::Signature => "signature",
            Self::Address => "address",
            Self::Over => "over",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::TooLarge => "too_large",
            Self::Store(_) | Self::Governance(_) => "unavailable",
        }
    }

    /// Whether it counts against where it came from.
    pub const fn is_their_fault(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::Governance(_))
    }

    pub fn problem(self) -> Problem {
        match self {
            Self::Missing
            | Self::NoBearer
            | Self::Unknown
            | Self::Use
            | Self::Signature
            | Self::Address
            | Self::Over => Problem::unauthorized(
                "sign the request with a key that is valid here (docs/authentication.md), begin a session with a passkey, or, \
                 where it is allowed, send `Authorization: Bearer <key>`",
            ),
            Self::Malformed(malformed) => Problem::unauthorized(malformed),
            Self::Unreadable => {
                Problem::unauthorized("the credentials cannot be read, or are of two kinds at once: send one")
            }
            Self::Forged => Problem::unauthorized(
                "a session by cookie changes something only with the header X-CSRF-Token that came with it",
            ),
            Self::Replayed => Problem::unauthorized("the nonce was used before: sign each request anew"),
            Self::TooLarge => Problem::too_large(),
            Self::Store(error) => error.into(),
            Self::Governance(error) => error.into(),
        }
    }
}
