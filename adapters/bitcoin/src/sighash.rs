//! The digests to be signed: BIP-341 with SIGHASH_DEFAULT, or BIP-143 with SIGHASH_ALL.

use crate::decode::{Explained, OwnInput};
use bitcoin::{
    EcdsaSighashType, TapSighashType, TxOut,
    hashes::Hash,
    sighash::{Prevouts, SighashCache},
};
use bursar_domain::{
    ports::DecodeError,
    signing::{Scheme, SigningPayload},
};

/// One payload for each input, in input order.
pub(crate) fn payloads(explained: &Explained) -> Result<Vec<SigningPayload>, DecodeError> {
    let prevouts: Vec<&TxOut> = explained.inputs.iter().map(|own| &own.prevout).collect();
    let all = Prevouts::All(&prevouts);
    let mut cache = SighashCache::new(&explained.transaction);
    let mut payloads = Vec::with_capacity(prevouts.len());
    for (index, OwnInput { path, prevout, .. }) in explained.inputs.iter().enumerate() {
        let taproot = prevout.script_pubkey.is_p2tr();
        let digest = if taproot {
            cache
                .taproot_key_spend_signature_hash(index, &all, TapSighashType::Default)
                .map(|hash| hash.to_byte_array())
                .map_err(|error| DecodeError::Malformed(error.to_string()))?
        } else {
            cache
                .p2wpkh_signature_hash(index, &prevout.script_pubkey, prevout.value, EcdsaSighashType::All)
                .map(|hash| hash.to_byte_array())
                .map_err(|error| DecodeError::Malformed(error.to_string()))?
        };
        payloads.push(SigningPayload {
            scheme: if taproot { Scheme::Bip340 } else { Scheme::EcdsaSecp256k1 },
            path: *path,
            message: digest.to_vec(),
            taproot_tweak: taproot,
        });
    }
    Ok(payloads)
}
