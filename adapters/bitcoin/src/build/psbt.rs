//! Writes the PSBT (BIP-174, taproot fields of BIP-371).

use super::OwnAddress;
use bitcoin::{
    OutPoint, Psbt, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Txid, Witness, XOnlyPublicKey,
    absolute::LockTime,
    bip32::{ChildNumber, Fingerprint, KeySource},
    hashes::{Hash, hash160},
    transaction::Version,
};
use bursar_domain::{
    account::Utxo,
    ports::BuildError,
    signing::GroupKey,
    wallet::{DerivationPath, WalletDescriptor, WalletKind},
};

pub struct ChangeOutput {
    /// Satoshi.
    pub value: u64,
    pub address: OwnAddress,
    pub path: DerivationPath,
    /// Index among all outputs.
    pub position: usize,
}

pub fn compose(
    wallet: &WalletDescriptor,
    key: &GroupKey,
    coins: Vec<(&Utxo, OwnAddress)>,
    payments: Vec<TxOut>,
    change: Option<ChangeOutput>,
) -> Result<Vec<u8>, BuildError> {
    let mut output = payments;
    if let Some(change) = &change {
        let script_pubkey = change.address.address.script_pubkey();
        let value = bitcoin::Amount::from_sat(change.value);
        output.insert(change.position, TxOut { value, script_pubkey });
    }
    let input = coins.iter().map(|(utxo, _)| input(utxo)).collect();
    let unsigned = Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output };
    let mut psbt = Psbt::from_unsigned_tx(unsigned)
        .map_err(|_| BuildError::Inconsistent("an input of an unsigned transaction has a script"))?;

    for (fields, (utxo, own)) in psbt.inputs.iter_mut().zip(coins) {
        let value = bitcoin::Amount::from_sat(utxo.value.0);
        fields.witness_utxo = Some(TxOut { value, script_pubkey: own.address.script_pubkey() });
        let source = key_source(key, &utxo.path)?;
        if wallet.kind == WalletKind::P2tr {
            let internal = XOnlyPublicKey::from(own.key.inner);
            fields.tap_internal_key = Some(internal);
            fields.tap_key_origins.insert(internal, (Vec::new(), source));
        } else {
            fields.bip32_derivation.insert(own.key.inner, source);
        }
    }
    if let Some(change) = change {
        let fields = &mut psbt.outputs[change.position];
        let source = key_source(key, &change.path)?;
        if wallet.kind == WalletKind::P2tr {
            let internal = XOnlyPublicKey::from(change.address.key.inner);
            fields.tap_internal_key = Some(internal);
            fields.tap_key_origins.insert(internal, (Vec::new(), source));
        } else {
            fields.bip32_derivation.insert(change.address.key.inner, source);
        }
    }
    Ok(psbt.serialize())
}

fn input(utxo: &Utxo) -> TxIn {
    let mut txid = utxo.outpoint.txid;
    txid.reverse();
    TxIn {
        previous_output: OutPoint { txid: Txid::from_byte_array(txid), vout: utxo.outpoint.vout },
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    }
}

/// BIP-32: the master fingerprint is the head of HASH160 of the group key.
fn key_source(key: &GroupKey, path: &DerivationPath) -> Result<KeySource, BuildError> {
    let hash = hash160::Hash::hash(&key.public_key).to_byte_array();
    let fingerprint = Fingerprint::from([hash[0], hash[1], hash[2], hash[3]]);
    let mut children = Vec::with_capacity(4);
    for element in path.elements() {
        let child = ChildNumber::from_normal_idx(element)
            .map_err(|_| BuildError::Inconsistent("a path has a hardened element"))?;
        children.push(child);
    }
    Ok((fingerprint, children.into()))
}
