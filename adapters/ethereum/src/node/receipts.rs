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
/// Only a revert proves that nothing moved. A token that answers false instead leaves a status of 1 and has moved nothing; so a
/// transfer that we sent also needs the token's own event that money left our account. Without one it is unclear, not failed:
/// a token may leave its events to another contract, and calling it failed could get it paid twice. For the same reason an
/// event with another amount (a token that keeps a share) counts as success.
pub(super) fn outcome(transaction: &Transaction, receipt: &Receipt, sent_by_us: bool) -> TransactionOutcome {
    if receipt.status.is_zero() {
        return TransactionOutcome::Failed { reason: "reverted".into() };
    }
    if sent_by_us && transaction.input.len() == 68 && transaction.input.starts_with(&TRANSFER) {
        let moved = receipt.logs.iter().any(|log| {
            Some(log.address) == transaction.to
                && log.token_transfer().is_some_and(|t| t.from == transaction.from && !t.amount.is_zero())
        });
        if !moved {
            let reason = "not reverted, but the token emitted no Transfer event from our account: it may have refused the \
                          transfer, or recorded it elsewhere; compare the balances before paying again";
            return TransactionOutcome::Unclear { reason: reason.into() };
        }
    }
    TransactionOutcome::Succeeded
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const OURS: &str = "0x1111111111111111111111111111111111111111";
    const PAYEE: &str = "0x2222222222222222222222222222222222222222";
    const TOKEN: &str = "0x3333333333333333333333333333333333333333";
    const LEDGER: &str = "0x4444444444444444444444444444444444444444";

    fn word(text: &str) -> String {
        format!("0x{:0>64}", text.trim_start_matches("0x"))
    }

    fn event(contract: &str, from: &str, amount: &str) -> Value {
        json!({
            "address": contract, "topics": [super::super::wire::TRANSFER_TOPIC, word(from), word(PAYEE)],
            "data": word(amount),
        })
    }

    fn of_transfer(status: &str, logs: &[Value]) -> TransactionOutcome {
        let input = format!("0xa9059cbb{}{}", &word(PAYEE)[2..], &word("9")[2..]);
        let transaction = json!({
            "hash": word("5"), "from": OURS, "to": TOKEN, "nonce": "0x0", "value": "0x0", "input": input,
        });
        let receipt = json!({
            "transactionHash": word("5"), "blockHash": word("6"), "status": status, "gasUsed": "0x1",
            "effectiveGasPrice": "0x1", "logs": logs,
        });
        let transaction = serde_json::from_value(transaction).unwrap();
        outcome(&transaction, &serde_json::from_value(receipt).unwrap(), true)
    }

    #[test]
    fn only_a_revert_proves_that_a_token_transfer_moved_nothing() {
        assert_eq!(of_transfer("0x0", &[]), TransactionOutcome::Failed { reason: "reverted".into() });
        for paid in ["9", "8"] {
            assert_eq!(of_transfer("0x1", &[event(TOKEN, OURS, paid)]), TransactionOutcome::Succeeded);
        }
        for logs in [
            vec![],
            vec![event(LEDGER, OURS, "9")],
            vec![event(TOKEN, PAYEE, "9")],
            vec![event(TOKEN, OURS, "0")],
        ] {
            let outcome = of_transfer("0x1", &logs);
            assert!(matches!(outcome, TransactionOutcome::Unclear { .. }), "{logs:?}: {outcome:?}");
        }
    }
}
