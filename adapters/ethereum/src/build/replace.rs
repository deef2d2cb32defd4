//! Composes what takes the place of earlier transactions: the same nonce, so that a chain holds one of them at most.

use super::{Call, check_fee, check_funds, encode, own_account};
use crate::{EthereumAdapter, MIN_GAS_LIMIT};
use alloy::{
    consensus::{TxEip1559, transaction::RlpEcdsaDecodableTx},
    primitives::TxKind,
};
use bursar_domain::{
    account::{AccountState, EthereumAccount},
    asset::Asset,
    package::{Purpose, UnsignedTransaction},
    ports::{BuildError, DeriveAddress, ReplaceRequest, ReplaceTransaction},
};

/// What geth's pool (`txpool.pricebump`) and others ask of both fees before a transaction takes the place of another with its
/// nonce, in percent.
const LEAST_RAISE: u32 = 10;

impl ReplaceTransaction for EthereumAdapter {
    /// Raises both fees of EIP-1559 over the highest of `earlier`, and to today's where that is more. A payment keeps its gas
    /// limit: nothing is simulated.
    fn replace(&self, request: &ReplaceRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let intent = request.intent;
        let earlier = Earlier::read(request)?;
        let address = self.address(&intent.wallet, request.key, &earlier.source)?;
        let AccountState::Ethereum(state) = request.state else {
            return Err(BuildError::Inconsistent("the account state is of another chain"));
        };
        own_account(intent, &address, state)?;
        let call = match request.purpose {
            Purpose::Pay => Call::of(intent)?,
            Purpose::Cancel => Call::nothing(&address)?,
            Purpose::Child { .. } => {
                return Err(BuildError::Inconsistent("no transaction pays for another on this chain"));
            }
        };
        let gas_limit = match request.purpose {
            Purpose::Pay => earlier.gas_limit(&call)?,
            Purpose::Cancel | Purpose::Child { .. } => MIN_GAS_LIMIT,
        };
        let percent = request.raise_percent;
        let max_fee_per_gas =
            raised(earlier.highest(|tx| tx.max_fee_per_gas), percent)?.max(state.max_fee_per_gas);
        let priority = raised(earlier.highest(|tx| tx.max_priority_fee_per_gas), percent)?;
        let account = EthereumAccount {
            gas_limit,
            max_fee_per_gas: max_fee_per_gas.max(priority),
            max_priority_fee_per_gas: priority.max(state.max_priority_fee_per_gas),
            ..state.clone()
        };
        if let Some(cap) = request.price_cap {
            cap.allows(account.max_fee_per_gas, "wei per gas")?;
        }
        let fee = check_fee(intent, &account)?;
        // Tokens are not asked about: what an earlier payment of this transfer may have done to the balance is not known.
        check_funds(Asset::Eth, call.value, fee, &account)?;
        encode(intent, &account, earlier.nonce, call, earlier.source)
    }
}

/// The earlier transactions, read.
struct Earlier {
    source: bursar_domain::wallet::DerivationPath,
    nonce: u64,
    transactions: Vec<TxEip1559>,
}

impl Earlier {
    fn read(request: &ReplaceRequest<'_>) -> Result<Self, BuildError> {
        let mut transactions = Vec::with_capacity(request.earlier.len());
        let mut source = None;
        for one in request.earlier {
            if one.wallet != request.intent.wallet
                || one.source.is_none()
                || source.is_some_and(|s| s != one.source)
            {
                return Err(BuildError::Inconsistent("the earlier transactions are not of one account"));
            }
            source = Some(one.source);
            let Some((2, mut rlp)) = one.bytes.split_first().map(|(kind, rlp)| (*kind, rlp)) else {
                return Err(BuildError::Inconsistent("an earlier transaction is not of type 2"));
            };
            let transaction = TxEip1559::rlp_decode(&mut rlp)
                .map_err(|_| BuildError::Inconsistent("an earlier transaction does not decode"))?;
            transactions.push(transaction);
        }
        let (Some(Some(source)), Some(first)) = (source, transactions.first()) else {
            return Err(BuildError::Inconsistent("there is no earlier transaction to replace"));
        };
        let nonce = first.nonce;
        if transactions.iter().any(|tx| tx.nonce != nonce) {
            return Err(BuildError::Inconsistent("the earlier transactions have different nonces"));
        }
        Ok(Self { source, nonce, transactions })
    }

    fn highest(&self, fee: impl Fn(&TxEip1559) -> u128) -> u128 {
        self.transactions.iter().map(fee).max().unwrap_or_default()
    }

    /// Of the payment, which must be among them: it was estimated when that was built.
    fn gas_limit(&self, call: &Call) -> Result<u64, BuildError> {
        let same = |tx: &&TxEip1559| {
            tx.to == TxKind::Call(call.to) && tx.value == call.value.0 && tx.input == call.input
        };
        let limits = self.transactions.iter().filter(same).map(|tx| tx.gas_limit);
        limits.max().ok_or(BuildError::Inconsistent("none of the earlier transactions makes this payment"))
    }
}

/// `fee` and at least [`LEAST_RAISE`] percent of it, rounded up; always more than `fee`.
fn raised(fee: u128, percent: u32) -> Result<u128, BuildError> {
    let factor = 100 + u128::from(percent.max(LEAST_RAISE));
    let product = fee.checked_mul(factor).ok_or(BuildError::Inconsistent("the raised fee overflows"))?;
    Ok(product.div_ceil(100).max(fee + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raise_is_at_least_ten_percent_and_never_nothing() {
        for (fee, percent, expected) in
            [(100, 0, 110), (100, 10, 110), (100, 25, 125), (101, 10, 112), (1, 10, 2), (0, 10, 1)]
        {
            assert_eq!(raised(fee, percent), Ok(expected), "{fee} by {percent} %");
        }
        assert!(raised(u128::MAX, 10).is_err());
    }
}
