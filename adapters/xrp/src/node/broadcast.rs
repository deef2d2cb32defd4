//! Submission. Nothing here decides whether a payment happened: validated ledgers do.

use super::{
    XrpNode,
    answer::{Submit, Tx},
    rpc::RpcError,
    submit_result::{self, Submission},
};
use async_trait::async_trait;
use bursar_domain::{
    package::SignedTransaction,
    ports::{BroadcastOutcome, BroadcastTransaction, NodeError},
};
use serde_json::json;

#[async_trait]
impl BroadcastTransaction for XrpNode {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        match self.ask_network().await {
            Ok(()) => {}
            Err(wrong @ NodeError::WrongNetwork { .. }) => {
                return BroadcastOutcome::Rejected { reason: wrong.to_string() };
            }
            Err(error) => return BroadcastOutcome::MaybeSent { reason: error.to_string() },
        }
        let params = json!({ "tx_blob": hex::encode_upper(&transaction.bytes), "fail_hard": false });
        let Submit { engine_result, engine_result_message } = match self.submit(params).await {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        let advice = submit_result::advice(&engine_result);
        let reason = format!("{engine_result}: {engine_result_message}{advice}");
        match submit_result::read(&engine_result) {
            Submission::Accepted => BroadcastOutcome::Accepted,
            Submission::AlreadyKnown => BroadcastOutcome::AlreadyKnown,
            Submission::Rejected => BroadcastOutcome::Rejected { reason },
            Submission::Unclear => BroadcastOutcome::MaybeSent { reason },
            Submission::TurnIsGone => match self.transaction(&transaction.tx_id).await {
                Ok(Some(_)) => BroadcastOutcome::AlreadyKnown,
                Ok(None) => BroadcastOutcome::Rejected { reason },
                Err(error) => BroadcastOutcome::MaybeSent { reason: format!("{reason}; then {error}") },
            },
        }
    }
}

impl XrpNode {
    async fn submit(&self, params: serde_json::Value) -> Result<Submit, BroadcastOutcome> {
        match self.rpc.call("submit", params).await {
            Ok(result) => serde_json::from_value(result).map_err(|error| BroadcastOutcome::MaybeSent {
                reason: self.malformed("submit", &error.to_string()).to_string(),
            }),
            // The server's local checks: a signature or a field that no server would take.
            Err(error @ RpcError::Refused { .. }) if is_local_check(&error) => {
                Err(BroadcastOutcome::Rejected { reason: self.node_error("submit", error).to_string() })
            }
            Err(error) => {
                Err(BroadcastOutcome::MaybeSent { reason: self.node_error("submit", error).to_string() })
            }
        }
    }

    /// What the node knows of a transaction by its hash. "Not found" proves nothing.
    pub(super) async fn transaction(&self, tx_id: &str) -> Result<Option<Tx>, NodeError> {
        self.ask_unless("tx", json!({ "transaction": tx_id, "binary": false }), "txnNotFound").await
    }
}

fn is_local_check(error: &RpcError) -> bool {
    matches!(error, RpcError::Refused { code, .. } if code == "invalidTransaction")
}
