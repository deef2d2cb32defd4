//! What is read of the node's answers (Ethereum JSON-RPC specification, execution-apis).

use alloy::primitives::{Address, B256, Bytes, U64, U256};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Header {
    pub number: U64,
    pub hash: B256,
    /// Absent before the London fork.
    pub base_fee_per_gas: Option<U256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block {
    pub number: U64,
    pub hash: B256,
    pub parent_hash: B256,
    /// Seconds since the epoch.
    pub timestamp: U64,
    pub transactions: Vec<Transaction>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Transaction {
    pub hash: B256,
    /// Absent while no block holds it.
    pub block_hash: Option<B256>,
    pub block_number: Option<U64>,
    pub from: Address,
    /// Absent when it creates a contract.
    pub to: Option<Address>,
    pub nonce: U64,
    pub value: U256,
    pub input: Bytes,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Receipt {
    pub transaction_hash: B256,
    pub block_hash: B256,
    /// 1 if it took effect, 0 if it was reverted (EIP-658).
    pub status: U64,
    pub gas_used: U256,
    pub effective_gas_price: U256,
    pub logs: Vec<Log>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Log {
    pub address: Address,
    pub topics: Vec<B256>,
    pub data: Bytes,
    pub block_hash: Option<B256>,
    pub transaction_hash: Option<B256>,
    /// Position in the block.
    pub log_index: Option<U64>,
    #[serde(default)]
    pub removed: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct FeeHistory {
    /// Per block, the tips at the percentiles that were asked for.
    pub reward: Option<Vec<Vec<U256>>>,
}

/// Whether it is there at all; its content does not matter.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Known {
    pub hash: B256,
}

/// Keccak-256 of `Transfer(address,address,uint256)` (EIP-20).
pub(super) const TRANSFER_TOPIC: B256 =
    alloy::primitives::b256!("ddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef");

/// A token's own account of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TokenTransfer {
    pub from: Address,
    pub to: Address,
    pub amount: U256,
}

impl Log {
    /// `None` for any other event, also the one of NFTs (EIP-721), which has the same topic and a fourth one.
    pub fn token_transfer(&self) -> Option<TokenTransfer> {
        let [TRANSFER_TOPIC, from, to] = self.topics.as_slice() else {
            return None;
        };
        let amount = U256::from_be_bytes(*<&[u8; 32]>::try_from(self.data.as_ref()).ok()?);
        Some(TokenTransfer { from: Address::from_word(*from), to: Address::from_word(*to), amount })
    }
}
