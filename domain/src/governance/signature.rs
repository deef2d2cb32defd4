//! A user's signature over a digest: by Ed25519 key or by passkey. Both verify offline.
//!
//! What is signed is always the SHA-256 of a [`Canonical`](crate::canonical::Canonical) encoding, whose domain tag keeps a
//! governance entry, an approval and a verdict apart. An Ed25519 key signs these 32 bytes as its message; a passkey is given
//! them as its challenge.
//!
//! This is the one place where a user's signature is verified. A document counts only by a key that is for documents, a login only by one
//! that is for access ([`KeyUse`]).

mod passkey;

pub use passkey::InvalidAssertion;

use super::directory::{Directory, KeyId, KeyMaterial, KeyUse, User, UserId, UserKey};
use crate::text::{hex_bytes, hex_vec};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signature {
    pub user: UserId,
    /// Which of the user's keys.
    pub key: KeyId,
    pub evidence: Evidence,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Evidence {
    /// RFC 8032, over the digest's 32 bytes.
    Ed25519 {
        #[serde(with = "hex_bytes")]
        signature: [u8; 64],
    },
    /// A WebAuthn assertion whose challenge is the digest.
    Passkey {
        /// As the authenticator made it (WebAuthn level 3, section 6.1).
        #[serde(with = "hex_vec")]
        authenticator_data: Vec<u8>,
        /// The browser's `clientDataJSON`, exactly its bytes.
        client_data_json: String,
        /// ES256 in ASN.1 DER.
        #[serde(with = "hex_vec")]
        signature: Vec<u8>,
    },
}

/// Whose signature it is, proved.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'d> {
    pub user: &'d User,
    pub key: &'d UserKey,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    #[error("{0} is not in the directory")]
    UnknownUser(UserId),
    #[error("{0} is suspended")]
    Suspended(UserId),
    #[error("{user} has no key {key}; it may have been removed")]
    UnknownKey { user: UserId, key: KeyId },
    #[error("{user}'s key {key} is not for {wanted}; sign with one of their keys that is")]
    Use { user: UserId, key: KeyId, wanted: KeyUse },
    #[error("{user}'s key {key} is of another kind than the signature")]
    Kind { user: UserId, key: KeyId },
    #[error("is not {user}'s over this document by key {key}")]
    Ed25519 { user: UserId, key: KeyId },
    #[error("{user}'s passkey {key}: {source}")]
    Passkey { user: UserId, key: KeyId, source: InvalidAssertion },
}

impl Signature {
    /// Verifies a document by the directory as it is: a key that was removed and a user who is suspended verify nothing, whenever they signed.
    /// Nor does a key that is not for documents, whatever page it was that asked for its signature.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify<'d>(
        &self,
        directory: &'d Directory,
        digest: &[u8; 32],
    ) -> Result<Signer<'d>, InvalidSignature> {
        self.verify_for(KeyUse::Documents, directory, digest)
    }

    /// The same of a login, which takes a key that is for access.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify_login<'d>(
        &self,
        directory: &'d Directory,
        digest: &[u8; 32],
    ) -> Result<Signer<'d>, InvalidSignature> {
        self.verify_for(KeyUse::Access, directory, digest)
    }

    fn verify_for<'d>(
        &self,
        wanted: KeyUse,
        directory: &'d Directory,
        digest: &[u8; 32],
    ) -> Result<Signer<'d>, InvalidSignature> {
        let names = || (self.user.clone(), self.key.clone());
        let user =
            directory.user(&self.user).ok_or_else(|| InvalidSignature::UnknownUser(self.user.clone()))?;
        if user.suspended {
            return Err(InvalidSignature::Suspended(self.user.clone()));
        }
        let key = user.key(&self.key).ok_or_else(|| {
            let (user, key) = names();
            InvalidSignature::UnknownKey { user, key }
        })?;
        if !key.uses.include(wanted) {
            let (user, key) = names();
            return Err(InvalidSignature::Use { user, key, wanted });
        }
        match (&key.material, &self.evidence) {
            (KeyMaterial::Ed25519 { public_key }, Evidence::Ed25519 { signature }) => {
                verify_ed25519(public_key, digest, signature).map_err(|()| {
                    let (user, key) = names();
                    InvalidSignature::Ed25519 { user, key }
                })?;
            }
            (
                KeyMaterial::Passkey { public_key, rp_id, origins, .. },
                Evidence::Passkey { authenticator_data, client_data_json, signature },
            ) => passkey::Credential { public_key, rp_id, origins }
                .verify(digest, authenticator_data, client_data_json, signature)
                .map_err(|source| {
                    let (user, key) = names();
                    InvalidSignature::Passkey { user, key, source }
                })?,
            _ => {
                let (user, key) = names();
                return Err(InvalidSignature::Kind { user, key });
            }
        }
        Ok(Signer { user, key })
    }
}

/// Adds what users have signed who are not among the `signatures`: of two of one user, the one that is there stays. Whether there was any.
pub fn add_missing(signatures: &mut Vec<Signature>, more: &[Signature]) -> bool {
    let before = signatures.len();
    for signature in more {
        if signatures.iter().all(|there| there.user != signature.user) {
            signatures.push(signature.clone());
        }
    }
    signatures.len() > before
}

/// Strict verification: no keys of small order, no malleable signatures.
fn verify_ed25519(key: &[u8; 32], digest: &[u8; 32], signature: &[u8; 64]) -> Result<(), ()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key).map_err(|_| ())?;
    key.verify_strict(digest, &ed25519_dalek::Signature::from_bytes(signature)).map_err(|_| ())
}

#[cfg(test)]
mod tests;
