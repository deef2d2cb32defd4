//! Reads what a payment depends on, and rehearses it.

use super::{
    EthereumNode, error_text,
    fees::Market,
    revert,
    rpc::{CallError, shorten},
};
use crate::{
    EthereumAdapter, MIN_GAS_LIMIT,
    address::checksummed,
    build::{Call, Erc20},
};
use alloy::{
    primitives::{Address, Bytes, U64, U256},
    rpc::json_rpc::ErrorPayload,
    sol_types::SolCall,
};
use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState, EthereumAccount},
    amount::Amount,
    asset::Asset,
    ports::{BuildError, DeriveAddress, NodeError, ReadAccount, ReadAccountError},
};
use serde_json::json;

const ESTIMATE: &str = "eth_estimateGas";
const CALL: &str = "eth_call";

#[async_trait]
impl ReadAccount for EthereumNode {
    async fn account_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        let intent = query.intent;
        // It does nothing, so there is nothing to simulate.
        if intent.fills.is_some() {
            return self.replacement_state(query).await;
        }
        let (address, from) = self.own_account(query)?;
        let call = Call::of(intent)?;

        let Market { base_fee, usual_tip, .. } = self.market().await?;
        let nonce: U64 = self.rpc.read("eth_getTransactionCount", (checksummed(&from), "latest")).await?;
        let balance = self.eth_balance(from).await?;
        let token_balance = match intent.asset {
            Asset::Erc20(token) => Some(self.token_balance(Address::from(token), from).await?),
            _ => None,
        };

        // Before any simulation, which would only say it less clearly.
        let offer = self.fees.offer(base_fee, usual_tip);
        let offer = offer.ok_or_else(|| self.fees.above_cap(base_fee, MIN_GAS_LIMIT))?;
        let short = |fee: Amount| insufficient(intent.asset, call.amount, fee, balance, token_balance);
        let least_fee = fee(offer.max_fee, MIN_GAS_LIMIT);
        if let Some(error) = short(least_fee) {
            return Err(error.into());
        }

        let estimate = self.estimate_gas(from, &call, || {
            // The node finds the funds short although the balance was enough a moment ago: it moved.
            short(least_fee).unwrap_or(BuildError::InsufficientFunds {
                asset: Asset::Eth,
                required: call.value.checked_add(least_fee).unwrap_or(Amount(U256::MAX)),
                available: balance,
            })
        });
        let estimate = estimate.await?;
        let gas_limit = self.fees.gas_limit(estimate).ok_or_else(|| ReadAccountError::WouldFail {
            reason: format!(
                "it needs {estimate} gas, above the operator's cap of {}",
                self.fees.gas_limit_cap
            ),
        })?;
        if token_balance.is_some() {
            self.rehearse(from, &call, gas_limit).await?;
        }
        if let Some(error) = short(fee(offer.max_fee, gas_limit)) {
            return Err(error.into());
        }
        Ok(AccountState::Ethereum(EthereumAccount {
            address,
            balance,
            token_balance,
            nonce: nonce.to(),
            gas_limit,
            max_fee_per_gas: offer.max_fee,
            max_priority_fee_per_gas: offer.priority,
        }))
    }

    /// Fees, balance and nonce. Nothing is simulated, so `gas_limit` is the least that any transaction takes and
    /// `token_balance` is not read.
    async fn replacement_state(&self, query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        let (address, from) = self.own_account(query)?;
        let Market { base_fee, usual_tip, .. } = self.market_now().await?;
        let nonce: U64 = self.rpc.read("eth_getTransactionCount", (checksummed(&from), "latest")).await?;
        let balance = self.eth_balance(from).await?;
        let offer = self.fees.offer(base_fee, usual_tip);
        let offer = offer.ok_or_else(|| self.fees.above_cap(base_fee, MIN_GAS_LIMIT))?;
        Ok(AccountState::Ethereum(EthereumAccount {
            address,
            balance,
            token_balance: None,
            nonce: nonce.to(),
            gas_limit: MIN_GAS_LIMIT,
            max_fee_per_gas: offer.max_fee,
            max_priority_fee_per_gas: offer.priority,
        }))
    }

    async fn balance(&self, address: &str, asset: Asset) -> Result<Amount, NodeError> {
        let refused = |operation, reason: &str| NodeError::Refused {
            network: self.network_id(),
            operation,
            reason: reason.to_owned(),
        };
        let owner: Address =
            address.parse().map_err(|_| refused("balance", "the address is not an Ethereum address"))?;
        match asset {
            Asset::Eth => self.eth_balance(owner).await,
            Asset::Erc20(token) => {
                self.token_balance(Address::from(token), owner).await.map_err(|error| match error {
                    ReadAccountError::Node(error) => error,
                    other => refused("balanceOf", &other.to_string()),
                })
            }
            Asset::Btc | Asset::Xrp => Err(refused("balance", "the asset is of another chain")),
        }
    }
}

impl EthereumNode {
    /// The paying account, as text and as alloy has it.
    fn own_account(&self, query: AccountQuery<'_>) -> Result<(String, Address), BuildError> {
        let AccountQuery { intent, key, source } = query;
        if intent.network() != self.network_id() {
            return Err(BuildError::Inconsistent("the intent is for another network than this node's"));
        }
        let source = source.ok_or(BuildError::Inconsistent("no paying account was chosen"))?;
        let address = EthereumAdapter.address(&intent.wallet, key, &source)?;
        let from =
            address.parse().map_err(|_| BuildError::Inconsistent("a derived address does not parse"))?;
        Ok((address, from))
    }

    async fn eth_balance(&self, owner: Address) -> Result<Amount, NodeError> {
        self.rpc.read("eth_getBalance", (checksummed(&owner), "latest")).await.map(Amount)
    }

    async fn token_balance(&self, token: Address, owner: Address) -> Result<Amount, ReadAccountError> {
        let input = Bytes::from(Erc20::balanceOfCall { owner }.abi_encode());
        let answer: Bytes =
            match self.rpc.call(CALL, (json!({ "to": token, "input": input }), "latest")).await {
                Ok(answer) => answer,
                Err(error) => return Err(self.simulation_error(CALL, error)),
            };
        match <&[u8; 32]>::try_from(answer.as_ref()) {
            Ok(word) => Ok(Amount(U256::from_be_bytes(*word))),
            Err(_) => Err(ReadAccountError::WouldFail {
                reason: format!("{} is not an ERC-20 token on this network", checksummed(&token)),
            }),
        }
    }

    async fn estimate_gas(
        &self,
        from: Address,
        call: &Call,
        insufficient: impl FnOnce() -> BuildError + Send,
    ) -> Result<u64, ReadAccountError> {
        match self.rpc.call::<_, U64>(ESTIMATE, (request(from, call, None), "latest")).await {
            Ok(estimate) => Ok(estimate.to()),
            Err(CallError::Answered(payload)) if error_text::is_insufficient_funds(&payload.message) => {
                Err(insufficient().into())
            }
            Err(error) => Err(self.simulation_error(ESTIMATE, error)),
        }
    }

    /// What the token answers: nothing (as USDT does) and true are fine, false is not, although it does not revert.
    async fn rehearse(&self, from: Address, call: &Call, gas: u64) -> Result<(), ReadAccountError> {
        let answer: Result<Bytes, CallError> =
            self.rpc.call(CALL, (request(from, call, Some(gas)), "latest")).await;
        let answer = answer.map_err(|error| self.simulation_error(CALL, error))?;
        let complaint = match answer.first_chunk::<32>() {
            None if answer.is_empty() => return Ok(()),
            Some(word) => match U256::from_be_bytes(*word) {
                U256::ONE => return Ok(()),
                U256::ZERO => "the token answers false".to_owned(),
                other => format!("the token answers {other} instead of true"),
            },
            None => format!("the token answers {} bytes", answer.len()),
        };
        Err(ReadAccountError::WouldFail { reason: complaint })
    }

    fn simulation_error(&self, operation: &'static str, error: CallError) -> ReadAccountError {
        match error {
            CallError::Answered(payload) => match would_revert(&payload) {
                Some(reason) => ReadAccountError::WouldFail { reason },
                None => self.rpc.node_error(operation, CallError::Answered(payload)).into(),
            },
            CallError::Node(error) => error.into(),
        }
    }
}

/// The reason, if the EVM ran the call and it failed.
fn would_revert(payload: &ErrorPayload) -> Option<String> {
    let data = payload
        .data
        .as_ref()
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .and_then(|value: serde_json::Value| revert::data(&value));
    match data {
        Some(data) if !data.is_empty() => Some(revert::reason(&data)),
        _ if error_text::is_revert(payload.code, &payload.message) => Some(shorten(&payload.message)),
        _ => None,
    }
}

/// Both names of the calldata are not sent: `input` is the specified one.
fn request(from: Address, call: &Call, gas: Option<u64>) -> serde_json::Value {
    let mut request = json!({ "from": from, "to": call.to, "value": call.value.0, "input": call.input });
    if let Some(gas) = gas {
        request["gas"] = json!(format!("{gas:#x}"));
    }
    request
}

fn fee(max_fee_per_gas: u128, gas_limit: u64) -> Amount {
    Amount::from_u128(max_fee_per_gas).checked_mul(gas_limit).unwrap_or(Amount(U256::MAX))
}

/// The first thing that the account has too little of.
fn insufficient(
    asset: Asset,
    amount: Amount,
    fee: Amount,
    balance: Amount,
    token_balance: Option<Amount>,
) -> Option<BuildError> {
    let short = |asset, required: Amount, available: Amount| {
        (required > available).then_some(BuildError::InsufficientFunds { asset, required, available })
    };
    match token_balance {
        Some(tokens) => short(asset, amount, tokens).or_else(|| short(Asset::Eth, fee, balance)),
        None => short(Asset::Eth, amount.checked_add(fee).unwrap_or(Amount(U256::MAX)), balance),
    }
}
