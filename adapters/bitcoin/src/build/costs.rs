//! What a transaction of this wallet weighs and must pay, in integers only.

use bitcoin::{Script, Transaction, TxOut, VarInt};
use bursar_domain::{
    amount::Satoshi,
    wallet::{WalletDescriptor, WalletKind},
};

/// Outpoint (36), empty scriptSig (1), nSequence (4).
const INPUT_BASE_BYTES: u64 = 41;
/// Item count (1), length (1), BIP-340 signature with the default sighash type (64).
const P2TR_WITNESS_BYTES: u64 = 66;
/// Item count (1), length (1), low-S DER signature with sighash type (at most 72), length (1), key (33).
const P2WPKH_WITNESS_BYTES: u64 = 108;
/// nVersion (4) and nLockTime (4).
const FIXED_BYTES: u64 = 8;
/// Segwit marker and flag: 2 weight units.
const MARKER_WEIGHT: u64 = 2;
/// sat/kvB that spending change later is reckoned at, when a selection with change is compared with one without.
const LONG_TERM_RATE: u64 = 5_000;

/// The arithmetic of fee and change for one intent; every input of the wallet weighs the same.
#[derive(Debug, Clone, Copy)]
pub struct Costs {
    /// Sum of the payments, in satoshi; at most the supply.
    pub payments: u64,
    /// Least value of a change output, in satoshi: the dust limit of its script.
    pub change_dust: u64,
    /// sat/kvB.
    rate: u64,
    /// Weight units of one input with its witness.
    input_weight: u64,
    payment_count: usize,
    payment_bytes: u64,
    change_bytes: u64,
    /// Satoshi that the fee is not below, whatever the size.
    least: u64,
    /// The fee to outbid, in satoshi, and the rate in sat/kvB that is paid on top of it.
    outbid: Option<(u64, u64)>,
}

/// How a sum of inputs is divided. All in satoshi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    pub fee: u64,
    /// 0: no change output.
    pub change: u64,
    /// `fee`, and what spending the change will cost later: what selections are compared by.
    pub score: u64,
}

impl Costs {
    /// `fee_rate` in sat/kvB.
    pub fn new(wallet: &WalletDescriptor, fee_rate: Satoshi, payments: &[TxOut], change: &Script) -> Self {
        let change_output = TxOut { value: bitcoin::Amount::ZERO, script_pubkey: change.into() };
        Self {
            payments: payments.iter().map(|output| output.value.to_sat()).sum(),
            change_dust: change.minimal_non_dust().to_sat(),
            rate: fee_rate.0,
            input_weight: 4 * INPUT_BASE_BYTES + witness_bytes(wallet),
            payment_count: payments.len(),
            payment_bytes: payments.iter().map(|output| output.size() as u64).sum(),
            change_bytes: change_output.size() as u64,
            least: 0,
            outbid: None,
        }
    }

    /// The same, with a fee of at least `fee` satoshi.
    pub fn at_least(self, fee: u64) -> Self {
        Self { least: self.least.max(fee), ..self }
    }

    /// The same, with a fee that outbids `fee` satoshi by `rate` sat/kvB of the new size (BIP-125, rules 3 and 4).
    pub fn replacing(self, fee: u64, rate: u64) -> Self {
        Self { outbid: Some((fee, rate)), ..self }
    }

    /// The virtual size that an unsigned transaction of the wallet will have once it is signed.
    pub fn vsize_of(wallet: &WalletDescriptor, transaction: &Transaction) -> u64 {
        let witnesses = transaction.input.len() as u64 * witness_bytes(wallet);
        (4 * transaction.base_size() as u64 + MARKER_WEIGHT + witnesses).div_ceil(4)
    }

    /// The least fee of a transaction with `inputs` inputs: its virtual size (BIP-141, rounded up) times the rate, rounded
    /// up. Saturates: no sum of coins reaches `u64::MAX`.
    pub fn fee(&self, inputs: usize, with_change: bool) -> u64 {
        let vsize = self.vsize(inputs, with_change);
        let outbid = self.outbid.map_or(0, |(fee, rate)| fee.saturating_add(price(vsize, rate)));
        self.price(vsize).max(self.least).max(outbid)
    }

    /// In virtual bytes.
    pub fn vsize(&self, inputs: usize, with_change: bool) -> u64 {
        self.weight(inputs, with_change).div_ceil(4)
    }

    /// What so many virtual bytes cost.
    pub fn price(&self, vbytes: u64) -> u64 {
        price(vbytes, self.rate)
    }

    fn weight(&self, inputs: usize, with_change: bool) -> u64 {
        let outputs = self.payment_count + usize::from(with_change);
        let counts = VarInt::from(inputs).size() + VarInt::from(outputs).size();
        let change = if with_change { self.change_bytes } else { 0 };
        let base = FIXED_BYTES + counts as u64 + self.payment_bytes + change;
        4 * base + MARKER_WEIGHT + inputs as u64 * self.input_weight
    }

    /// At least what one more input adds to the fee: used to bound and to leave out coins, never to pay.
    pub fn input_fee_at_least(&self) -> u64 {
        let micro = u128::from(self.input_weight) * u128::from(self.rate);
        u64::try_from(micro / 4_000).unwrap_or(u64::MAX)
    }

    /// Divides inputs worth `value`, or `None` if they do not reach the payments and the fee.
    ///
    /// The fee is exact when there is change; without, what would be dust goes to the fee.
    pub fn settle(&self, inputs: usize, value: u64) -> Option<Settlement> {
        let rest = value.checked_sub(self.payments)?;
        let fee_with_change = self.fee(inputs, true);
        match rest.checked_sub(fee_with_change) {
            Some(change) if change >= self.change_dust => {
                let later = price(self.input_weight.div_ceil(4), LONG_TERM_RATE);
                Some(Settlement {
                    fee: fee_with_change,
                    change,
                    score: fee_with_change.saturating_add(later),
                })
            }
            _ => {
                (rest >= self.fee(inputs, false)).then_some(Settlement { fee: rest, change: 0, score: rest })
            }
        }
    }
}

/// Of one input. A byte of a witness weighs one unit.
const fn witness_bytes(wallet: &WalletDescriptor) -> u64 {
    match wallet.kind {
        WalletKind::P2tr => P2TR_WITNESS_BYTES,
        _ => P2WPKH_WITNESS_BYTES,
    }
}

/// `vbytes` at `rate` sat/kvB, rounded up.
fn price(vbytes: u64, rate: u64) -> u64 {
    let milli = u128::from(vbytes) * u128::from(rate);
    u64::try_from(milli.div_ceil(1_000)).unwrap_or(u64::MAX)
}
