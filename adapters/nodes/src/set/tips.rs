//! Where the chain stands: what `min_agree` nodes have reached, on the same branch.
//!
//! Nodes are a block or two apart all the time, and at the tip of a proof-of-work chain they may follow different branches for a
//! while. Neither is an error: the answer is then lower, where enough of them are on one branch. A node that is ahead tells its
//! hash at a lower height only if it is asked for that block, so what each has told before is looked at first. That memory may be
//! of a branch that the node has left since; it serves to see where the nodes stand, and no more: each block is agreed upon anew
//! when it is walked, and it is counted along what was walked that a block becomes final.

use super::{NodeSet, observe::BLOCK};
use crate::{
    agree::{groups, kept, reached},
    gather::{Answer, Ask},
    member::{Member, TIPS},
};
use bursar_domain::{
    chain::{BlockRef, Tips, WatchSet},
    ports::NodeError,
};
use futures::future::join_all;
use std::collections::BTreeSet;

/// How far below the lowest tip a common block is looked for. Branches that are longer are for people.
const LONGEST_BRANCH: u64 = 3;

impl NodeSet {
    pub(super) async fn agreed_tips(&self) -> Result<Tips, NodeError> {
        let k = self.min_agree();
        let missing = |answers: &[Answer<'_, Tips, NodeError>]| {
            k.saturating_sub(answers.iter().filter(|answer| answer.result.is_ok()).count())
        };
        let mut answers = self.ask(self.ranked(None), Ask::All, TIPS, |node| node.tips(), missing).await;
        for Answer { member, result } in &answers {
            if let Ok(tips) = result {
                member.told_tips(tips);
            }
        }
        if self.members.len() == 1
            && let Some(answer) = answers.pop()
        {
            return answer.result;
        }
        let told: Vec<(&Member, &Tips)> =
            answers.iter().filter_map(|answer| Some((answer.member, answer.result.as_ref().ok()?))).collect();
        // Fewer than k liars can neither make a block final before an honest node calls it so, nor make the distance between the
        // tip and what is final shorter than an honest node's.
        let final_height = reached(told.iter().map(|(_, tips)| tips.final_height), k);
        let distance =
            kept(told.iter().map(|(_, tips)| tips.tip.height.saturating_sub(tips.final_height)), k);
        let (Some(final_height), Some(distance)) = (final_height, distance) else {
            return Err(self.too_few(TIPS, answers, |_| "answered".into()));
        };
        let tip = self.common_tip(&told).await?;
        let final_height = final_height.min(tip.height.saturating_sub(distance));
        Ok(Tips { tip, final_height })
    }

    /// The highest block that enough nodes have on their branch.
    async fn common_tip(&self, told: &[(&Member, &Tips)]) -> Result<BlockRef, NodeError> {
        let k = self.min_agree();
        let heights = told.iter().map(|(_, tips)| tips.tip.height);
        let highest = reached(heights.clone(), k).unwrap_or_default();
        let lowest = heights.clone().min().unwrap_or_default();
        let below = (1..=LONGEST_BRANCH).filter_map(|down| lowest.checked_sub(down));
        let candidates: BTreeSet<u64> = heights.filter(|height| *height <= highest).chain(below).collect();
        for height in candidates.into_iter().rev() {
            let there: Vec<_> = told.iter().filter(|(_, tips)| tips.tip.height >= height).collect();
            let said = |(member, tips): &&(&Member, &Tips)| match tips.tip.height == height {
                true => Some(tips.tip.hash.clone()),
                false => member.remembered(height),
            };
            let remembered: Vec<Option<String>> = there.iter().map(said).collect();
            if let Some(hash) = common(remembered.into_iter().flatten(), k) {
                return Ok(BlockRef { height, hash });
            }
            let asked = join_all(there.iter().map(|(member, tips)| async move {
                match tips.tip.height == height {
                    true => Some(tips.tip.hash.clone()),
                    false => hash_at(member, height).await,
                }
            }));
            if let Some(hash) = common(asked.await.into_iter().flatten(), k) {
                return Ok(BlockRef { height, hash });
            }
        }
        let shows = |(member, tips): &(&Member, &Tips)| {
            format!("{} is at {} with hash {}", member.name, tips.tip.height, tips.tip.hash)
        };
        Err(self.disagree(TIPS, told.iter().map(shows).collect()))
    }
}

async fn hash_at(member: &Member, height: u64) -> Option<String> {
    let watch = WatchSet::default();
    let block = member.read(BLOCK, |node| node.block(height, &watch)).await.ok()?.block;
    member.told_block(&block);
    Some(block.hash)
}

fn common(hashes: impl Iterator<Item = String>, k: usize) -> Option<String> {
    let mut hashes: Vec<String> = hashes.collect();
    let first = groups(&hashes).into_iter().next().filter(|group| group.len() >= k)?[0];
    Some(hashes.swap_remove(first))
}
