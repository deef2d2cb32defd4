//! Puts signatures into a transaction, each verified first under the key that must have made it.
//!
//! Two kinds of input exist, so the witnesses are written by hand: BIP-341 key path `[signature]` (64 bytes,
//! SIGHASH_DEFAULT), BIP-141 P2WPKH `[DER signature ‖ SIGHASH_ALL, public key]` with low S.

use crate::{
    BitcoinAdapter,
    decode::{OwnInput, explain},
    sighash,
};
use bitcoin::{
    TapSighashType, Witness,
    consensus::serialize,
    key::TapTweak,
    secp256k1::{Message, Secp256k1, VerifyOnly, ecdsa, schnorr},
    taproot,
};
use bursar_domain::{
    package::{SignedTransaction, UnsignedTransaction},
    ports::{AssembleError, AssembleTransaction, DecodeError},
    signing::{GroupKey, SignatureBytes},
};

impl AssembleTransaction for BitcoinAdapter {
    fn assemble(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
        signatures: &[SignatureBytes],
    ) -> Result<SignedTransaction, AssembleError> {
        let explained = explain(unsigned, key)?;
        let payloads = sighash::payloads(&explained)?;
        if signatures.len() != payloads.len() {
            return Err(AssembleError::Count { expected: payloads.len(), given: signatures.len() });
        }
        let secp = Secp256k1::verification_only();
        let mut transaction = explained.transaction;
        let tx_id = transaction.compute_txid();
        for (index, (payload, signature)) in payloads.iter().zip(signatures).enumerate() {
            let own = &explained.inputs[index];
            let digest = Message::from_digest_slice(&payload.message)
                .map_err(|_| DecodeError::Malformed("a sighash has 32 bytes".to_owned()))?;
            transaction.input[index].witness = witness(&secp, own, &digest, signature)
                .ok_or(AssembleError::Invalid { index, path: own.path })?;
        }
        Ok(SignedTransaction { tx_id: tx_id.to_string(), bytes: serialize(&transaction) })
    }
}

/// The input's witness, or `None` if the signature is not valid.
fn witness(
    secp: &Secp256k1<VerifyOnly>,
    own: &OwnInput,
    digest: &Message,
    signature: &SignatureBytes,
) -> Option<Witness> {
    if own.prevout.script_pubkey.is_p2tr() {
        let signature = schnorr::Signature::from_slice(&signature.0).ok()?;
        let (output_key, _parity) = own.key.x_only_public_key().0.tap_tweak(secp, None);
        secp.verify_schnorr(&signature, digest, &output_key.to_x_only_public_key()).ok()?;
        Some(Witness::p2tr_key_spend(&taproot::Signature {
            signature,
            sighash_type: TapSighashType::Default,
        }))
    } else {
        let mut signature = ecdsa::Signature::from_compact(&signature.0).ok()?;
        // BIP-146: nodes relay low-S signatures only. libsecp256k1 verifies no others either.
        signature.normalize_s();
        secp.verify_ecdsa(digest, &signature, &own.key).ok()?;
        Some(Witness::p2wpkh(&bitcoin::ecdsa::Signature::sighash_all(signature), &own.key))
    }
}
