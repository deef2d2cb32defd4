//! The last check before a signature leaves: by other crates than those that made it, under the key that the rest of the
//! system derives.

use super::ProtocolError;
use bursar_domain::{
    hd::derive_public_key,
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
};
use k256::{
    AffinePoint, ProjectivePoint, Scalar,
    ecdsa::signature::hazmat::PrehashVerifier,
    elliptic_curve::{PrimeField, point::AffineCoordinates, sec1::FromEncodedPoint},
    schnorr,
};
use sha2::{Digest, Sha256};

/// # Errors
///
/// [`ProtocolError::InvalidSignature`] when it does not verify or, for ECDSA, has a high S.
pub(super) fn signature(
    key: &GroupKey,
    payload: &SigningPayload,
    signature: &SignatureBytes,
) -> Result<(), ProtocolError> {
    let scheme = key.scheme;
    let child =
        derive_public_key(key, &payload.path).map_err(|error| ProtocolError::protocol(scheme, &error))?;
    let verified = match scheme {
        Scheme::EcdsaSecp256k1 => ecdsa(&child, &payload.message, &signature.0),
        Scheme::Bip340 => bip340(&child, &payload.message, &signature.0),
        Scheme::Ed25519 => ed25519(&child, &payload.message, &signature.0),
    };
    verified.ok_or(ProtocolError::InvalidSignature { scheme })
}

fn ecdsa(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(key).ok()?;
    let signature = k256::ecdsa::Signature::from_slice(signature).ok()?;
    if signature.normalize_s().is_some() {
        return None;
    }
    key.verify_prehash(digest, &signature).ok()
}

fn bip340(key: &[u8], digest: &[u8], signature: &[u8]) -> Option<()> {
    let key = schnorr::VerifyingKey::from_bytes(&output_key(key)?).ok()?;
    let signature = schnorr::Signature::try_from(signature).ok()?;
    key.verify_prehash(digest, &signature).ok()
}

fn ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
    key.verify_strict(message, &ed25519_dalek::Signature::from_slice(signature).ok()?).ok()
}

/// BIP-341: Q = P + H_TapTweak(x(P))·G with P taken at its even Y, for an empty script tree. 32 bytes, x only.
fn output_key(internal: &[u8]) -> Option<[u8; 32]> {
    let x: [u8; 32] = internal.get(1..)?.try_into().ok()?;
    let mut even = [2; 33];
    even[1..].copy_from_slice(&x);
    let even = k256::EncodedPoint::from_bytes(even).ok()?;
    let point = Option::<AffinePoint>::from(AffinePoint::from_encoded_point(&even))?;
    let tag = Sha256::digest(b"TapTweak");
    let tweak = Sha256::new().chain_update(tag).chain_update(tag).chain_update(x).finalize();
    let tweak = Option::<Scalar>::from(Scalar::from_repr(tweak))?;
    let output = ProjectivePoint::from(point) + ProjectivePoint::GENERATOR * tweak;
    Some(output.to_affine().x().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// BIP-86's first address: internal and output key.
    #[test]
    fn output_keys_follow_bip86() {
        let internal = "02cc8a4bc64d897bddc5fbc2f670f7a8ba0b386779106cf1223c6fc5d7cd6fc115";
        let output = "a60869f0dbcf1dc659c9cecbaf8050135ea9e8cdc487053f1dc6880949dc684c";
        let internal = hex::decode(internal).unwrap();
        assert_eq!(output_key(&internal).map(hex::encode).as_deref(), Some(output));
        assert_eq!(output_key(&internal[..32]), None);
        assert_eq!(output_key(&[255; 33]), None);
    }
}
