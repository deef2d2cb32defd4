//! Composes what takes the place of earlier transactions, or pulls one into a block.
//!
//! A replacement spends every input of the newest earlier transaction, and one of each other that would otherwise not conflict
//! with it, so that no block chain holds two of them. Its fee follows BIP-125: above all that leaves the mempool with the
//! replaced one (rule 3), by the incremental relay fee for its own size (rule 4), at a higher rate, with no new unconfirmed
//! input (rule 2: `state` lists confirmed outputs only).

use super::{
    change_path, change_position, check_account, costs::Costs, outputs, psbt, select::worth_spending,
};
use crate::{
    BitcoinAdapter, OwnOutput,
    address::wallet_address,
    build::MAX_INPUTS,
    decode::{Explained, explain, outpoint, own_outputs},
};
use bitcoin::TxOut;
use bursar_domain::{
    account::{BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    effects::OutPoint,
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, PriceCap, ReplaceRequest, ReplaceTransaction},
    wallet::DerivationPath,
};
use std::collections::BTreeSet;

/// Satoshi per 1000 virtual bytes that each replacement pays for its own relay: Bitcoin Core's default up to version 29, ten
/// times that of later ones.
const INCREMENTAL_RATE: u64 = 1_000;
/// In percent. Sizes are reckoned to within a byte for each signature, and a rate must rise in any case.
const LEAST_RAISE: u32 = 1;

impl ReplaceTransaction for BitcoinAdapter {
    /// Takes a higher fee out of the change first, then adds outputs from `state`. A child spends the parent's change alone;
    /// of `earlier`, children of the same parent are what it replaces.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let account = check_account(request.intent, request.key, request.state)?;
        if request.earlier.is_empty() {
            return Err(BuildError::Inconsistent("there is no earlier transaction to replace"));
        }
        match request.purpose {
            Purpose::Pay => replacement(request, account, outputs(request.intent)?),
            Purpose::Cancel => replacement(request, account, Vec::new()),
            Purpose::Child { parent } => child(request, account, parent),
        }
    }
}

/// An earlier transaction, read.
struct Earlier {
    explained: Explained,
    outpoints: BTreeSet<OutPoint>,
    /// Display order, as in [`OutPoint`].
    txid: [u8; 32],
    /// Satoshi.
    fee: u64,
    vsize: u64,
}

impl Earlier {
    fn read(request: &ReplaceRequest<'_>, unsigned: &UnsignedTransaction) -> Result<Self, BuildError> {
        if unsigned.wallet != request.intent.wallet {
            return Err(BuildError::Inconsistent("an earlier transaction is of another wallet"));
        }
        let explained = explain(unsigned, request.key)
            .map_err(|_| BuildError::Inconsistent("an earlier transaction does not decode"))?;
        let transaction = &explained.transaction;
        let fee = Satoshi::try_from(explained.effects.fee)
            .map_err(|_| BuildError::Inconsistent("an earlier fee is above the supply"))?;
        Ok(Self {
            outpoints: transaction.input.iter().map(|input| outpoint(&input.previous_output)).collect(),
            txid: outpoint(&bitcoin::OutPoint { txid: transaction.compute_txid(), vout: 0 }).txid,
            fee: fee.0,
            vsize: Costs::vsize_of(&unsigned.wallet, transaction),
            explained,
        })
    }

    fn coins(&self) -> impl Iterator<Item = Utxo> {
        let inputs = self.explained.transaction.input.iter().zip(&self.explained.inputs);
        inputs.map(|(input, own)| Utxo {
            outpoint: outpoint(&input.previous_output),
            value: Satoshi(own.prevout.value.to_sat()),
            path: own.path,
        })
    }

    fn spends_from(&self, other: &Self) -> bool {
        self.outpoints.iter().any(|outpoint| outpoint.txid == other.txid)
    }

    fn conflicts(&self, coins: &[Utxo]) -> bool {
        coins.iter().any(|coin| self.outpoints.contains(&coin.outpoint))
    }

    /// sat/kvB, rounded up.
    fn rate(&self) -> u64 {
        per_kvb(self.fee, self.vsize)
    }
}

fn per_kvb(fee: u64, vsize: u64) -> u64 {
    u64::try_from((u128::from(fee) * 1_000).div_ceil(u128::from(vsize.max(1)))).unwrap_or(u64::MAX)
}

fn replacement(
    request: &ReplaceRequest<'_>,
    account: &BitcoinAccount,
    payments: Vec<TxOut>,
) -> Result<UnsignedTransaction, BuildError> {
    let all: Vec<Earlier> =
        request.earlier.iter().map(|one| Earlier::read(request, one)).collect::<Result<_, _>>()?;
    // Children die with the parent that they spend from: nothing has to conflict with them, but their fees leave the mempool, too.
    let (children, roots): (Vec<&Earlier>, Vec<&Earlier>) =
        all.iter().partition(|one| all.iter().any(|other| one.spends_from(other)));
    let Some(newest) = roots.last() else {
        return Err(BuildError::Inconsistent("every earlier transaction spends from another"));
    };
    let mut coins: Vec<Utxo> = newest.coins().collect();
    for other in &roots {
        if !other.conflicts(&coins) {
            coins.extend(other.coins().min_by_key(|coin| coin.outpoint));
        }
    }
    // At most one of the roots is in a mempool, with its children.
    let (mut beat, mut rate) = (0, 0);
    for root in &roots {
        let (mut fee, mut vsize) = (root.fee, root.vsize);
        for child in children.iter().filter(|child| child.spends_from(root)) {
            (fee, vsize) = (fee.saturating_add(child.fee), vsize.saturating_add(child.vsize));
        }
        beat = beat.max(fee);
        rate = rate.max(root.rate()).max(per_kvb(fee, vsize));
    }

    let wallet = &request.intent.wallet;
    let earlier_change = roots.iter().rev().find_map(|root| root.explained.effects.change.first());
    let change = change_path(wallet, earlier_change.map(|change| change.path).or(request.change))?;
    let script = wallet_address(wallet, request.key, &change)?.address.script_pubkey();
    let rate = raised(rate, request.raise_percent).max(account.fee_rate.0);
    let costs = Costs::new(wallet, Satoshi(rate), &payments, &script)
        .at_least(raised(beat, request.raise_percent))
        .replacing(beat, INCREMENTAL_RATE);

    // What an earlier one would make does not exist once it is replaced.
    let made = |coin: &Utxo| all.iter().any(|one| one.txid == coin.outpoint.txid);
    let fresh: Vec<Utxo> = account
        .utxos
        .iter()
        .filter(|coin| !made(coin) && coins.iter().all(|used| used.outpoint != coin.outpoint))
        .cloned()
        .collect();
    let settled = extend(&costs, &mut coins, &fresh, cap(request), payments.is_empty())?;
    let value: u64 = coins.iter().map(|coin| coin.value.0).sum();
    let fee = value.saturating_sub(costs.payments).saturating_sub(settled);
    within_price(request, fee, costs.vsize(coins.len(), settled > 0))?;
    compose(request, coins, payments, settled, change)
}

/// `amount` and `percent` of it (at least [`LEAST_RAISE`]), rounded up.
fn raised(amount: u64, percent: u32) -> u64 {
    let factor = 100 + u128::from(percent.max(LEAST_RAISE));
    u64::try_from((u128::from(amount) * factor).div_ceil(100)).unwrap_or(u64::MAX)
}

fn cap(request: &ReplaceRequest<'_>) -> u64 {
    Satoshi::try_from(request.intent.max_fee).unwrap_or(Satoshi::MAX).0
}

/// Holds a fee against what the installation offers for so many virtual bytes, rounded up as fees are.
fn within_price(request: &ReplaceRequest<'_>, fee: u64, vsize: u64) -> Result<(), BuildError> {
    let Some(PriceCap(most)) = request.price_cap else { return Ok(()) };
    if u128::from(fee) <= u128::from(vsize).saturating_mul(most).div_ceil(1_000) {
        return Ok(());
    }
    PriceCap(most).allows(per_kvb(fee, vsize).into(), "satoshi per 1000 virtual bytes")
}

/// Adds the largest of `fresh` to `coins` until payments and fee are covered, and says what is left as change. One more is
/// tried where what would be dust takes the fee above the cap.
fn extend(
    costs: &Costs,
    coins: &mut Vec<Utxo>,
    fresh: &[Utxo],
    cap: u64,
    needs_change: bool,
) -> Result<u64, BuildError> {
    let mut fresh = worth_spending(costs, fresh).into_iter();
    let mut value: u64 = coins.iter().map(|coin| coin.value.0).sum();
    let mut least = None;
    loop {
        let settled = costs.settle(coins.len(), value);
        if let Some(settled) = settled.filter(|settled| settled.change > 0 || !needs_change) {
            if settled.fee <= cap {
                return Ok(settled.change);
            }
            least = Some(least.map_or(settled.fee, |fee: u64| fee.min(settled.fee)));
            if settled.change > 0 {
                break;
            }
        }
        if coins.len() >= MAX_INPUTS {
            break;
        }
        let Some(next) = fresh.next() else { break };
        value = value.saturating_add(next.value.0);
        coins.push(next.clone());
    }
    if let Some(fee) = least {
        return Err(BuildError::FeeAboveCap { fee: Amount::from_u64(fee), cap: Amount::from_u64(cap) });
    }
    let fee = costs.fee(coins.len(), needs_change);
    let dust = if needs_change { costs.change_dust } else { 0 };
    // Too dear is the clearer answer where both are true.
    if fee > cap {
        return Err(BuildError::FeeAboveCap { fee: Amount::from_u64(fee), cap: Amount::from_u64(cap) });
    }
    Err(BuildError::InsufficientFunds {
        asset: Asset::Btc,
        required: Amount::from_u64(costs.payments.saturating_add(fee).saturating_add(dust)),
        available: Amount::from_u64(value),
    })
}

/// Spends the parent's change, so that parent and child together pay the wanted rate.
fn child(
    request: &ReplaceRequest<'_>,
    account: &BitcoinAccount,
    parent: &UnsignedTransaction,
) -> Result<UnsignedTransaction, BuildError> {
    let explained = Earlier::read(request, parent)?;
    let Some(OwnOutput { outpoint, value, path }) = own_outputs(&explained.explained).into_iter().next()
    else {
        return Err(BuildError::Inconsistent("the parent has no change that a child could spend"));
    };
    let mut beat = None;
    for one in request.earlier.iter().filter(|one| *one != parent) {
        let one = Earlier::read(request, one)?;
        if !one.outpoints.contains(&outpoint) {
            return Err(BuildError::Inconsistent("a child replaces nothing but children of its parent"));
        }
        beat = beat.max(Some(one.fee));
    }
    let wallet = &request.intent.wallet;
    let change = change_path(wallet, request.change.or(Some(path)))?;
    let script = wallet_address(wallet, request.key, &change)?.address.script_pubkey();
    let rate = raised(explained.rate(), request.raise_percent).max(account.fee_rate.0);
    let mut costs = Costs::new(wallet, Satoshi(rate), &[], &script);
    let package = costs.price(explained.vsize.saturating_add(costs.vsize(1, true)));
    costs = costs.at_least(package.saturating_sub(explained.fee));
    if let Some(beat) = beat {
        costs = costs.at_least(raised(beat, request.raise_percent)).replacing(beat, INCREMENTAL_RATE);
    }
    let mut coins = vec![Utxo { outpoint, value, path }];
    let total_cap = cap(request);
    let own_cap = total_cap.saturating_sub(explained.fee);
    let left = extend(&costs, &mut coins, &[], own_cap, true).map_err(|error| match error {
        BuildError::FeeAboveCap { fee, cap: _ } => BuildError::FeeAboveCap {
            fee: fee.checked_add(Amount::from_u64(explained.fee)).unwrap_or(fee),
            cap: Amount::from_u64(total_cap),
        },
        other => other,
    })?;
    let fee = explained.fee.saturating_add(value.0.saturating_sub(left));
    within_price(request, fee, explained.vsize.saturating_add(costs.vsize(1, true)))?;
    compose(request, coins, Vec::new(), left, change)
}

fn compose(
    request: &ReplaceRequest<'_>,
    mut coins: Vec<Utxo>,
    payments: Vec<TxOut>,
    left: u64,
    change: DerivationPath,
) -> Result<UnsignedTransaction, BuildError> {
    let wallet = request.intent.wallet;
    coins.sort_by_key(|coin| coin.outpoint);
    let mut spent = Vec::with_capacity(coins.len());
    for coin in &coins {
        spent.push((coin, wallet_address(&wallet, request.key, &coin.path)?));
    }
    let change = match left {
        0 => None,
        value => Some(psbt::ChangeOutput {
            value,
            address: wallet_address(&wallet, request.key, &change)?,
            path: change,
            position: change_position(request.intent, payments.len()),
        }),
    };
    let bytes = psbt::compose(&wallet, request.key, spent, payments, change)?;
    Ok(UnsignedTransaction { wallet, source: None, bytes })
}
