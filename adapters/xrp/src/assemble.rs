//! A signature, verified, into the blob that the network takes.

use crate::{XrpAdapter, codec::transaction_hash, decode::explain};
use bursar_domain::{
    package::{SignedTransaction, UnsignedTransaction},
    ports::{AssembleError, AssembleTransaction, DecodeError},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
};
use k256::ecdsa::signature::hazmat::PrehashVerifier;

impl AssembleTransaction for XrpAdapter {
    fn assemble(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
        signatures: &[SignatureBytes],
    ) -> Result<SignedTransaction, AssembleError> {
        let explained = explain(unsigned, key)?;
        let [signature] = signatures else {
            return Err(AssembleError::Count { expected: 1, given: signatures.len() });
        };
        let public_key = &explained.fields.signing_pub_key.0;
        let txn_signature = verified(&explained.payload, public_key, signature)
            .ok_or(AssembleError::Invalid { index: 0, path: explained.payload.path })?;
        let blob = explained
            .fields
            .signed_bytes(&txn_signature)
            .map_err(|error| AssembleError::Decode(DecodeError::Malformed(error.to_string())))?;
        Ok(SignedTransaction { tx_id: transaction_hash(&blob), bytes: blob })
    }
}

/// The signature as `TxnSignature` holds it (DER with low S, or the 64 bytes of RFC 8032), if it is valid.
fn verified(
    payload: &SigningPayload,
    public_key: &[u8; 33],
    SignatureBytes(bytes): &SignatureBytes,
) -> Option<Vec<u8>> {
    match payload.scheme {
        Scheme::Ed25519 => {
            let (_, key) = public_key.split_first_chunk::<1>()?;
            let key = ed25519_dalek::VerifyingKey::from_bytes(key.try_into().ok()?).ok()?;
            let signature = ed25519_dalek::Signature::from_bytes(bytes);
            key.verify_strict(&payload.message, &signature).ok()?;
            Some(bytes.to_vec())
        }
        Scheme::EcdsaSecp256k1 => {
            let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(public_key).ok()?;
            let signature = k256::ecdsa::Signature::from_slice(bytes).ok()?;
            // Servers refuse high-S signatures as malleable.
            let signature = signature.normalize_s().unwrap_or(signature);
            key.verify_prehash(&payload.message, &signature).ok()?;
            Some(signature.to_der().as_bytes().to_vec())
        }
        Scheme::Bip340 => None,
    }
}

#[cfg(test)]
mod tests;
