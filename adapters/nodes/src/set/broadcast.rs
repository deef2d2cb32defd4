//! Signed bytes go to every node, whatever is known of it: the more have them, the sooner they are in a block, and none can keep
//! them back.

use super::NodeSet;
use crate::member::shorten;
use async_trait::async_trait;
use bursar_domain::{
    package::SignedTransaction,
    ports::{BroadcastOutcome, BroadcastTransaction},
};
use std::sync::Arc;
use tokio::sync::mpsc;

#[async_trait]
impl BroadcastTransaction for NodeSet {
    /// The first that takes it is enough to go on; the others get it in the background. A refusal needs all of them, and anything
    /// unclear stays unclear.
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        if let [only] = self.members.as_slice() {
            return only.send(transaction).await;
        }
        let (told, mut outcomes) = mpsc::channel(self.members.len());
        for member in &self.members {
            let (member, transaction, told) = (Arc::clone(member), transaction.clone(), told.clone());
            tokio::spawn(async move {
                let outcome = member.send(&transaction).await;
                // Nobody listens any more when another node was faster.
                let _ = told.send((member.name.clone(), outcome)).await;
            });
        }
        drop(told);
        let mut so_far = Vec::new();
        while let Some((name, outcome)) = outcomes.recv().await {
            if matches!(outcome, BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown) {
                return outcome;
            }
            so_far.push((name, outcome));
        }
        weigh(so_far)
    }
}

/// None took it.
fn weigh(outcomes: Vec<(String, BroadcastOutcome)>) -> BroadcastOutcome {
    let all_refuse = !outcomes.is_empty()
        && outcomes.iter().all(|(_, outcome)| matches!(outcome, BroadcastOutcome::Rejected { .. }));
    let reasons = outcomes.into_iter().map(|(name, outcome)| match outcome {
        BroadcastOutcome::Rejected { reason } => format!("{name} refuses: {}", shorten(&reason)),
        BroadcastOutcome::MaybeSent { reason } => format!("{name}: {}", shorten(&reason)),
        BroadcastOutcome::Accepted => format!("{name} accepts"),
        BroadcastOutcome::AlreadyKnown => format!("{name} has it"),
    });
    let reason = reasons.collect::<Vec<_>>().join("; ");
    match all_refuse {
        true => BroadcastOutcome::Rejected { reason },
        false => BroadcastOutcome::MaybeSent { reason },
    }
}
