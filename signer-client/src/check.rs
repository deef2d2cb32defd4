//! Verifies what a session gives, under the child key that the rest of Bursar derives.

use bursar_domain::{
    hd::{DeriveError, derive_public_key},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
};
use k256::{
    ProjectivePoint, PublicKey, Scalar, ecdsa::signature::hazmat::PrehashVerifier as _,
    elliptic_curve::sec1::ToEncodedPoint as _,
};
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSignature {
    #[error(transparent)]
    Derive(#[from] DeriveError),
    #[error("the signature is not valid under the {0} key of its path")]
    Signature(Scheme),
}

/// Whether `signature` is valid for `payload` under `key`'s child. ECDSA must have a low S.
pub fn signature(
    key: &GroupKey,
    payload: &SigningPayload,
    signature: &SignatureBytes,
) -> Result<(), InvalidSignature> {
    let child = derive_public_key(key, &payload.path)?;
    let valid = match payload.scheme {
        Scheme::EcdsaSecp256k1 => ecdsa(&child, &payload.message, &signature.0),
        Scheme::Bip340 => bip340(&child, payload, &signature.0),
        Scheme::Ed25519 => ed25519(&child, &payload.message, &signature.0),
    };
    valid.ok_or(InvalidSignature::Signature(payload.scheme))
}

fn ecdsa(child: &[u8], digest: &[u8], signature: &[u8; 64]) -> Option<()> {
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(child).ok()?;
    let signature = k256::ecdsa::Signature::from_slice(signature).ok()?;
    if digest.len() != 32 || signature.normalize_s().is_some() {
        return None;
    }
    key.verify_prehash(digest, &signature).ok()
}

fn bip340(child: &[u8], payload: &SigningPayload, signature: &[u8; 64]) -> Option<()> {
    let internal = child.get(1..33)?;
    let output = if payload.taproot_tweak { tweaked(internal)? } else { internal.to_vec() };
    let key = k256::schnorr::VerifyingKey::from_bytes(&output).ok()?;
    let signature = k256::schnorr::Signature::try_from(signature.as_slice()).ok()?;
    let message: &[u8; 32] = payload.message.as_slice().try_into().ok()?;
    key.verify_prehash(message, &signature).ok()
}

/// The BIP-341 output key of an internal key with an empty script tree: P + H_TapTweak(P)·G.
fn tweaked(internal: &[u8]) -> Option<Vec<u8>> {
    let even: Vec<u8> = std::iter::once(2).chain(internal.iter().copied()).collect();
    let point = PublicKey::from_sec1_bytes(&even).ok()?.to_projective();
    let scalar = tap_tweak(internal);
    let output = PublicKey::from_affine((point + ProjectivePoint::GENERATOR * scalar).to_affine()).ok()?;
    output.to_encoded_point(true).x().map(|x| x.to_vec())
}

/// BIP-341: H_TapTweak of an internal key (32 bytes, x only) with an empty script tree.
pub(crate) fn tap_tweak(internal: &[u8]) -> Scalar {
    let tag = Sha256::digest(b"TapTweak");
    let tweak = Sha256::new().chain_update(tag).chain_update(tag).chain_update(internal).finalize();
    <Scalar as k256::elliptic_curve::ops::Reduce<k256::U256>>::reduce_bytes(&tweak)
}

fn ed25519(child: &[u8], message: &[u8], signature: &[u8; 64]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(child.try_into().ok()?).ok()?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).ok()
}
