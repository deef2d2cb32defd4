//! Puts a verified signature into a transaction.

use crate::{EthereumAdapter, address, decode};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope, transaction::RlpEcdsaDecodableTx},
    eips::eip2718::{Decodable2718, Encodable2718},
    primitives::{Signature, U256},
};
use bursar_domain::{
    hd::DeriveError,
    package::{SignedTransaction, UnsignedTransaction},
    ports::{AssembleError, AssembleTransaction, DecodeError, DecodeTransaction},
    signing::{GroupKey, SignatureBytes},
};
use k256::ecdsa::{self, RecoveryId, VerifyingKey, signature::hazmat::PrehashVerifier};

impl AssembleTransaction for EthereumAdapter {
    fn assemble(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
        signatures: &[SignatureBytes],
    ) -> Result<SignedTransaction, AssembleError> {
        let payloads = self.signing_payloads(unsigned, key)?;
        let ([payload], [signature]) = (payloads.as_slice(), signatures) else {
            return Err(AssembleError::Count { expected: payloads.len(), given: signatures.len() });
        };
        let path = decode::source(unsigned)?;
        let child = address::child_key(key, &path).map_err(DecodeError::from)?;
        let child = VerifyingKey::from_sec1_bytes(&child)
            .map_err(|_| DecodeError::from(DeriveError::InvalidPoint(key.scheme)))?;
        let signature =
            complete(&child, &payload.message, signature).ok_or(AssembleError::Invalid { index: 0, path })?;

        let malformed = |what: &str| DecodeError::Malformed(what.to_owned());
        // The type byte is in front; `signing_payloads` saw that it is there.
        let transaction = TxEip1559::rlp_decode(&mut &unsigned.bytes[1..])
            .map_err(|error| DecodeError::Malformed(error.to_string()))?;
        let envelope = TxEnvelope::from(transaction.into_signed(signature));
        let bytes = envelope.encoded_2718();
        // What leaves here is read once more: the same transaction, with exactly this signature.
        let mut rest = bytes.as_slice();
        let again = TxEnvelope::decode_2718(&mut rest).map_err(|_| malformed("the assembled bytes"))?;
        let same = again.as_eip1559().is_some_and(|signed| {
            signed.tx().encoded_for_signing() == unsigned.bytes && *signed.signature() == signature
        });
        if !same || !rest.is_empty() {
            return Err(malformed("the assembled bytes are of another transaction").into());
        }
        Ok(SignedTransaction { tx_id: again.tx_hash().to_string(), bytes })
    }
}

/// The signature with low S (EIP-2) and its parity, found by trial, if `key` made it over `digest`.
fn complete(key: &VerifyingKey, digest: &[u8], signature: &SignatureBytes) -> Option<Signature> {
    let given = ecdsa::Signature::from_slice(&signature.0).ok()?;
    let signature = given.normalize_s().unwrap_or(given);
    key.verify_prehash(digest, &signature).ok()?;
    // Ethereum has no sign for r + n; that r is under n is a matter of one in 2^128.
    let parity = [false, true].into_iter().find(|odd| {
        let recovered = VerifyingKey::recover_from_prehash(digest, &signature, RecoveryId::new(*odd, false));
        recovered.is_ok_and(|recovered| recovered == *key)
    })?;
    let (r, s) = signature.split_bytes();
    Some(Signature::new(U256::from_be_slice(&r), U256::from_be_slice(&s), parity))
}
