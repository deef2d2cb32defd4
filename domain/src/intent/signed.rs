//! An intent with the proof that its initiator meant it.
//!
//! Two kinds, and neither is ever taken for the other, because the bytes that are signed have different tags: at a desk without a
//! governance log the order has no [`Terms`], and a bare Ed25519 key signs it that each co-signer has pinned; at a governed desk it has
//! them, and the user of the desk whom they name signs it with any of their keys, Ed25519 or passkey, which the log says. Both verify
//! offline.

use super::{Intent, Terms};
use crate::{
    governance::{
        directory::{Directory, PublicKey, User, UserId},
        signature::{InvalidSignature, Signature, Signer},
    },
    text::hex_bytes,
};
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An initiator's Ed25519 public key (RFC 8032), which co-signers pin in their rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InitiatorKey(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl fmt::Display for InitiatorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Who initiated an order, as it says itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InitiatorId {
    Key(InitiatorKey),
    User { user: UserId },
}

/// For people: a user's id could look like a key.
impl fmt::Display for InitiatorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::User { user } => user.fmt(f),
        }
    }
}

/// What proves who initiated an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Proof {
    /// Ed25519 over [`Intent::canonical`] itself, by a key that co-signers have pinned.
    Key {
        initiator: InitiatorKey,
        #[serde(with = "hex_bytes")]
        signature: [u8; 64],
    },
    /// Over [`Intent::digest`], by the user whom the order's terms name.
    User { signature: Signature },
}

/// An intent with the signature of who initiated it. Read from outside, it has terms if and only if a user signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct SignedIntent {
    pub intent: Intent,
    #[serde(flatten)]
    pub proof: Proof,
}

#[derive(Deserialize)]
struct Unchecked {
    intent: Intent,
    #[serde(flatten)]
    proof: Proof,
}

impl TryFrom<Unchecked> for SignedIntent {
    type Error = InvalidInitiatorSignature;
    fn try_from(Unchecked { intent, proof }: Unchecked) -> Result<Self, InvalidInitiatorSignature> {
        let signed = Self { intent, proof };
        signed.is_of_one_kind()?;
        Ok(signed)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInitiatorSignature {
    #[error("initiator: not a valid Ed25519 public key")]
    Key,
    #[error("signature: is not the initiator's over this intent")]
    Signature,
    #[error(
        "terms: are missing: an order at a governed desk names the desk and its policy, and a user of the desk signs it"
    )]
    NoTerms,
    #[error(
        "terms: the order is one of a governed desk, and there is no governance log here to verify it by"
    )]
    NotGoverned,
    #[error("signature: an order with terms takes that of a user of the desk, not of a bare key")]
    BareKey,
    #[error(
        "terms.initiator: the order is {named}'s, and {signed} signed it: whoever orders signs, and names themselves"
    )]
    OtherUser { named: UserId, signed: UserId },
    #[error("signature: {0}")]
    User(#[from] InvalidSignature),
}

impl SignedIntent {
    pub const fn by_key(intent: Intent, initiator: InitiatorKey, signature: [u8; 64]) -> Self {
        Self { intent, proof: Proof::Key { initiator, signature } }
    }

    pub const fn by_user(intent: Intent, signature: Signature) -> Self {
        Self { intent, proof: Proof::User { signature } }
    }

    /// As the order says: where it has terms, those do. Nobody has verified it.
    pub fn initiator(&self) -> InitiatorId {
        match (&self.intent.terms, &self.proof) {
            (Some(Terms { initiator: user, .. }), _)
            | (None, Proof::User { signature: Signature { user, .. } }) => {
                InitiatorId::User { user: user.clone() }
            }
            (None, Proof::Key { initiator, .. }) => InitiatorId::Key(*initiator),
        }
    }

    /// Who that is by the log as it is; nobody has verified the signature.
    pub fn user<'d>(&self, directory: &'d Directory) -> Option<&'d User> {
        match self.initiator() {
            InitiatorId::Key(key) => directory.holder(&PublicKey::Ed25519(key.0)).map(|(user, _)| user),
            InitiatorId::User { user } => directory.user(&user),
        }
    }

    /// Whether proof and terms go together; verifies nothing.
    ///
    /// # Errors
    /// A bare key's signature under an order with terms, or a user's under one without.
    const fn is_of_one_kind(&self) -> Result<(), InvalidInitiatorSignature> {
        match (&self.intent.terms, &self.proof) {
            (None, Proof::Key { .. }) | (Some(_), Proof::User { .. }) => Ok(()),
            (Some(_), Proof::Key { .. }) => Err(InvalidInitiatorSignature::BareKey),
            (None, Proof::User { .. }) => Err(InvalidInitiatorSignature::NoTerms),
        }
    }

    /// The terms, and the signature of the user whom they name. Verifies nothing: this is the one place that says whose signature an order
    /// of a governed desk takes.
    ///
    /// # Errors
    /// An order without terms, one under a bare key, and one that somebody else signed.
    pub fn by_whom_it_names(&self) -> Result<(&Terms, &Signature), InvalidInitiatorSignature> {
        use InvalidInitiatorSignature as Invalid;
        let terms = self.intent.terms.as_ref().ok_or(Invalid::NoTerms)?;
        let Proof::User { signature } = &self.proof else { return Err(Invalid::BareKey) };
        if signature.user != terms.initiator {
            let (named, signed) = (terms.initiator.clone(), signature.user.clone());
            return Err(Invalid::OtherUser { named, signed });
        }
        Ok((terms, signature))
    }

    /// Verifies an order at a desk without a governance log, strictly: no small-order keys, no malleable signatures. Whose key it is, is
    /// for the caller to know.
    ///
    /// # Errors
    /// Also for an order of a governed desk: nothing here could verify it.
    pub fn verify_key(&self) -> Result<InitiatorKey, InvalidInitiatorSignature> {
        use InvalidInitiatorSignature as Invalid;
        let Proof::Key { initiator, signature } = &self.proof else { return Err(Invalid::NotGoverned) };
        self.is_of_one_kind()?;
        let key = VerifyingKey::from_bytes(&initiator.0).map_err(|_| Invalid::Key)?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(self.intent.canonical().as_bytes(), &signature).map_err(|_| Invalid::Signature)?;
        Ok(*initiator)
    }

    /// Verifies an order at a governed desk by its directory as it is. Whether the terms are of this desk is for the caller to hold
    /// against the log, as [`verify_order`](crate::governance::authorization::verify_order) does.
    ///
    /// # Errors
    /// Also for an order without terms, and for one that somebody else signed than it names.
    pub fn verify_user<'d>(&self, directory: &'d Directory) -> Result<Signer<'d>, InvalidInitiatorSignature> {
        let (_, signature) = self.by_whom_it_names()?;
        Ok(signature.verify(directory, &self.intent.digest().0)?)
    }
}

#[cfg(test)]
mod tests;
