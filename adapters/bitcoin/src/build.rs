//! Composes the unsigned PSBT for an intent: checks the payments, selects coins, sets fee and change.
//!
//! Pure and deterministic: the same request gives the same bytes, whatever the order of `utxos`. Inputs are sorted by
//! outpoint; payments keep the intent's order; the change output's place follows from the intent's digest, so that it is
//! not always the last one. Every input signals replaceability (BIP-125, nSequence 0xFFFFFFFD).

mod costs;
mod psbt;
mod replace;
mod select;

use crate::{
    BitcoinAdapter,
    address::{OwnAddress, parse, wallet_address},
};
use bitcoin::TxOut;
use bursar_domain::{
    account::{AccountState, BitcoinAccount, Utxo},
    amount::{Amount, Satoshi},
    asset::Asset,
    intent::{Intent, Payment},
    network::Network,
    ports::{BuildError, BuildRequest, BuildTransaction},
    signing::GroupKey,
    wallet::{DerivationPath, WalletDescriptor, WalletKind},
};
use costs::Costs;
use std::collections::BTreeSet;

/// The most inputs of one transaction. Each costs a threshold signature; 500 taproot inputs are 29 kvB, within the standard
/// limit of 100 kvB.
pub const MAX_INPUTS: usize = 500;

impl BuildTransaction for BitcoinAdapter {
    /// `InsufficientFunds.available` counts the coins that are worth more than they cost to spend at the present rate, and
    /// at most the [`MAX_INPUTS`] largest of them: what one transaction can bring together.
    fn build(
        &self,
        request: &BuildRequest<'_>,
    ) -> Result<bursar_domain::package::UnsignedTransaction, BuildError> {
        let wallet = request.intent.wallet;
        let account = check_account(request.intent, request.key, request.state)?;
        if request.source.is_some() || request.resource.is_some() {
            return Err(BuildError::Inconsistent("source and resource must be absent: coins are selected"));
        }
        let payments = outputs(request.intent)?;
        let change_path = change_path(&wallet, request.change)?;
        let change = wallet_address(&wallet, request.key, &change_path)?;

        let costs = Costs::new(&wallet, account.fee_rate, &payments, &change.address.script_pubkey());
        let cap = Satoshi::try_from(request.intent.max_fee).unwrap_or(Satoshi::MAX);
        let selection = select::select(&costs, &account.utxos, cap)?;

        let mut coins = Vec::with_capacity(selection.coins.len());
        for utxo in selection.coins {
            coins.push((utxo, wallet_address(&wallet, request.key, &utxo.path)?));
        }
        let change = (selection.change > 0).then_some(psbt::ChangeOutput {
            value: selection.change,
            address: change,
            path: change_path,
            position: change_position(request.intent, payments.len()),
        });
        let bytes = psbt::compose(&wallet, request.key, coins, payments, change)?;
        Ok(bursar_domain::package::UnsignedTransaction { wallet, source: None, bytes })
    }
}

/// Holds the facts of the request against one another.
fn check_account<'a>(
    intent: &Intent,
    key: &GroupKey,
    state: &'a AccountState,
) -> Result<&'a BitcoinAccount, BuildError> {
    let wallet = &intent.wallet;
    let refuse = |what| Err(BuildError::Inconsistent(what));
    let AccountState::Bitcoin(account) = state else {
        return refuse("the account state is of another chain");
    };
    if !matches!(wallet.network, Network::Bitcoin(_))
        || !matches!(wallet.kind, WalletKind::P2tr | WalletKind::P2wpkh)
    {
        return refuse("the wallet is of another chain");
    }
    if key.scheme != wallet.scheme() {
        return refuse("the group key is of another scheme than the wallet");
    }
    if intent.source.is_some() {
        return refuse("the intent names a source, where coins are selected");
    }
    if intent.asset != Asset::Btc {
        return refuse("a Bitcoin wallet pays BTC only");
    }
    if intent.payments.is_empty() {
        return refuse("the intent has no payments");
    }
    if account.fee_rate.0 == 0 {
        return refuse("the fee rate is zero");
    }
    check_coins(wallet, &account.utxos)?;
    Ok(account)
}

fn check_coins(wallet: &WalletDescriptor, utxos: &[Utxo]) -> Result<(), BuildError> {
    let mut seen = BTreeSet::new();
    for utxo in utxos {
        if !wallet.owns(&utxo.path) {
            return Err(BuildError::Inconsistent("an unspent output is not at a path of the wallet"));
        }
        if utxo.value > Satoshi::MAX {
            return Err(BuildError::Inconsistent("an unspent output is worth more than the supply"));
        }
        if !seen.insert(utxo.outpoint) {
            return Err(BuildError::Inconsistent("an unspent output is listed twice"));
        }
    }
    Ok(())
}

fn change_path(
    wallet: &WalletDescriptor,
    path: Option<DerivationPath>,
) -> Result<DerivationPath, BuildError> {
    match path {
        Some(path) if wallet.owns(&path) => Ok(path),
        Some(_) => Err(BuildError::Inconsistent("the change address is not at a path of the wallet")),
        None => Err(BuildError::Inconsistent("a change address is needed")),
    }
}

/// The payments as outputs, each above its type's dust limit (Bitcoin Core's `GetDustThreshold` at 3 sat/vB).
fn outputs(intent: &Intent) -> Result<Vec<TxOut>, BuildError> {
    let mut outputs = Vec::with_capacity(intent.payments.len());
    for (index, Payment { destination, amount }) in intent.payments.iter().enumerate() {
        let refuse = |source| BuildError::Destination { index, source };
        let address = parse(intent.network(), &destination.address).map_err(refuse)?;
        if destination.tag.is_some() {
            return Err(refuse(bursar_domain::ports::InvalidDestination::UnexpectedTag));
        }
        if address.to_string() != destination.address {
            return Err(refuse(bursar_domain::ports::InvalidDestination::Malformed {
                network: intent.network(),
                reason: format!("not in canonical form; write {address}"),
            }));
        }
        let value = Satoshi::try_from(*amount).map_err(|source| BuildError::Amount { index, source })?;
        let script_pubkey = address.script_pubkey();
        let minimum = script_pubkey.minimal_non_dust().to_sat();
        if value.0 < minimum {
            return Err(BuildError::Dust { index, amount: *amount, minimum: Amount::from_u64(minimum) });
        }
        outputs.push(TxOut { value: bitcoin::Amount::from_sat(value.0), script_pubkey });
    }
    let total = Amount::sum(intent.payments.iter().map(|payment| payment.amount));
    if total.is_none_or(|total| Satoshi::try_from(total).is_err()) {
        let index = intent.payments.len() - 1;
        return Err(BuildError::Amount { index, source: bursar_domain::amount::AmountError::Overflow });
    }
    Ok(outputs)
}

/// Anywhere among the outputs, the same for the same intent, and unrelated to which output is larger.
fn change_position(intent: &Intent, payments: usize) -> usize {
    let digest = intent.digest().0;
    let head = u64::from_be_bytes(digest[..8].try_into().expect("a SHA-256 digest has 32 bytes"));
    usize::try_from(head % (payments as u64 + 1)).expect("at most the number of payments")
}
