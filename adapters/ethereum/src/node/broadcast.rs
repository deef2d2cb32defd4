//! Hands signed bytes to the node.

use super::{
    EthereumNode,
    error_text::{SendRefusal, send_refusal},
    rpc::{CallError, shorten},
    wire::Known,
};
use alloy::primitives::{B256, Bytes};
use async_trait::async_trait;
use bursar_domain::{
    package::SignedTransaction,
    ports::{BroadcastOutcome, BroadcastTransaction, NodeError},
};

const SEND: &str = "eth_sendRawTransaction";

#[async_trait]
impl BroadcastTransaction for EthereumNode {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        // Asked apart from the call, so that bytes never go to a node of another chain.
        if let Err(error) = self.rpc.verify_chain().await {
            let reason = error.to_string();
            return match error {
                NodeError::WrongNetwork { .. } => BroadcastOutcome::Rejected { reason },
                _ => BroadcastOutcome::MaybeSent { reason },
            };
        }
        let bytes = Bytes::from(transaction.bytes.clone());
        match self.rpc.call::<_, B256>(SEND, (bytes,)).await {
            Ok(hash) if hash.to_string() == transaction.tx_id => BroadcastOutcome::Accepted,
            Ok(hash) => {
                BroadcastOutcome::MaybeSent { reason: format!("the node answered with the hash {hash}") }
            }
            Err(CallError::Node(error)) => BroadcastOutcome::MaybeSent { reason: error.to_string() },
            Err(CallError::Answered(payload)) => {
                let reason = shorten(&format!("{} ({})", payload.message, payload.code));
                match send_refusal(&payload.message) {
                    SendRefusal::AlreadyKnown => BroadcastOutcome::AlreadyKnown,
                    SendRefusal::Rejected => BroadcastOutcome::Rejected { reason },
                    SendRefusal::Unclear => BroadcastOutcome::MaybeSent { reason },
                    SendRefusal::NonceUsed => self.who_used_the_nonce(&transaction.tx_id, reason).await,
                }
            }
        }
    }
}

impl EthereumNode {
    /// "Nonce too low" is what a node says of our own transaction once it is in a block.
    async fn who_used_the_nonce(&self, tx_id: &str, reason: String) -> BroadcastOutcome {
        let known = self.rpc.read::<_, Option<Known>>("eth_getTransactionByHash", (tx_id,)).await;
        match known {
            Ok(Some(known)) if known.hash.to_string() == tx_id => BroadcastOutcome::AlreadyKnown,
            // The node may lag behind itself: this rejects now and proves nothing.
            Ok(_) => BroadcastOutcome::Rejected { reason },
            Err(error) => BroadcastOutcome::MaybeSent { reason: format!("{reason}; then {error}") },
        }
    }
}
