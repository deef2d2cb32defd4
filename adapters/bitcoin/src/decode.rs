//! Explains a PSBT, or refuses it. This is what stands between a hostile orchestrator and the co-signers' shares.
//!
//! Shares no code with [`build`](mod@crate::build): only the domain's types and the `bitcoin` crate are common to both.
//!
//! The rule is that every byte is accounted for. The PSBT must re-serialise to exactly the bytes that were given (so no
//! trailing bytes, no second encoding), each map may hold only the fields named here (the structures are taken apart
//! without `..`, so that a field which a later version of the `bitcoin` crate learns to read does not compile until
//! somebody decides about it), and each of those fields is either recomputed from the group key or shows in the
//! [`Effects`].
//!
//! # What amounts can be believed
//!
//! The fee is inputs minus outputs, and a PSBT only *claims* what its inputs are worth.
//!
//! - P2TR: the signature hash of BIP-341 commits to the amounts and scripts of **all** inputs. A lie makes every signature
//!   invalid. Nothing else is needed.
//! - P2WPKH: the signature hash of BIP-143 commits to the amount of **its own** input only. Within one package that is
//!   enough, because all inputs are ours and all get signed: one lie makes one of the signatures, so the transaction,
//!   invalid. It is not enough across packages: two packages over the same unsigned transaction that lie about different
//!   inputs yield, between them, a valid signature for each input (the attack that made hardware wallets ask for whole
//!   previous transactions in 2020), and what was hidden is lost as fee. So a co-signer of a P2WPKH wallet **must
//!   remember** the amount of each outpoint that it has signed for and refuse another one later:
//!   [`BitcoinAdapter::claimed_inputs`] tells them.

mod derive;
mod fields;
mod outputs;

use crate::BitcoinAdapter;
use bitcoin::{Psbt, Sequence, Transaction, TxOut, absolute::LockTime, hashes::Hash, transaction::Version};
use bursar_domain::{
    amount::{Amount, Satoshi},
    asset::Asset,
    effects::{Effects, OutPoint, Resource, Validity},
    package::UnsignedTransaction,
    ports::{DecodeError, DecodeTransaction},
    signing::{GroupKey, SigningPayload},
    wallet::DerivationPath,
};
use derive::OwnKeys;
use std::collections::BTreeSet;

/// More inputs than this are not explained; each needs a threshold signature.
const MAX_INPUTS: usize = 500;
/// A PSBT of 500 inputs and 200 outputs has about 130 kB.
const MAX_BYTES: usize = 1 << 20;
/// 21 million BTC.
const SUPPLY: u64 = Satoshi::MAX.0;

impl DecodeTransaction for BitcoinAdapter {
    fn decode(&self, unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Effects, DecodeError> {
        explain(unsigned, key).map(|explained| explained.effects)
    }

    fn signing_payloads(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<SigningPayload>, DecodeError> {
        crate::sighash::payloads(&explain(unsigned, key)?)
    }

    fn fixed_id(&self, unsigned: &UnsignedTransaction) -> Option<String> {
        Some(parse(&unsigned.bytes).ok()?.unsigned_tx.compute_txid().to_string())
    }
}

/// What a PSBT says that one of its inputs is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedInput {
    pub outpoint: OutPoint,
    pub value: Satoshi,
}

/// An output of a transaction that returns to the wallet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnOutput {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    pub path: DerivationPath,
}

impl BitcoinAdapter {
    /// What of `unsigned` returns to the wallet, by the name that it has once a block holds the transaction: signatures are in
    /// witnesses, which a txid does not cover (BIP-141).
    pub fn own_outputs(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<OwnOutput>, DecodeError> {
        Ok(own_outputs(&explain(unsigned, key)?))
    }

    /// The amounts that the inputs are claimed to have, in input order. For P2WPKH wallets a co-signer must hold these
    /// against every earlier claim about the same outpoint (see [the module](mod@crate::decode)).
    pub fn claimed_inputs(
        &self,
        unsigned: &UnsignedTransaction,
        key: &GroupKey,
    ) -> Result<Vec<ClaimedInput>, DecodeError> {
        let explained = explain(unsigned, key)?;
        let claims =
            explained.transaction.input.iter().zip(&explained.inputs).map(|(input, own)| ClaimedInput {
                outpoint: outpoint(&input.previous_output),
                value: Satoshi(own.prevout.value.to_sat()),
            });
        Ok(claims.collect())
    }
}

/// A transaction of which everything is known.
pub(crate) struct Explained {
    pub transaction: Transaction,
    /// One for each input, in order.
    pub inputs: Vec<OwnInput>,
    /// Places of the outputs that are `effects.change`, in the same order.
    pub change_at: Vec<u32>,
    pub effects: Effects,
}

pub(crate) fn own_outputs(explained: &Explained) -> Vec<OwnOutput> {
    let Explained { transaction, inputs: _, change_at, effects } = explained;
    let txid = transaction.compute_txid();
    let own = change_at.iter().zip(&effects.change).map(|(vout, change)| OwnOutput {
        outpoint: outpoint(&bitcoin::OutPoint { txid, vout: *vout }),
        value: Satoshi(transaction.output[*vout as usize].value.to_sat()),
        path: change.path,
    });
    own.collect()
}

/// An input that spends an output of the wallet.
pub(crate) struct OwnInput {
    pub path: DerivationPath,
    /// The child key at `path`, without the taproot tweak.
    pub key: bitcoin::secp256k1::PublicKey,
    pub prevout: TxOut,
}

pub(crate) fn explain(unsigned: &UnsignedTransaction, key: &GroupKey) -> Result<Explained, DecodeError> {
    if unsigned.source.is_some() {
        return refuse("source", "must be absent on Bitcoin");
    }
    let keys = OwnKeys::new(&unsigned.wallet, key)?;
    let Psbt { unsigned_tx, version, xpub, proprietary, unknown, inputs, outputs } = parse(&unsigned.bytes)?;
    if version != 0 || !xpub.is_empty() || !proprietary.is_empty() || !unknown.is_empty() {
        return refuse("PSBT globals", "hold more than the unsigned transaction");
    }
    check_frame(&unsigned_tx)?;

    let mut own_inputs = Vec::with_capacity(inputs.len());
    let mut available = 0u64;
    for input in inputs {
        let own = fields::own_input(input, &keys)?;
        available = add(available, own.prevout.value)?;
        own_inputs.push(own);
    }
    let mut seen = BTreeSet::new();
    let mut resources = Vec::with_capacity(own_inputs.len());
    let mut from: Vec<String> = Vec::new();
    for (input, own) in unsigned_tx.input.iter().zip(&own_inputs) {
        if !seen.insert(input.previous_output) {
            return refuse("inputs", "spend the same output twice");
        }
        resources.push(Resource::Utxo(outpoint(&input.previous_output)));
        let address = keys.show(&own.prevout.script_pubkey)?;
        if !from.contains(&address) {
            from.push(address);
        }
    }

    let (mut payments, mut change, mut change_at, mut spent) = (Vec::new(), Vec::new(), Vec::new(), 0u64);
    for ((vout, output), fields) in (0u32..).zip(&unsigned_tx.output).zip(outputs) {
        spent = add(spent, output.value)?;
        match outputs::explain(output, fields, &keys)? {
            outputs::Output::Payment(payment) => payments.push(payment),
            outputs::Output::Change(own) => {
                change.push(own);
                change_at.push(vout);
            }
        }
    }
    if change.len() > 1 {
        return refuse("outputs", "return change more than once");
    }
    let fee = match available.checked_sub(spent) {
        Some(fee) if fee > 0 => fee,
        Some(_) => return refuse("fee", "is zero"),
        None => return refuse("outputs", format!("pay {spent} satoshi out of {available}")),
    };
    let effects = Effects {
        network: unsigned.wallet.network,
        asset: Asset::Btc,
        from,
        payments,
        fee: Amount::from_u64(fee),
        change,
        resources,
        validity: Validity::Unlimited,
    };
    Ok(Explained { transaction: unsigned_tx, inputs: own_inputs, change_at, effects })
}

/// Reads the PSBT, and refuses every encoding but the one that writing it again gives.
fn parse(bytes: &[u8]) -> Result<Psbt, DecodeError> {
    if bytes.len() > MAX_BYTES {
        return Err(DecodeError::Malformed(format!("{} bytes; at most {MAX_BYTES} are read", bytes.len())));
    }
    let psbt = Psbt::deserialize(bytes).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if psbt.inputs.len() != psbt.unsigned_tx.input.len()
        || psbt.outputs.len() != psbt.unsigned_tx.output.len()
    {
        return Err(DecodeError::Malformed("maps do not fit the inputs and outputs".to_owned()));
    }
    if psbt.serialize() != bytes {
        return Err(DecodeError::Malformed(
            "not the canonical encoding, or bytes follow the PSBT".to_owned(),
        ));
    }
    Ok(psbt)
}

/// Everything of the transaction but its amounts, outputs and outpoints is fixed.
fn check_frame(transaction: &Transaction) -> Result<(), DecodeError> {
    let Transaction { version, lock_time, input, output } = transaction;
    if *version != Version::TWO {
        return refuse("version", format!("is {version}, not 2"));
    }
    if *lock_time != LockTime::ZERO {
        return refuse("nLockTime", format!("is {lock_time}, not 0"));
    }
    if input.is_empty() || output.is_empty() {
        return refuse("transaction", "has no inputs or no outputs");
    }
    if input.len() > MAX_INPUTS {
        return refuse("inputs", format!("are {}; at most {MAX_INPUTS} are explained", input.len()));
    }
    for txin in input {
        if txin.sequence != Sequence::ENABLE_RBF_NO_LOCKTIME {
            return refuse("nSequence", format!("is {}, not 0xfffffffd", txin.sequence));
        }
        if !txin.script_sig.is_empty() || !txin.witness.is_empty() {
            return refuse("inputs", "carry a script or a witness already");
        }
    }
    Ok(())
}

/// A sum of money that cannot pass the supply.
fn add(sum: u64, value: bitcoin::Amount) -> Result<u64, DecodeError> {
    match sum.checked_add(value.to_sat()) {
        Some(sum) if sum <= SUPPLY => Ok(sum),
        _ => refuse("amounts", "add up to more than the supply"),
    }
}

pub(crate) fn outpoint(outpoint: &bitcoin::OutPoint) -> OutPoint {
    // Hashes are shown in reverse.
    let mut txid = outpoint.txid.to_byte_array();
    txid.reverse();
    OutPoint { txid, vout: outpoint.vout }
}

fn refuse<T>(field: &'static str, reason: impl Into<String>) -> Result<T, DecodeError> {
    Err(DecodeError::Unexplained { field, reason: reason.into() })
}
