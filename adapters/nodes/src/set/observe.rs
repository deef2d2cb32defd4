//! Blocks: what `min_agree` nodes show alike, with all that it says about us.

use super::NodeSet;
use crate::{
    agree::groups,
    gather::{Answer, Ask},
    member::Member,
};
use async_trait::async_trait;
use bursar_domain::{
    chain::{Liveness, ObservedBlock, Tips, WatchSet},
    health::ChainHealth,
    network::Network,
    ports::{NodeError, ObserveChain, SentTransaction},
};

pub(super) const BLOCK: &str = "block";

#[async_trait]
impl ObserveChain for NodeSet {
    fn network(&self) -> Network {
        self.network
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        let tips = self.agreed_tips().await;
        *self.agreed() = Some(tips.is_ok());
        tips
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        self.agreed_block(height, watch).await
    }

    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        self.weigh_liveness(transaction).await
    }

    fn health(&self) -> ChainHealth {
        let nodes = self.members.iter().map(|member| member.health());
        ChainHealth { min_agree: self.min_agree(), agreed: *self.agreed(), nodes: nodes.collect() }
    }
}

type Block<'a> = Answer<'a, ObservedBlock, NodeError>;

/// The largest group of nodes that show the same block.
fn largest(answers: &[Block<'_>]) -> usize {
    let shown: Vec<&ObservedBlock> =
        answers.iter().filter_map(|answer| answer.result.as_ref().ok()).collect();
    groups(&shown).first().map_or(0, Vec::len)
}

impl NodeSet {
    /// As many nodes as must agree are asked first, and the others only if those do not.
    async fn agreed_block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        let k = self.min_agree();
        let missing = |answers: &[Block<'_>]| k.saturating_sub(largest(answers));
        let mut answers = self
            .ask(self.ranked(Some(height)), Ask::AsNeeded, BLOCK, |node| node.block(height, watch), missing)
            .await;
        if self.members.len() == 1
            && let Some(answer) = answers.pop()
        {
            return answer.result;
        }

        let (shown, rest): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.result.is_ok());
        let mut blocks: Vec<(&Member, ObservedBlock)> =
            shown.into_iter().filter_map(|answer| Some((answer.member, answer.result.ok()?))).collect();
        for (member, observed) in &blocks {
            member.told_block(&observed.block);
        }
        let equal = groups(&blocks.iter().map(|(_, observed)| observed).collect::<Vec<_>>());
        match equal.first() {
            Some(agreed) if agreed.len() >= k => {
                for index in equal[1..].iter().flatten() {
                    blocks[*index].0.outvoted(BLOCK);
                }
                let first = agreed[0];
                Ok(blocks.swap_remove(first).1)
            }
            _ => Err(self.no_block(height, &blocks, equal.len(), rest)),
        }
    }

    fn no_block(
        &self,
        height: u64,
        blocks: &[(&Member, ObservedBlock)],
        different: usize,
        rest: Vec<Block<'_>>,
    ) -> NodeError {
        let k = self.min_agree();
        let lacking = |answer: &&Block<'_>| matches!(answer.result, Err(NodeError::NoBlock { .. }));
        if rest.iter().filter(lacking).count() >= k {
            return NodeError::NoBlock { network: self.network, height };
        }
        let shows = |(member, observed): &(&Member, ObservedBlock)| {
            let (hash, ours) = (&observed.block.hash, observed.transactions.len());
            format!("{} shows {hash} with {ours} transactions of ours", member.name)
        };
        let mut told: Vec<String> = blocks.iter().map(shows).collect();
        if different > 1 {
            let reasons = rest.iter().filter_map(|answer| {
                let error = answer.result.as_ref().err()?;
                Some(format!("{}: {}", answer.member.name, crate::member::brief(error)))
            });
            told.extend(reasons);
            return self.disagree(BLOCK, told);
        }
        let shown = blocks.iter().map(|(member, observed)| Answer { member, result: Ok(observed.clone()) });
        self.too_few(BLOCK, shown.chain(rest).collect(), |_| format!("shows block {height}"))
    }
}
