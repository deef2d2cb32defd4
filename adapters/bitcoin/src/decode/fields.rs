//! The fields of a PSBT input: each recomputed, or refused.

use super::{
    OwnInput,
    derive::{OwnKeys, ScriptKind},
    refuse,
};
use bitcoin::{TapLeafHash, XOnlyPublicKey, bip32::KeySource, psbt::Input, secp256k1::PublicKey};
use bursar_domain::ports::DecodeError;
use std::collections::BTreeMap;

/// Taken apart without `..`: see the module above.
pub fn own_input(input: Input, keys: &OwnKeys<'_>) -> Result<OwnInput, DecodeError> {
    let Input {
        witness_utxo,
        bip32_derivation,
        tap_key_origins,
        tap_internal_key,
        non_witness_utxo,
        partial_sigs,
        sighash_type,
        redeem_script,
        witness_script,
        final_script_sig,
        final_script_witness,
        ripemd160_preimages,
        sha256_preimages,
        hash160_preimages,
        hash256_preimages,
        tap_key_sig,
        tap_script_sigs,
        tap_scripts,
        tap_merkle_root,
        proprietary,
        unknown,
    } = input;
    // Absent means SIGHASH_DEFAULT (BIP-341) or SIGHASH_ALL: all inputs and outputs are committed to.
    if sighash_type.is_some() {
        return refuse("sighash type", "must be absent: everything is signed");
    }
    let signed = !partial_sigs.is_empty()
        || tap_key_sig.is_some()
        || !tap_script_sigs.is_empty()
        || final_script_sig.is_some()
        || final_script_witness.is_some();
    if signed {
        return refuse("input", "carries signatures already");
    }
    let scripted = redeem_script.is_some()
        || witness_script.is_some()
        || !tap_scripts.is_empty()
        || tap_merkle_root.is_some();
    if scripted {
        return refuse("input", "carries scripts; the wallet has none");
    }
    let unexplained = non_witness_utxo.is_some()
        || !ripemd160_preimages.is_empty()
        || !sha256_preimages.is_empty()
        || !hash160_preimages.is_empty()
        || !hash256_preimages.is_empty()
        || !proprietary.is_empty()
        || !unknown.is_empty();
    if unexplained {
        return refuse("input", "has fields that are not explained");
    }
    let Some(prevout) = witness_utxo else { return refuse("witness_utxo", "is missing") };
    let (claimed, source) = origin(keys.kind, bip32_derivation, tap_key_origins, tap_internal_key)?;
    let path = keys.path(&source)?;
    let key = keys.child(&path)?;
    if claimed != Claimed::of(keys.kind, &key) || keys.script(&key) != prevout.script_pubkey {
        return refuse("witness_utxo", format!("is not locked to the wallet's key at {path}"));
    }
    Ok(OwnInput { path, key, prevout })
}

/// A public key as the PSBT names it.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    Full(PublicKey),
    XOnly(XOnlyPublicKey),
}

impl Claimed {
    pub fn of(kind: ScriptKind, key: &PublicKey) -> Self {
        match kind {
            ScriptKind::Taproot => Self::XOnly(key.x_only_public_key().0),
            ScriptKind::WitnessKeyHash => Self::Full(*key),
        }
    }
}

pub type TapOrigins = BTreeMap<XOnlyPublicKey, (Vec<TapLeafHash>, KeySource)>;

/// The one key origin that an input or a change output must have, in the fields of its kind and in no others.
pub fn origin(
    kind: ScriptKind,
    ecdsa: BTreeMap<PublicKey, KeySource>,
    taproot: TapOrigins,
    internal: Option<XOnlyPublicKey>,
) -> Result<(Claimed, KeySource), DecodeError> {
    let mut ecdsa = ecdsa.into_iter();
    let mut taproot = taproot.into_iter();
    let found = (kind, ecdsa.next(), taproot.next(), internal);
    if ecdsa.next().is_some() || taproot.next().is_some() {
        return refuse("key origin", "is given more than once");
    }
    match found {
        (ScriptKind::WitnessKeyHash, Some((key, source)), None, None) => Ok((Claimed::Full(key), source)),
        (ScriptKind::Taproot, None, Some((key, (leaves, source))), Some(internal))
            if leaves.is_empty() && key == internal =>
        {
            Ok((Claimed::XOnly(key), source))
        }
        _ => refuse("key origin", "is missing, or is not of the wallet's kind"),
    }
}
