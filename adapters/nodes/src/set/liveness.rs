//! Loss-of-funds hazard: a transaction that is wrongly called dead is paid again.
//!
//! So every node is asked. `min_agree` of them must have a proof, and none may say that it can still take effect. Only one excuse is
//! taken: a node that is too far behind to have a proof says nothing by having none.

use super::NodeSet;
use crate::{
    gather::{Answer, Ask},
    member::{Member, TIPS},
};
use bursar_domain::{
    chain::{Liveness, Tips},
    effects::Validity,
    ports::{NodeError, SentTransaction},
};
use futures::future::join_all;

const LIVENESS: &str = "liveness";

impl NodeSet {
    pub(super) async fn weigh_liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        if let [only] = self.members.as_slice() {
            return only.read(LIVENESS, |node| node.liveness(sent)).await;
        }
        let everyone = |answers: &[Answer<'_, Liveness, NodeError>]| self.members.len() - answers.len();
        let answers =
            self.ask(self.ranked(None), Ask::All, LIVENESS, |node| node.liveness(sent), everyone).await;

        let k = self.min_agree();
        let (mut dead, mut unexplained, mut alive) = (Vec::new(), Vec::new(), Vec::new());
        for Answer { member, result } in &answers {
            match result {
                Ok(Liveness::Dead { proof }) => dead.push(format!("{}: {proof}", member.name)),
                Ok(Liveness::Unexplained { reason }) => {
                    unexplained.push(format!("{}: {reason}", member.name))
                }
                Ok(Liveness::MayConfirm) => alive.push(*member),
                Err(_) => {}
            }
        }
        if unexplained.len() >= k {
            return Ok(Liveness::Unexplained { reason: unexplained.join("; ") });
        }
        if dead.len() >= k {
            alive = self.who_could_know(alive, sent).await;
        }
        if !alive.is_empty() {
            return Ok(Liveness::MayConfirm);
        }
        if !unexplained.is_empty() && !dead.is_empty() {
            let reason =
                format!("the nodes contradict one another: {}; {}", unexplained.join("; "), dead.join("; "));
            return Ok(Liveness::Unexplained { reason });
        }
        if dead.len() >= k {
            return Ok(Liveness::Dead { proof: dead.join("; ") });
        }
        Err(self.too_few(LIVENESS, answers, |result| match result {
            Ok(Liveness::Dead { .. }) => "has a proof that it is dead".into(),
            Ok(Liveness::Unexplained { .. }) => "cannot explain it".into(),
            _ => "it may confirm".into(),
        }))
    }

    /// Those of `alive` that have seen what the others have their proof from. Asked after they spoke, so that one that is behind
    /// now was behind then.
    async fn who_could_know<'a>(&self, alive: Vec<&'a Member>, sent: &SentTransaction) -> Vec<&'a Member> {
        let looks = alive.into_iter().map(|member| async move {
            let tips = member.read(TIPS, |node| node.tips()).await;
            let behind = tips.is_ok_and(|tips| is_before_the_proof(&tips, sent));
            (!behind).then_some(member)
        });
        join_all(looks).await.into_iter().flatten().collect()
    }
}

/// A node that stands here cannot have a proof: the transaction's last ledger is still to come, or no block that used something
/// of what it spends is final.
fn is_before_the_proof(tips: &Tips, sent: &SentTransaction) -> bool {
    match sent.validity {
        Validity::UntilLedger(last) => tips.tip.height < u64::from(last),
        Validity::Unlimited => sent
            .spent_by
            .iter()
            .map(|spent| spent.height)
            .min()
            .is_some_and(|first| tips.final_height < first),
    }
}
