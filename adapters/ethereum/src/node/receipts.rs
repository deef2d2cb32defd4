//! Receipts of one block's transactions, and what they say about ours.

use super::{
    EthereumNode, error_text,
    rpc::CallError,
    wire::{Receipt, Transaction},
};
use alloy::primitives::B256;
use bursar_domain::{chain::TransactionOutcome, ports::NodeError};
use std::collections::HashMap;

const ONE: &str = "eth_getTransactionReceipt";
const ALL: &str = "eth_getBlockReceipts";
/// From this many of our transactions in a block on, one call for the whole block is cheaper.
const MANY: usize = 4;
/// `transfer(address,uint256)` (EIP-20).
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];

impl EthereumNode {
    /// The receipts of `hashes`, all of them and all from `block`, or an error: nodes make receipts available after the block
    /// itself, and the follower then asks again.
    pub(super) async fn receipts(
        &self,
        block: B256,
        hashes: &[B256],
    ) -> Result<HashMap<B256, Receipt>, NodeError> {
        let mut found = if hashes.len() >= MANY { self.block_receipts(block).await? } else { HashMap::new() };
        let mut receipts = HashMap::with_capacity(hashes.len());
        for hash in hashes {
            let receipt = match found.remove(hash) {
                Some(receipt) => receipt,
                None => self
                    .rpc
                    .read::<_, Option<Receipt>>(ONE, (*hash,))
                    .await?
                    .ok_or_else(|| self.lagging(format!("no receipt of {hash} yet")))?,
            };
            if receipt.transaction_hash != *hash {
                return Err(self.rpc.malformed(ONE, format!("a receipt of another transaction than {hash}")));
            }
            if receipt.block_hash != block {
                return Err(self.lagging(format!("the receipt of {hash} is of another block")));
            }
            receipts.insert(*hash, receipt);
        }
        Ok(receipts)
    }

    /// Empty where the node does not offer the method or has none yet.
    async fn block_receipts(&self, block: B256) -> Result<HashMap<B256, Receipt>, NodeError> {
        let receipts: Option<Vec<Receipt>> = match self.rpc.call(ALL, (block,)).await {
            Ok(receipts) => receipts,
            Err(CallError::Answered(e)) if error_text::is_missing_method(e.code, &e.message) => None,
            Err(error) => return Err(self.rpc.node_error(ALL, error)),
        };
        Ok(receipts.unwrap_or_default().into_iter().map(|r| (r.transaction_hash, r)).collect())
    }

    fn lagging(&self, reason: String) -> NodeError {
        NodeError::Refused { network: self.network_id(), operation: ONE, reason }
    }
}

/// Whether a transaction did what it is for.
///
/// A token that answers false instead of reverting leaves a status of 1 and has moved nothing. So a transfer that we sent
/// also needs the token's own event that money left our account. An event with another amount (a token that keeps a share)
/// counts as success: money did move, and calling it failed could get it paid twice.
pub(super) fn outcome(transaction: &Transaction, receipt: &Receipt, sent_by_us: bool) -> TransactionOutcome {
    let failed = |reason: &str| TransactionOutcome::Failed { reason: reason.to_owned() };
    if receipt.status.is_zero() {
        return failed("reverted");
    }
    if sent_by_us && transaction.input.len() == 68 && transaction.input.starts_with(&TRANSFER) {
        let moved = receipt.logs.iter().any(|log| {
            Some(log.address) == transaction.to
                && log.token_transfer().is_some_and(|t| t.from == transaction.from && !t.amount.is_zero())
        });
        if !moved {
            return failed("the token refused the transfer without reverting: it emitted no Transfer event");
        }
    }
    TransactionOutcome::Succeeded
}
