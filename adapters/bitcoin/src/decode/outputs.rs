//! Outputs: a payment to somebody, or change that is proven to return to the wallet.

use super::{
    derive::OwnKeys,
    fields::{Claimed, origin},
    refuse,
};
use bitcoin::{TxOut, psbt};
use bursar_domain::{
    amount::Amount,
    effects::Change,
    intent::{Destination, Payment},
    ports::DecodeError,
};

pub enum Output {
    Payment(Payment),
    Change(Change),
}

/// An output with a key origin claims to be change: then its script must follow from that path, or the whole is refused. An
/// output without any fields is a payment, even to an address of the wallet.
pub fn explain(output: &TxOut, fields: psbt::Output, keys: &OwnKeys<'_>) -> Result<Output, DecodeError> {
    // Taken apart without `..`: see the module above.
    let psbt::Output {
        bip32_derivation,
        tap_internal_key,
        tap_key_origins,
        redeem_script,
        witness_script,
        tap_tree,
        proprietary,
        unknown,
    } = fields;
    let unexplained = redeem_script.is_some()
        || witness_script.is_some()
        || tap_tree.is_some()
        || !proprietary.is_empty()
        || !unknown.is_empty();
    if unexplained {
        return refuse("output", "has fields that are not explained");
    }
    let address = keys.show(&output.script_pubkey)?;
    let amount = Amount::from_u64(output.value.to_sat());
    if bip32_derivation.is_empty() && tap_key_origins.is_empty() && tap_internal_key.is_none() {
        return Ok(Output::Payment(Payment { destination: Destination { address, tag: None }, amount }));
    }
    let (claimed, source) = origin(keys.kind, bip32_derivation, tap_key_origins, tap_internal_key)?;
    let path = keys.path(&source)?;
    let key = keys.child(&path)?;
    if claimed != Claimed::of(keys.kind, &key) || keys.script(&key) != output.script_pubkey {
        return refuse("change", format!("does not return to the wallet's address at {path}"));
    }
    Ok(Output::Change(Change { address, amount, path }))
}
