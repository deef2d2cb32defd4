//! Composes the unsigned EIP-1559 transaction, with alloy's types and codec. Decoding uses neither.

mod replace;

use crate::{EthereumAdapter, MAX_GAS_LIMIT, MIN_GAS_LIMIT};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::eip2930::AccessList,
    primitives::{Address, Bytes, TxKind, U256},
    sol,
    sol_types::SolCall,
};
use bursar_domain::{
    account::{AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    effects::Resource,
    intent::{Intent, Payment},
    network::Network,
    package::UnsignedTransaction,
    ports::{BuildError, BuildRequest, BuildTransaction, DeriveAddress, InvalidDestination},
    wallet::{Branch, DerivationPath},
};

sol! {
    /// EIP-20.
    interface Erc20 {
        function transfer(address to, uint256 value) external returns (bool);
        function balanceOf(address owner) external view returns (uint256);
        event Transfer(address indexed from, address indexed to, uint256 value);
    }
}

impl BuildTransaction for EthereumAdapter {
    fn build(&self, request: &BuildRequest<'_>) -> Result<UnsignedTransaction, BuildError> {
        let intent = request.intent;
        let source = request.source.ok_or(BuildError::Inconsistent("no paying account was chosen"))?;
        let call = Call::of(intent)?;
        let (account, nonce) = self.account(request, &source)?;
        // What does nothing is explained with this gas only.
        let gas_limit = if intent.fills.is_some() { MIN_GAS_LIMIT } else { account.gas_limit };
        let account = EthereumAccount { gas_limit, ..account.clone() };
        let fee = check_fee(intent, &account)?;
        check_funds(intent.asset, call.amount, fee, &account)?;
        encode(intent, &account, nonce, call, source)
    }
}

fn encode(
    intent: &Intent,
    account: &EthereumAccount,
    nonce: u64,
    call: Call,
    source: DerivationPath,
) -> Result<UnsignedTransaction, BuildError> {
    let Network::Ethereum(chain_id) = intent.network() else {
        return Err(BuildError::Inconsistent("the wallet is not on an Ethereum network"));
    };
    let transaction = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: account.gas_limit,
        max_fee_per_gas: account.max_fee_per_gas,
        max_priority_fee_per_gas: account.max_priority_fee_per_gas,
        to: TxKind::Call(call.to),
        value: call.value.0,
        access_list: AccessList::default(),
        input: call.input,
    };
    Ok(UnsignedTransaction {
        wallet: intent.wallet,
        source: Some(source),
        bytes: transaction.encoded_for_signing(),
    })
}

impl EthereumAdapter {
    /// The account's facts and the nonce to use, checked to belong together.
    fn account<'a>(
        &self,
        request: &BuildRequest<'a>,
        source: &DerivationPath,
    ) -> Result<(&'a EthereumAccount, u64), BuildError> {
        let wallet = request.intent.wallet;
        if !wallet.owns(source) || source.branch != Branch::Receive {
            return Err(BuildError::Inconsistent("the paying account is not the wallet's"));
        }
        let AccountState::Ethereum(account) = request.state else {
            return Err(BuildError::Inconsistent("the account state is of another chain"));
        };
        let from = self.address(&wallet, request.key, source)?;
        own_account(request.intent, &from, account)?;
        let nonce = match request.resource {
            Some(Resource::Nonce { account, nonce })
                if *account == from && request.intent.fills.is_none_or(|fills| fills == *nonce) =>
            {
                *nonce
            }
            _ => return Err(BuildError::Inconsistent("no nonce of the paying account is reserved")),
        };
        // EIP-2681: the nonce 2^64 - 1 is never valid.
        if nonce < account.nonce || nonce == u64::MAX {
            return Err(BuildError::Inconsistent("the nonce was used already"));
        }
        Ok((account, nonce))
    }
}

fn own_account(intent: &Intent, from: &str, account: &EthereumAccount) -> Result<(), BuildError> {
    if account.address != from {
        return Err(BuildError::Inconsistent("the account state is of another account"));
    }
    if intent.source.as_ref().is_some_and(|wanted| wanted != from) {
        return Err(BuildError::Inconsistent("the intent names another source"));
    }
    Ok(())
}

/// What the payment calls: shared with the node's simulation, so that what is simulated is what is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub to: Address,
    /// Wei that go along.
    pub value: Amount,
    pub input: Bytes,
    /// What the payee gets, in the asset's smallest unit.
    pub amount: Amount,
}

impl Call {
    pub(crate) fn of(intent: &Intent) -> Result<Self, BuildError> {
        if intent.fills.is_some() {
            let account = intent.source.as_deref();
            return Self::nothing(account.ok_or(BuildError::Inconsistent("the filler names no account"))?);
        }
        let [Payment { destination, amount }] = intent.payments.as_slice() else {
            return Err(BuildError::Inconsistent("an Ethereum transaction makes exactly one payment"));
        };
        let network = intent.network();
        let refused = |source| BuildError::Destination { index: 0, source };
        let parsed = EthereumAdapter
            .parse_destination(network, &destination.address, destination.tag)
            .map_err(refused)?;
        if parsed != *destination {
            let reason = format!("an intent holds the checksummed form {}", parsed.address);
            return Err(refused(InvalidDestination::Malformed { network, reason }));
        }
        let payee: Address = parsed
            .address
            .parse()
            .map_err(|_| BuildError::Inconsistent("a canonical address does not parse"))?;
        if amount.is_zero() {
            return Err(BuildError::Amount { index: 0, source: bursar_domain::amount::AmountError::Zero });
        }
        match intent.asset {
            Asset::Eth => Ok(Self { to: payee, value: *amount, input: Bytes::new(), amount: *amount }),
            Asset::Erc20(contract) => {
                let token = Address::from(contract);
                if token == payee {
                    let reason = "tokens sent to their own contract are lost".to_owned();
                    return Err(refused(InvalidDestination::Unsupported { reason }));
                }
                let input = Erc20::transferCall { to: payee, value: amount.0 }.abi_encode().into();
                Ok(Self { to: token, value: Amount::ZERO, input, amount: *amount })
            }
            Asset::Btc | Asset::Xrp => Err(BuildError::Inconsistent("the asset is of another chain")),
        }
    }
}

impl Call {
    /// Zero wei from the account to itself: it uses up a nonce and pays nobody.
    fn nothing(account: &str) -> Result<Self, BuildError> {
        let to = account.parse().map_err(|_| BuildError::Inconsistent("a derived address does not parse"))?;
        Ok(Self { to, value: Amount::ZERO, input: Bytes::new(), amount: Amount::ZERO })
    }
}

/// The most that it can cost, in wei, within the intent's cap.
fn check_fee(intent: &Intent, account: &EthereumAccount) -> Result<Amount, BuildError> {
    if !(MIN_GAS_LIMIT..=MAX_GAS_LIMIT).contains(&account.gas_limit) {
        return Err(BuildError::Inconsistent("the gas limit is out of range"));
    }
    if account.max_fee_per_gas == 0 {
        return Err(BuildError::Inconsistent("the maximum fee is zero"));
    }
    if account.max_priority_fee_per_gas > account.max_fee_per_gas {
        return Err(BuildError::Inconsistent("the priority fee is above the maximum fee"));
    }
    let fee = Amount::from_u128(account.max_fee_per_gas)
        .checked_mul(account.gas_limit)
        .ok_or(BuildError::Inconsistent("the fee overflows"))?;
    if fee > intent.max_fee {
        return Err(BuildError::FeeAboveCap { fee, cap: intent.max_fee });
    }
    Ok(fee)
}

/// The payer must afford the worst case: nodes refuse a transaction whose sender cannot pay `value + gas_limit × max_fee`.
fn check_funds(
    asset: Asset,
    amount: Amount,
    fee: Amount,
    account: &EthereumAccount,
) -> Result<(), BuildError> {
    let enough = |asset, required: Option<Amount>, available: Amount| match required {
        Some(required) if required <= available => Ok(()),
        // A sum beyond 256 bits is more than anyone can own.
        required => Err(BuildError::InsufficientFunds {
            asset,
            required: required.unwrap_or(Amount(U256::MAX)),
            available,
        }),
    };
    match asset {
        Asset::Eth => enough(Asset::Eth, amount.checked_add(fee), account.balance),
        _ => {
            let available =
                account.token_balance.ok_or(BuildError::Inconsistent("the token balance was not read"))?;
            enough(asset, Some(amount), available)?;
            enough(Asset::Eth, Some(fee), account.balance)
        }
    }
}
