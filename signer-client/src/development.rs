//! A signer that holds complete keys in one file: `development_single_key`.
//!
//! It is the opposite of what Bursar is for. No co-signer looks at anything: whoever can reach it, or read its file, moves all the
//! money. It exists so that the rest of the orchestrator can be measured and worked on without the cost of a threshold
//! signature, and the configuration refuses it on every network but throw-away ones
//! ([`Network::is_regtest`](bursar_domain::network::Network::is_regtest)).
//!
//! From a seed of 32 bytes follow a key and a chain code for each scheme. Children are derived as those of the group keys are
//! ([`bursar_domain::hd`]), so wallets, addresses and transactions are of the same kind.

mod seed;

pub use seed::{Seed, SeedError};

use crate::check;
use bursar_domain::{
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, PartyIndex, Scheme, SignatureBytes, SigningPayload},
    wallet::DerivationPath,
};
use generic_ec::{
    Curve, Point, Scalar, SecretScalar,
    curves::{Ed25519, Secp256k1},
};
use hd_wallet::{Edwards, ExtendedKeyPair, ExtendedSecretKey, HdWallet, NonHardenedIndex, Slip10};
use k256::ecdsa::signature::hazmat::PrehashSigner as _;
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize as _, Zeroizing};

/// How configuration, logs, `/health` and `/v1/status` call it.
pub const NAME: &str = "development_single_key";

/// Complete keys of all three schemes. No `Debug`, no `Clone`; wiped on drop.
pub struct DevelopmentSingleKey {
    ecdsa: ExtendedKeyPair<Secp256k1>,
    bip340: ExtendedKeyPair<Secp256k1>,
    ed25519: ExtendedKeyPair<Ed25519>,
}

impl DevelopmentSingleKey {
    pub fn new(seed: &Seed) -> Self {
        Self {
            ecdsa: root(seed, Scheme::EcdsaSecp256k1),
            bip340: root(seed, Scheme::Bip340),
            ed25519: root(seed, Scheme::Ed25519),
        }
    }

    fn key(&self, scheme: Scheme) -> GroupKey {
        let (public_key, chain_code) = match scheme {
            Scheme::EcdsaSecp256k1 => public(&self.ecdsa),
            Scheme::Bip340 => public(&self.bip340),
            Scheme::Ed25519 => public(&self.ed25519),
        };
        GroupKey { scheme, public_key, chain_code, threshold: 1, parties: 1, generation: 0 }
    }

    /// `None` when the payload cannot be signed as its scheme says: a digest of another length, or a hardened path.
    fn signature(&self, payload: &SigningPayload) -> Option<SignatureBytes> {
        let bytes = match payload.scheme {
            Scheme::EcdsaSecp256k1 => ecdsa(&child::<_, Slip10>(&self.ecdsa, &payload.path)?, payload)?,
            Scheme::Bip340 => bip340(&child::<_, Slip10>(&self.bip340, &payload.path)?, payload)?,
            Scheme::Ed25519 => ed25519(&child::<_, Edwards>(&self.ed25519, &payload.path)?, &payload.message),
        };
        Some(SignatureBytes(bytes))
    }
}

#[async_trait::async_trait]
impl ThresholdSigner for DevelopmentSingleKey {
    fn keys(&self) -> Vec<GroupKey> {
        Scheme::ALL.into_iter().map(|scheme| self.key(scheme)).collect()
    }

    fn online(&self, _: Scheme) -> u16 {
        1
    }

    /// Signs whatever it is given, as long as the network is a throw-away one. An error means that no signature left it.
    async fn sign(
        &self,
        package: &SigningPackage,
        payloads: &[SigningPayload],
    ) -> Result<Vec<SignatureBytes>, SignError> {
        let network = package.unsigned.wallet.network;
        if !network.is_regtest() {
            let reason = format!("{NAME} does not sign for {network}");
            return Err(SignError::Refused {
                party: PartyIndex(0),
                code: "NETWORK_NOT_ALLOWED".into(),
                reason,
                started: false,
            });
        }
        let aborted = |reason: String| SignError::Aborted { reason, started: false };
        let one = |payload: &SigningPayload| {
            let signature = self.signature(payload);
            let signature =
                signature.ok_or_else(|| aborted(format!("{NAME}: not a payload of {}", payload.scheme)))?;
            check::signature(&self.key(payload.scheme), payload, &signature)
                .map_err(|error| aborted(format!("{NAME}: {error}")))?;
            Ok(signature)
        };
        payloads.iter().map(one).collect()
    }
}

/// The master key of a scheme: SHA-512 and SHA-256 of the seed with a label of their own.
fn root<E: Curve>(seed: &Seed, scheme: Scheme) -> ExtendedKeyPair<E> {
    let label = |part: &str| format!("bursar/{NAME}/v1/{scheme}/{part}");
    let mut wide = Zeroizing::new([0; 64]);
    wide.copy_from_slice(&Sha512::new().chain_update(label("key")).chain_update(seed.bytes()).finalize());
    let chain_code = Sha256::new().chain_update(label("chain code")).chain_update(seed.bytes()).finalize();
    let mut scalar = Scalar::<E>::from_be_bytes_mod_order(wide.as_slice());
    ExtendedSecretKey { secret_key: SecretScalar::new(&mut scalar), chain_code: chain_code.into() }.into()
}

fn public<E: Curve>(pair: &ExtendedKeyPair<E>) -> (Vec<u8>, [u8; 32]) {
    (pair.public_key().public_key.to_bytes(true).to_vec(), *pair.chain_code())
}

/// The child that signs for `path`; `None` for a hardened path, which no group key could follow.
fn child<E: Curve, Hd: HdWallet<E>>(
    root: &ExtendedKeyPair<E>,
    path: &DerivationPath,
) -> Option<ExtendedKeyPair<E>> {
    let element = |index| NonHardenedIndex::try_from(index).map(u32::from);
    Hd::try_derive_child_key_pair_with_path(root, path.elements().map(element)).ok()
}

/// 32 bytes, big-endian.
fn secret_bytes(pair: &ExtendedKeyPair<Secp256k1>) -> Zeroizing<Vec<u8>> {
    let mut encoded = pair.secret_key().secret_key.as_ref().to_be_bytes();
    let bytes = Zeroizing::new(encoded.to_vec());
    encoded.as_mut().zeroize();
    bytes
}

/// RFC 6979 nonces, low S.
fn ecdsa(pair: &ExtendedKeyPair<Secp256k1>, payload: &SigningPayload) -> Option<[u8; 64]> {
    let digest: &[u8; 32] = payload.message.as_slice().try_into().ok()?;
    let key = k256::ecdsa::SigningKey::from_slice(&secret_bytes(pair)).ok()?;
    let signature: k256::ecdsa::Signature = key.sign_prehash(digest).ok()?;
    Some(signature.normalize_s().unwrap_or(signature).to_bytes().into())
}

/// BIP-340 with the zero auxiliary randomness that it allows, under the BIP-341 output key where the payload asks for it.
fn bip340(pair: &ExtendedKeyPair<Secp256k1>, payload: &SigningPayload) -> Option<[u8; 64]> {
    let digest: &[u8; 32] = payload.message.as_slice().try_into().ok()?;
    // The crate takes the scalar whose point has an even Y.
    let internal = k256::schnorr::SigningKey::from_bytes(&secret_bytes(pair)).ok()?;
    let key = if payload.taproot_tweak { tweaked(&internal)? } else { internal };
    Some(key.sign_prehash_with_aux_rand(digest, &[0; 32]).ok()?.to_bytes())
}

/// BIP-341, `taproot_tweak_seckey` with an empty script tree: d + H_TapTweak(P), for the d whose P has an even Y.
fn tweaked(internal: &k256::schnorr::SigningKey) -> Option<k256::schnorr::SigningKey> {
    let mut tweaked = **internal.as_nonzero_scalar() + check::tap_tweak(&internal.verifying_key().to_bytes());
    let key = k256::schnorr::SigningKey::from_bytes(&Zeroizing::new(tweaked.to_bytes()));
    tweaked.zeroize();
    key.ok()
}

/// RFC 8032, section 5.1.6, from the point where scalar and prefix are known: a derived child has no seed to expand. Its
/// prefix is a hash of its scalar, so nonces are secret and belong to one message.
fn ed25519(pair: &ExtendedKeyPair<Ed25519>, message: &[u8]) -> [u8; 64] {
    let secret = pair.secret_key().secret_key.as_ref();
    let public = pair.public_key().public_key.to_bytes(true);
    let mut scalar = secret.to_le_bytes();
    let prefix = Sha256::new().chain_update("bursar/ed25519 nonce prefix").chain_update(&scalar).finalize();
    scalar.as_mut().zeroize();
    let mut nonce = hash_to_scalar(&[prefix.as_slice(), message]);
    let commitment = (Point::<Ed25519>::generator() * nonce).to_bytes(true);
    let challenge = hash_to_scalar(&[commitment.as_bytes(), public.as_bytes(), message]);
    let response = (nonce + challenge * secret).to_le_bytes();
    nonce.zeroize();
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(commitment.as_bytes());
    signature[32..].copy_from_slice(response.as_bytes());
    signature
}

/// SHA-512 as a little-endian integer, modulo the group order.
fn hash_to_scalar(parts: &[&[u8]]) -> Scalar<Ed25519> {
    let hash = parts.iter().fold(Sha512::new(), |hash, part| hash.chain_update(part)).finalize();
    Scalar::from_le_bytes_mod_order(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::wallet::Branch;

    fn signer(byte: u8) -> DevelopmentSingleKey {
        DevelopmentSingleKey::new(&Seed::from_bytes(Zeroizing::new([byte; 32])))
    }

    fn payload(scheme: Scheme, index: u32, taproot_tweak: bool) -> SigningPayload {
        let path = DerivationPath { purpose: 86, account: 3, branch: Branch::Receive, index };
        SigningPayload { scheme, path, message: vec![index as u8; 32], taproot_tweak }
    }

    /// Children at many paths have odd and even points, and S before normalising is high for half of them.
    #[test]
    fn signatures_verify_under_the_keys_that_the_rest_of_bursar_derives() {
        let signer = signer(7);
        for (scheme, tweak) in [
            (Scheme::EcdsaSecp256k1, false),
            (Scheme::Bip340, false),
            (Scheme::Bip340, true),
            (Scheme::Ed25519, false),
        ] {
            let key = signer.keys().into_iter().find(|key| key.scheme == scheme).unwrap();
            for index in 0..16 {
                let payload = payload(scheme, index, tweak);
                let signature = signer.signature(&payload).unwrap();
                assert_eq!(check::signature(&key, &payload, &signature), Ok(()), "{scheme} {index}");
                let other = SigningPayload { message: vec![99; 32], ..payload };
                assert!(check::signature(&key, &other, &signature).is_err(), "{scheme} {index}");
            }
        }
    }

    #[test]
    fn one_seed_gives_one_set_of_keys_and_another_seed_others() {
        assert_eq!(signer(1).keys(), signer(1).keys());
        let keys: Vec<_> = signer(1).keys().into_iter().chain(signer(2).keys()).collect();
        for (place, key) in keys.iter().enumerate() {
            assert_eq!((key.threshold, key.parties), (1, 1));
            assert!(keys[..place].iter().all(|other| other.public_key != key.public_key));
        }
    }

    #[test]
    fn a_digest_of_another_length_is_not_signed() {
        for scheme in [Scheme::EcdsaSecp256k1, Scheme::Bip340] {
            let long = SigningPayload { message: vec![1; 33], ..payload(scheme, 0, false) };
            assert!(signer(1).signature(&long).is_none());
        }
    }

    #[test]
    fn a_hardened_path_is_not_signed() {
        let hardened = payload(Scheme::Ed25519, 1 << 31, false);
        assert!(signer(1).signature(&hardened).is_none());
    }
}
