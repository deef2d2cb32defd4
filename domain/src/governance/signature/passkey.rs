//! WebAuthn assertions, as far as they can be verified offline (WebAuthn level 3, section 7.2).
//!
//! Not checked, because nobody keeps such state in common: the signature counter. A cloned authenticator is for its owner to
//! notice, and its key for a security admin to remove.

use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The parts of a credential that an assertion is held against.
pub(super) struct Credential<'k> {
    /// P-256, SEC1 compressed.
    pub public_key: &'k [u8; 33],
    pub rp_id: &'k str,
    pub origins: &'k BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAssertion {
    #[error("{field}: longer than {max} bytes")]
    TooLong { field: &'static str, max: usize },
    #[error("clientDataJson: is not an object with type, challenge and origin")]
    ClientData,
    #[error("clientDataJson.type: is not webauthn.get")]
    Type,
    #[error("clientDataJson.challenge: is not the digest of what is signed, in base64url without padding")]
    Challenge,
    #[error("clientDataJson.origin: is not one of the key's origins")]
    Origin,
    #[error("clientDataJson.crossOrigin: assertions are not made inside of other sites' pages")]
    CrossOrigin,
    #[error("authenticatorData: shorter than 37 bytes")]
    AuthenticatorData,
    #[error("authenticatorData: of another relying party")]
    RelyingParty,
    #[error("authenticatorData: nobody was there (flag UP)")]
    UserPresent,
    #[error(
        "authenticatorData: the authenticator did not check who it was (flag UV); ask for user verification"
    )]
    UserVerified,
    #[error("authenticatorData: backed up, although it cannot be (flags BE and BS)")]
    Backup,
    #[error("publicKey: not a P-256 public key")]
    Key,
    #[error("signature: is not an ES256 signature in ASN.1 DER")]
    Encoding,
    #[error("signature: is not this key's over this assertion")]
    Signature,
}

const MAX_CLIENT_DATA: usize = 4096;
const MAX_AUTHENTICATOR_DATA: usize = 1024;

/// Unknown members are allowed: browsers add some on purpose (section 5.8.1). Of these four, none is allowed twice.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

/// Section 6.1.
mod flag {
    pub const USER_PRESENT: u8 = 1;
    pub const USER_VERIFIED: u8 = 1 << 2;
    pub const BACKUP_ELIGIBLE: u8 = 1 << 3;
    pub const BACKED_UP: u8 = 1 << 4;
}

impl Credential<'_> {
    pub fn verify(
        &self,
        challenge: &[u8; 32],
        authenticator_data: &[u8],
        client_data_json: &str,
        signature: &[u8],
    ) -> Result<(), InvalidAssertion> {
        self.check_client_data(challenge, client_data_json)?;
        self.check_authenticator_data(authenticator_data)?;
        let key = VerifyingKey::from_sec1_bytes(self.public_key).map_err(|_| InvalidAssertion::Key)?;
        // Authenticators make signatures with either S, so either is taken: no identity hangs on a signature's bytes.
        let signature = Signature::from_der(signature).map_err(|_| InvalidAssertion::Encoding)?;
        let signed = [authenticator_data, Sha256::digest(client_data_json).as_slice()].concat();
        key.verify(&signed, &signature).map_err(|_| InvalidAssertion::Signature)
    }

    fn check_client_data(&self, challenge: &[u8; 32], json: &str) -> Result<(), InvalidAssertion> {
        if json.len() > MAX_CLIENT_DATA {
            return Err(InvalidAssertion::TooLong { field: "clientDataJson", max: MAX_CLIENT_DATA });
        }
        let data: ClientData = serde_json::from_str(json).map_err(|_| InvalidAssertion::ClientData)?;
        if data.kind != "webauthn.get" {
            return Err(InvalidAssertion::Type);
        }
        if data.challenge != Base64UrlUnpadded::encode_string(challenge) {
            return Err(InvalidAssertion::Challenge);
        }
        if !self.origins.contains(&data.origin) {
            return Err(InvalidAssertion::Origin);
        }
        if data.cross_origin {
            return Err(InvalidAssertion::CrossOrigin);
        }
        Ok(())
    }

    fn check_authenticator_data(&self, data: &[u8]) -> Result<(), InvalidAssertion> {
        if data.len() > MAX_AUTHENTICATOR_DATA {
            return Err(InvalidAssertion::TooLong {
                field: "authenticatorData",
                max: MAX_AUTHENTICATOR_DATA,
            });
        }
        // rpIdHash (32), flags (1), signature counter (4), then what we do not ask for.
        let (Some(relying_party), Some(&flags), true) = (data.get(..32), data.get(32), data.len() >= 37)
        else {
            return Err(InvalidAssertion::AuthenticatorData);
        };
        if relying_party != Sha256::digest(self.rp_id).as_slice() {
            return Err(InvalidAssertion::RelyingParty);
        }
        if flags & flag::USER_PRESENT == 0 {
            return Err(InvalidAssertion::UserPresent);
        }
        if flags & flag::USER_VERIFIED == 0 {
            return Err(InvalidAssertion::UserVerified);
        }
        if flags & flag::BACKED_UP != 0 && flags & flag::BACKUP_ELIGIBLE == 0 {
            return Err(InvalidAssertion::Backup);
        }
        Ok(())
    }
}
