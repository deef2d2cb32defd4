//! An authenticator and a browser in one, with every part of an assertion open to being wrong.

use crate::governance::{
    directory::{KeyId, KeyMaterial, UserId, UserKey},
    signature::{Evidence, Signature},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use p256::ecdsa::{self, SigningKey, signature::Signer as _};
use sha2::{Digest as _, Sha256};

/// A P-256 credential for `desk.example`, made from names.
pub struct TestPasskey {
    pub user: UserId,
    pub id: KeyId,
    secret: SigningKey,
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
        Self {
            kind: "webauthn.get".into(),
            challenge: *digest,
            origin: "https://desk.example".into(),
            cross_origin: false,
            rp_id: "desk.example".into(),
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
    pub fn new(user: &str, id: &str) -> Self {
        let seed: [u8; 32] = Sha256::digest(format!("bursar/testing/passkey/{user}/{id}")).into();
        Self {
            user: user.parse().expect("a test names users validly"),
            id: id.parse().expect("a test names keys validly"),
            secret: SigningKey::from_slice(&seed).expect("a digest is below the curve's order but for luck"),
        }
    }
    pub fn public(&self) -> UserKey {
        let point = self.secret.verifying_key().to_encoded_point(true);
        let public_key = point.as_bytes().try_into().expect("a compressed point has 33 bytes");
        UserKey {
            id: self.id.clone(),
            material: KeyMaterial::Passkey {
                public_key,
                credential_id: vec![7; 16],
                rp_id: "desk.example".into(),
                origins: ["https://desk.example".to_owned()].into(),
            },
        }
    }
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let assertion = Assertion::new(digest);
        self.sign_parts(assertion.authenticator_data(), assertion.client_data_json())
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
