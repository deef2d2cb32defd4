//! An authenticator and a browser in one, with every part of an assertion open to being wrong.

use super::{ordered, recalled};
use crate::{
    governance::{
        directory::{KeyId, KeyMaterial, KeyUse, KeyUses, UserId, UserKey},
        signature::{Evidence, Signature},
    },
    intent::{Intent, SignedIntent},
    recall::SignedRecall,
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::{self, SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha256};

/// The domain of the desk's own page.
const DESK: &str = "desk.example";

/// A P-256 credential, made from names.
pub struct TestPasskey {
    pub user: UserId,
    pub id: KeyId,
    secret: SigningKey,
    /// As the log is to say.
    pub uses: KeyUses,
    /// The relying party, and where its page is.
    pub site: &'static str,
}

/// What an assertion is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    pub kind: String,
    pub challenge: [u8; 32],
    pub origin: String,
    pub cross_origin: bool,
    pub rp_id: String,
    /// UP 1, UV 4, BE 8, BS 16.
    pub flags: u8,
}

impl Assertion {
    /// As a browser makes it at the desk's own site.
    pub fn new(digest: &[u8; 32]) -> Self {
        Self::at(DESK, digest)
    }
    /// As a browser makes it at this site.
    pub fn at(site: &str, digest: &[u8; 32]) -> Self {
        Self {
            kind: "webauthn.get".into(),
            challenge: *digest,
            origin: format!("https://{site}"),
            cross_origin: false,
            rp_id: site.into(),
            flags: 0b101,
        }
    }
    pub fn client_data_json(&self) -> String {
        format!(
            r#"{{"type":"{}","challenge":"{}","origin":"{}","crossOrigin":{}}}"#,
            self.kind,
            Base64UrlUnpadded::encode_string(&self.challenge),
            self.origin,
            self.cross_origin
        )
    }
    pub fn authenticator_data(&self) -> Vec<u8> {
        [Sha256::digest(&self.rp_id).as_slice(), &[self.flags], &[0, 0, 0, 7]].concat()
    }
}

impl TestPasskey {
    /// For the desk's own page.
    pub fn new(user: &str, id: &str) -> Self {
        let seed: [u8; 32] = Sha256::digest(format!("bursar/testing/passkey/{user}/{id}")).into();
        Self {
            user: user.parse().expect("a test names users validly"),
            id: id.parse().expect("a test names keys validly"),
            secret: SigningKey::from_slice(&seed).expect("a digest is below the curve's order but for luck"),
            uses: KeyUses::Both,
            site: DESK,
        }
    }
    /// For nothing else.
    #[must_use]
    pub fn only(self, one: KeyUse) -> Self {
        Self { uses: one.into(), ..self }
    }
    /// For the page of another site.
    #[must_use]
    pub fn at(self, site: &'static str) -> Self {
        Self { site, ..self }
    }
    pub fn public(&self) -> UserKey {
        let point = self.secret.verifying_key().to_encoded_point(true);
        let public_key = point.as_bytes().try_into().expect("a compressed point has 33 bytes");
        UserKey {
            id: self.id.clone(),
            material: KeyMaterial::Passkey {
                public_key,
                credential_id: vec![7; 16],
                rp_id: self.site.into(),
                origins: [format!("https://{}", self.site)].into(),
            },
            uses: self.uses,
        }
    }
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let assertion = Assertion::at(self.site, digest);
        self.sign_parts(assertion.authenticator_data(), assertion.client_data_json())
    }
    /// This user's order, at the desk that its terms name.
    pub fn order(&self, intent: Intent) -> SignedIntent {
        ordered(&self.user, intent, |digest| self.sign(digest))
    }
    /// The word of this user that a payout of their order is not to be made.
    pub fn recall(&self, order: &SignedIntent, payment: u32) -> SignedRecall {
        recalled(order, payment, |digest| self.sign(digest))
    }
    /// Signs these very bytes.
    pub fn sign_parts(&self, authenticator_data: Vec<u8>, client_data_json: String) -> Signature {
        let signed = [authenticator_data.as_slice(), &Sha256::digest(&client_data_json)].concat();
        let signature: ecdsa::Signature = self.secret.sign(&signed);
        let signature = signature.to_der().as_bytes().to_vec();
        let evidence = Evidence::Passkey { authenticator_data, client_data_json, signature };
        Signature { user: self.user.clone(), key: self.id.clone(), evidence }
    }
}
