//! Blocks: what `min_agree` nodes show alike, with all that it says about us.

use super::NodeSet;
use crate::{
    agree::groups,
    gather::{Answer, Ask},
    member::{Member, told},
};
use async_trait::async_trait;
use bursar_domain::{
    chain::{BlockRef, ContractPayments, Liveness, ObservedBlock, ObservedTransaction, Tips, WatchSet},
    health::ChainHealth,
    network::Network,
    ports::{NodeError, ObserveChain, SentTransaction},
    time::Timestamp,
};
use std::sync::Arc;

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
        let observed = self.agreed_block(height, watch).await?;
        if let Some(told) = told(&observed.contract_payments) {
            *self.contract_payments() = Some(told);
        }
        Ok(observed)
    }

    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        self.weigh_liveness(transaction).await
    }

    fn health(&self) -> ChainHealth {
        let nodes = self.members.iter().map(|member| member.health());
        ChainHealth {
            min_agree: self.min_agree(),
            agreed: *self.agreed(),
            contract_payments: *self.contract_payments(),
            nodes: nodes.collect(),
        }
    }
}

type Block<'a> = Answer<'a, ObservedBlock, NodeError>;

/// A block without what contracts sent on, which some nodes can tell and others cannot.
fn bare(observed: &ObservedBlock) -> (&BlockRef, &str, Timestamp, &[ObservedTransaction]) {
    let ObservedBlock { block, parent_hash, time, transactions, contract_payments: _ } = observed;
    (block, parent_hash, *time, transactions)
}

/// The largest group of equal ones.
fn largest<T: PartialEq>(values: &[T]) -> usize {
    groups(values).first().map_or(0, Vec::len)
}

impl NodeSet {
    /// As many nodes as must agree are asked first, and the others only if those do not.
    async fn agreed_block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        let missing = |answers: &[Block<'_>]| self.missing(answers);
        let mut answers = self
            .ask(self.ranked(Some(height)), Ask::AsNeeded, BLOCK, |node| node.block(height, watch), missing)
            .await;
        for Answer { member, result } in &answers {
            if let Ok(observed) = result {
                member.told_contract_payments(&observed.contract_payments);
            }
        }
        if self.members.len() == 1
            && let Some(answer) = answers.pop()
        {
            return answer.result;
        }
        let traceable = self.traceable(&answers);

        let (shown, rest): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.result.is_ok());
        let blocks: Vec<(&Member, ObservedBlock)> =
            shown.into_iter().filter_map(|answer| Some((answer.member, answer.result.ok()?))).collect();
        for (member, observed) in &blocks {
            member.told_block(&observed.block);
        }
        match self.agreed_on(&blocks, traceable) {
            Some(agreed) => {
                for (member, observed) in &blocks {
                    let contradicts = is_whole(observed)
                        && is_whole(&agreed)
                        && observed.contract_payments != agreed.contract_payments;
                    if contradicts || bare(observed) != bare(&agreed) {
                        member.outvoted(BLOCK);
                    }
                }
                Ok(agreed)
            }
            None => Err(self.no_block(height, &blocks, rest)),
        }
    }

    /// What enough nodes say. What contracts sent on counts as the rest does: from fewer nodes it is not taken. Where fewer than enough
    /// can tell it at all, the block counts without it, and says so.
    fn agreed_on(&self, blocks: &[(&Member, ObservedBlock)], traceable: usize) -> Option<ObservedBlock> {
        let k = self.min_agree();
        let whole: Vec<&ObservedBlock> =
            blocks.iter().map(|(_, block)| block).filter(|b| is_whole(b)).collect();
        if let Some(first) = groups(&whole).first().filter(|group| group.len() >= k) {
            return Some(whole[first[0]].clone());
        }
        if traceable >= k {
            return None;
        }
        let bared: Vec<_> = blocks.iter().map(|(_, block)| bare(block)).collect();
        let equal = groups(&bared);
        let first = equal.first().filter(|group| group.len() >= k)?[0];
        Some(ObservedBlock { contract_payments: ContractPayments::Unknown, ..blocks[first].1.clone() })
    }

    /// How many more answers are needed.
    fn missing(&self, answers: &[Block<'_>]) -> usize {
        let k = self.min_agree();
        let shown: Vec<&ObservedBlock> =
            answers.iter().filter_map(|answer| answer.result.as_ref().ok()).collect();
        let whole: Vec<&&ObservedBlock> = shown.iter().filter(|block| is_whole(block)).collect();
        let whole = k.saturating_sub(largest(&whole));
        if whole == 0 || self.traceable(answers) >= k {
            return whole;
        }
        k.saturating_sub(largest(&shown.iter().map(|block| bare(block)).collect::<Vec<_>>()))
    }

    /// How many nodes have told, or may yet tell, what contracts sent on. One that fails now is waited for if it ever told: what it knows
    /// must not be passed by because it is away.
    fn traceable(&self, answers: &[Block<'_>]) -> usize {
        let may = |member: &&Arc<Member>| {
            let answer = answers.iter().find(|answer| answer.member.name == member.name);
            match answer.map(|answer| &answer.result) {
                Some(Ok(observed)) => is_whole(observed),
                Some(Err(_)) => member.tells_contract_payments() == Some(true),
                None => member.tells_contract_payments() != Some(false),
            }
        };
        self.members.iter().filter(may).count()
    }

    fn no_block(&self, height: u64, blocks: &[(&Member, ObservedBlock)], rest: Vec<Block<'_>>) -> NodeError {
        let k = self.min_agree();
        let lacking = |answer: &&Block<'_>| matches!(answer.result, Err(NodeError::NoBlock { .. }));
        if rest.iter().filter(lacking).count() >= k {
            return NodeError::NoBlock { network: self.network, height };
        }
        let shows = |(member, observed): &(&Member, ObservedBlock)| {
            let (hash, ours) = (&observed.block.hash, observed.transactions.len());
            let sent_on = match &observed.contract_payments {
                ContractPayments::NotSought => String::new(),
                ContractPayments::Unknown => ", not traced".to_owned(),
                ContractPayments::Known(payments) => format!(", {} payments by contracts", payments.len()),
            };
            format!("{} shows {hash} with {ours} transactions of ours{sent_on}", member.name)
        };
        let mut told: Vec<String> = blocks.iter().map(shows).collect();
        let whole: Vec<&ObservedBlock> =
            blocks.iter().map(|(_, block)| block).filter(|b| is_whole(b)).collect();
        let bared: Vec<_> = blocks.iter().map(|(_, block)| bare(block)).collect();
        if groups(&whole).len() > 1 || groups(&bared).len() > 1 {
            let reasons = rest.iter().filter_map(|answer| {
                let error = answer.result.as_ref().err()?;
                Some(format!("{}: {}", answer.member.name, crate::member::brief(error)))
            });
            told.extend(reasons);
            return self.disagree(BLOCK, told);
        }
        let shown = blocks.iter().map(|(member, observed)| Answer { member, result: Ok(observed.clone()) });
        self.too_few(BLOCK, shown.chain(rest).collect(), |result| match result {
            Ok(observed) if !is_whole(observed) => format!("shows block {height}, and does not trace it"),
            _ => format!("shows block {height}"),
        })
    }
}

/// Whether nothing in it is left open.
fn is_whole(observed: &ObservedBlock) -> bool {
    observed.contract_payments != ContractPayments::Unknown
}
