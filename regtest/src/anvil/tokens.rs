//! ERC-20 test tokens (sources in contracts/, compiled by scripts/compile-contracts.sh, which can also check the bytes).

use std::sync::PoisonError;

use alloy::primitives::{Address, U256, keccak256};
use serde_json::{Value, json};

use super::{Anvil, BANK, parse, quantity};
use crate::RegtestError;

/// How a test token answers a `transfer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Returns true, as EIP-20 asks for.
    Normal,
    /// Moves the money and returns nothing, as USDT does.
    ReturnsNothing,
    /// Moves nothing, returns false, and does not revert.
    ReturnsFalse,
}

impl TokenKind {
    fn creation_code(self) -> &'static str {
        match self {
            Self::Normal => include_str!("../../contracts/compiled/NormalToken.hex"),
            Self::ReturnsNothing => include_str!("../../contracts/compiled/SilentToken.hex"),
            Self::ReturnsFalse => include_str!("../../contracts/compiled/FalseToken.hex"),
        }
    }
}

impl Anvil {
    /// Deploys a token with 6 decimals that anybody may mint. Its address, checksummed.
    pub async fn deploy_erc20(&self, kind: TokenKind) -> Result<String, RegtestError> {
        let code = format!("0x{}", kind.creation_code().trim());
        let receipt = self.transact(json!({ "from": BANK, "data": code })).await?;
        let address = receipt["contractAddress"].as_str().and_then(|text| text.parse::<Address>().ok());
        let address =
            address.ok_or_else(|| RegtestError::malformed("eth_getTransactionReceipt", "contractAddress"))?;
        let block = quantity("eth_getTransactionReceipt", &receipt["blockNumber"])?;
        let block = u64::try_from(block)
            .map_err(|_| RegtestError::malformed("eth_getTransactionReceipt", "64-bit blockNumber"))?;
        self.deployed.lock().unwrap_or_else(PoisonError::into_inner).insert(address, block);
        Ok(address.to_checksum(None))
    }

    /// Mints `amount` (smallest units) of `token` to `to`.
    pub async fn mint(&self, token: &str, to: &str, amount: U256) -> Result<(), RegtestError> {
        let data = calldata("mint(address,uint256)", parse(to)?, Some(amount));
        self.transact(json!({ "from": BANK, "to": parse(token)?, "data": data })).await.map(|_| ())
    }

    /// `balanceOf`, smallest units, latest block.
    pub async fn token_balance(&self, token: &str, owner: &str) -> Result<U256, RegtestError> {
        let data = calldata("balanceOf(address)", parse(owner)?, None);
        let answer: Value =
            self.call("eth_call", json!([{ "to": parse(token)?, "data": data }, "latest"])).await?;
        quantity("eth_call", &answer)
    }
}

/// Selector and words, after the Solidity ABI.
fn calldata(signature: &str, address: Address, amount: Option<U256>) -> String {
    let mut bytes = keccak256(signature.as_bytes())[..4].to_vec();
    bytes.extend_from_slice(address.into_word().as_slice());
    if let Some(amount) = amount {
        bytes.extend_from_slice(&amount.to_be_bytes::<32>());
    }
    format!("0x{}", hex::encode(bytes))
}
