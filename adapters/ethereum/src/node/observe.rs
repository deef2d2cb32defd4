//! Walks blocks and finds in each what concerns us: one call for the block, one for its traces, one for token events if tokens are
//! watched, and one for each receipt that is needed. Calls grow with blocks, not with what is watched.
//!
//! Not seen: validator withdrawals, the layer-1 share of the fee on rollups, and, where the node does not trace ([`traces`](super::traces)),
//! ETH that contracts send on.

use super::{
    EthereumNode, Finality,
    receipts::outcome,
    rpc::Rpc,
    wire::{Block, Header, Log, Receipt, TRANSFER_TOPIC, Transaction},
};
use crate::address::checksummed;
use alloy::primitives::{Address, B256};
use async_trait::async_trait;
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{
        BlockRef, CONTRACT_PAYMENTS, ContractPayments, Credit, Liveness, ObservedBlock, ObservedTransaction,
        Tips, TransactionOutcome, WatchSet,
    },
    effects::Resource,
    network::Network,
    ports::{NodeError, ObserveChain, SentTransaction},
    time::Timestamp,
};
use serde_json::json;
use std::collections::{HashMap, HashSet};

const BLOCK: &str = "eth_getBlockByNumber";
const LOGS: &str = "eth_getLogs";
/// Up to this many addresses the node filters by recipient; above, the filter would grow past what nodes accept.
const MAX_FILTER: usize = 500;

#[async_trait]
impl ObserveChain for EthereumNode {
    fn network(&self) -> Network {
        self.network_id()
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        let latest: Option<Header> = self.rpc.read(BLOCK, ("latest", false)).await?;
        let latest = latest.ok_or_else(|| self.rpc.malformed(BLOCK, "no latest block"))?;
        let height = latest.number.to::<u64>();
        let final_height = match self.finality {
            Finality::Depth(confirmations) => height.saturating_sub(confirmations.saturating_sub(1)),
            Finality::FinalizedTag => {
                let finalized: Option<Header> = self.rpc.read(BLOCK, ("finalized", false)).await?;
                // Null until the first epoch is final.
                finalized.map_or(0, |header| header.number.to::<u64>()).min(height)
            }
        };
        Ok(Tips { tip: BlockRef { height, hash: latest.hash.to_string() }, final_height })
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        let block: Option<Block> = self.rpc.read(BLOCK, (format!("{height:#x}"), true)).await?;
        let block = block.ok_or(NodeError::NoBlock { network: self.network_id(), height })?;
        if block.number.to::<u64>() != height {
            return Err(self.rpc.malformed(BLOCK, format!("block {} instead of {height}", block.number)));
        }
        let contract_payments = self.contract_payments(&block, watch).await?;
        let paying: HashSet<&str> = match &contract_payments {
            ContractPayments::Known(payments) => payments.iter().map(|paid| paid.tx_id.as_str()).collect(),
            ContractPayments::NotSought | ContractPayments::Unknown => HashSet::new(),
        };
        let pays = |tx: &Transaction| !paying.is_empty() && paying.contains(tx.hash.to_string().as_str());
        let wanted: Vec<B256> = block
            .transactions
            .iter()
            .filter(|tx| concerns(tx, watch) || pays(tx))
            .map(|tx| tx.hash)
            .collect();
        let receipts = self.receipts(block.hash, &wanted).await?;
        // Two words of the node on one thing.
        let reverted = |tx: &&Transaction| receipts.get(&tx.hash).is_none_or(|r| r.status.is_zero());
        if let Some(tx) = block.transactions.iter().filter(reverted).find(|tx| pays(tx)) {
            let reason = format!("calls in {} that take effect, and a receipt that says reverted", tx.hash);
            return Err(self.rpc.malformed("trace", reason));
        }
        let mut tokens = self.token_credits(block.hash, watch).await?;

        let mut transactions = Vec::new();
        for tx in &block.transactions {
            let received = tokens.remove(&tx.hash).unwrap_or_default();
            let observed = match receipts.get(&tx.hash).filter(|_| concerns(tx, watch)) {
                Some(receipt) => observe(tx, receipt, received, watch),
                // Events exist only in transactions that took effect.
                None if !received.is_empty() => ObservedTransaction {
                    tx_id: tx.hash.to_string(),
                    outcome: TransactionOutcome::Succeeded,
                    spends: Vec::new(),
                    fee: None,
                    credits: received,
                },
                None => continue,
            };
            transactions.push(observed);
        }
        if !tokens.is_empty() {
            return Err(self.rpc.malformed(LOGS, "an event of a transaction that is not in the block"));
        }
        let seconds = i64::try_from(block.timestamp.to::<u64>())
            .map_err(|_| self.rpc.malformed(BLOCK, "timestamp beyond 63 bits"))?;
        Ok(ObservedBlock {
            block: BlockRef { height, hash: block.hash.to_string() },
            parent_hash: block.parent_hash.to_string(),
            time: Timestamp::from_secs(seconds),
            transactions,
            contract_payments,
        })
    }

    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        self.prove_liveness(transaction).await
    }
}

pub(super) fn is_ours(address: &Address, watch: &WatchSet) -> bool {
    watch.addresses.contains(&checksummed(address))
}

fn concerns(tx: &Transaction, watch: &WatchSet) -> bool {
    is_ours(&tx.from, watch)
        || tx.to.is_some_and(|to| is_ours(&to, watch))
        || watch.transactions.contains(&tx.hash.to_string())
}

/// [`Credit::from`]: each once, and not the one who receives.
pub(super) fn senders(to: &Address, from: &[Address]) -> Vec<String> {
    let mut senders: Vec<&Address> = from.iter().filter(|from| *from != to).collect();
    senders.dedup();
    senders.into_iter().map(checksummed).collect()
}

/// Credits: the transaction's own value has index 0, a token event its place among the block's events plus one.
fn observe(
    tx: &Transaction,
    receipt: &Receipt,
    received: Vec<Credit>,
    watch: &WatchSet,
) -> ObservedTransaction {
    let tx_id = tx.hash.to_string();
    let from_us = is_ours(&tx.from, watch);
    let outcome = outcome(tx, receipt, from_us || watch.transactions.contains(&tx_id));
    let mut credits = Vec::new();
    if receipt.status.is_zero() {
        // Nothing moved but the fee.
    } else {
        if let Some(to) = tx.to.filter(|to| !tx.value.is_zero() && is_ours(to, watch)) {
            credits.push(Credit {
                address: checksummed(&to),
                from: senders(&to, &[tx.from]),
                tag: None,
                asset: Asset::Eth,
                amount: Amount(tx.value),
                outpoint: None,
                index: 0,
            });
        }
        credits.extend(received);
    }
    let spends = from_us
        .then(|| Resource::Nonce { account: checksummed(&tx.from), nonce: tx.nonce.to() })
        .into_iter()
        .collect();
    let fee = receipt.gas_used.checked_mul(receipt.effective_gas_price).map(Amount).filter(|_| from_us);
    ObservedTransaction { tx_id, outcome, spends, fee, credits }
}

impl EthereumNode {
    /// What watched tokens say reached our addresses in this block, by transaction.
    async fn token_credits(
        &self,
        block: B256,
        watch: &WatchSet,
    ) -> Result<HashMap<B256, Vec<Credit>>, NodeError> {
        let mut credits: HashMap<B256, Vec<Credit>> = HashMap::new();
        if watch.tokens.is_empty() || watch.addresses.is_empty() {
            return Ok(credits);
        }
        let logs: Vec<Log> = self.rpc.read(LOGS, (log_filter(block, watch),)).await?;
        for log in logs {
            if log.removed || log.block_hash != Some(block) {
                return Err(self.rpc.malformed(LOGS, "an event of another block"));
            }
            let Some(transfer) = log.token_transfer() else { continue };
            // Not left to the node's filter. Zero amounts are only sent to plant lookalike addresses in histories.
            let token = log.address.into_array();
            if !watch.tokens.contains(&token) || !is_ours(&transfer.to, watch) || transfer.amount.is_zero() {
                continue;
            }
            let (tx, index) = position(&self.rpc, &log)?;
            credits.entry(tx).or_default().push(Credit {
                address: checksummed(&transfer.to),
                from: senders(&transfer.to, &[transfer.from]),
                tag: None,
                asset: Asset::Erc20(token),
                amount: Amount(transfer.amount),
                outpoint: None,
                index,
            });
        }
        Ok(credits)
    }
}

/// EIP-234: by block hash, so that a reorganisation between two calls cannot mix blocks.
fn log_filter(block: B256, watch: &WatchSet) -> serde_json::Value {
    let tokens: Vec<Address> = watch.tokens.iter().map(|token| Address::from(*token)).collect();
    let recipients: Option<Vec<B256>> = (watch.addresses.len() <= MAX_FILTER).then(|| {
        watch.addresses.iter().filter_map(|a| a.parse::<Address>().ok()).map(|a| a.into_word()).collect()
    });
    let mut topics = vec![json!(TRANSFER_TOPIC)];
    if let Some(recipients) = recipients.filter(|recipients| !recipients.is_empty()) {
        topics.extend([json!(null), json!(recipients)]);
    }
    json!({ "blockHash": block, "address": tokens, "topics": topics })
}

/// Transaction and credit index of an event.
fn position(rpc: &Rpc, log: &Log) -> Result<(B256, u32), NodeError> {
    let index = log.log_index.and_then(|index| u32::try_from(index.to::<u64>()).ok()?.checked_add(1));
    match (log.transaction_hash, index.filter(|index| *index < CONTRACT_PAYMENTS)) {
        (Some(transaction), Some(index)) => Ok((transaction, index)),
        _ => Err(rpc.malformed(LOGS, "an event without its place in the block")),
    }
}
