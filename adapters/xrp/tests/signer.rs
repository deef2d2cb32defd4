//! A key held in one piece, in place of the co-signers: what a threshold signature must look like from outside.

use bursar_domain::{
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    wallet::{DerivationPath, WalletKind},
};
use generic_ec::{
    Curve, Point, Scalar, SecretScalar,
    curves::{Ed25519, Secp256k1},
};
use hd_wallet::{Edwards, ExtendedKeyPair, ExtendedSecretKey, HdWallet, Slip10};
use k256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha512};

const CHAIN_CODE: [u8; 32] = [7; 32];

pub struct Signer {
    pub key: GroupKey,
    seed: [u8; 32],
}

impl Signer {
    pub fn new(kind: WalletKind, seed: [u8; 32]) -> Self {
        let scheme = kind.scheme();
        let public_key = match scheme {
            Scheme::Ed25519 => root::<Ed25519>(&seed).public_key().public_key.to_bytes(true).to_vec(),
            _ => root::<Secp256k1>(&seed).public_key().public_key.to_bytes(true).to_vec(),
        };
        let key =
            GroupKey { scheme, public_key, chain_code: CHAIN_CODE, threshold: 2, parties: 3, generation: 0 };
        Self { key, seed }
    }

    pub fn sign(&self, payload: &SigningPayload) -> SignatureBytes {
        match payload.scheme {
            Scheme::Ed25519 => SignatureBytes(self.ed25519(payload)),
            _ => {
                let scalar = child::<Secp256k1, Slip10>(&self.seed, &payload.path);
                let key = k256::ecdsa::SigningKey::from_slice(&scalar.to_be_bytes()).unwrap();
                let signature: k256::ecdsa::Signature = key.sign_prehash(&payload.message).unwrap();
                SignatureBytes(signature.to_bytes().into())
            }
        }
    }

    /// RFC 8032 with the nonce taken from a hash of key and message, as a derived scalar has no seed.
    fn ed25519(&self, payload: &SigningPayload) -> [u8; 64] {
        let secret = child::<Ed25519, Edwards>(&self.seed, &payload.path);
        let public = (Point::<Ed25519>::generator() * secret).to_bytes(true).to_vec();
        let reduce = |parts: &[&[u8]]| {
            let digest = parts.iter().fold(Sha512::new(), |hash, part| hash.chain_update(part)).finalize();
            Scalar::<Ed25519>::from_le_bytes_mod_order(digest)
        };
        let nonce = reduce(&[&secret.to_le_bytes(), &payload.message]);
        let commitment = (Point::<Ed25519>::generator() * nonce).to_bytes(true).to_vec();
        let challenge = reduce(&[&commitment, &public, &payload.message]);
        let response = nonce + challenge * secret;
        [commitment, response.to_le_bytes().to_vec()].concat().try_into().unwrap()
    }
}

fn root<E: Curve>(seed: &[u8; 32]) -> ExtendedKeyPair<E> {
    let mut scalar = Scalar::<E>::from_be_bytes_mod_order(seed);
    ExtendedKeyPair::from(ExtendedSecretKey {
        secret_key: SecretScalar::new(&mut scalar),
        chain_code: CHAIN_CODE,
    })
}

fn child<E: Curve, Hd: HdWallet<E>>(seed: &[u8; 32], path: &DerivationPath) -> Scalar<E> {
    let key = path
        .elements()
        .into_iter()
        .fold(root::<E>(seed), |key, element| Hd::derive_child_key_pair(&key, element));
    let secret: &Scalar<E> = key.secret_key().secret_key.as_ref();
    *secret
}
