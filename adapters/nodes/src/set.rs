//! The set, and what its ports share. In the folder: a file for each port.

mod account;
mod broadcast;
mod liveness;
mod observe;
mod tips;

use crate::{
    gather::{Answer, Ask, gather},
    member::{Member, NodeFailure, brief},
    record,
    settings::{InvalidNodeSet, NamedNode, NodeSetSettings},
};
use bursar_domain::{
    network::Network,
    ports::{Node, NodeError},
};
use futures::future::BoxFuture;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Several nodes of one network. The first is asked first where one is enough.
pub struct NodeSet {
    network: Network,
    members: Vec<Arc<Member>>,
    settings: NodeSetSettings,
    /// Whether enough agreed when they were last asked for their tips.
    agreed: Mutex<Option<bool>>,
    /// Whether what contracts sent on was told of the last block where it was looked for.
    contract_payments: Mutex<Option<bool>>,
}

impl NodeSet {
    /// Connects to nothing yet.
    pub fn new(nodes: Vec<NamedNode>, settings: NodeSetSettings) -> Result<Self, InvalidNodeSet> {
        let network = nodes.first().ok_or(InvalidNodeSet::Empty)?.node.network();
        let mut names = BTreeSet::new();
        for NamedNode { name, node } in &nodes {
            if !names.insert(name.clone()) {
                return Err(InvalidNodeSet::Duplicate(name.clone()));
            }
            if node.network() != network {
                let (name, actual) = (name.clone(), node.network());
                return Err(InvalidNodeSet::Network { name, expected: network, actual });
            }
        }
        let min_agree = settings.min_agree;
        if !(1..=nodes.len()).contains(&min_agree) {
            return Err(InvalidNodeSet::MinAgree { min_agree, nodes: nodes.len() });
        }
        let members = nodes.into_iter().map(|node| Arc::new(Member::new(network, node, settings)));
        Ok(Self {
            network,
            members: members.collect(),
            settings,
            agreed: Mutex::default(),
            contract_payments: Mutex::default(),
        })
    }

    const fn min_agree(&self) -> usize {
        self.settings.min_agree
    }

    fn agreed(&self) -> MutexGuard<'_, Option<bool>> {
        self.agreed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn contract_payments(&self) -> MutexGuard<'_, Option<bool>> {
        self.contract_payments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In the order of asking: those that may be asked, have reached `height`, and were not wrong lately, as configured; then the
    /// others.
    fn ranked(&self, height: Option<u64>) -> Vec<&Member> {
        let mut ranked: Vec<_> = self.members.iter().map(|member| (member.rank(height), member)).collect();
        ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
        ranked.into_iter().map(|(_, member)| member.as_ref()).collect()
    }

    /// Puts one question to the `members`, until none is `missing`.
    async fn ask<'a, T: Send, E: NodeFailure + From<NodeError> + Send>(
        &'a self,
        members: Vec<&'a Member>,
        whom: Ask,
        operation: &'static str,
        call: impl Fn(&'a dyn Node) -> BoxFuture<'a, Result<T, E>> + Send + Sync,
        missing: impl Fn(&[Answer<'a, T, E>]) -> usize + Send,
    ) -> Vec<Answer<'a, T, E>> {
        let ask = |member: &'a Member| member.read(operation, &call);
        gather(members, whom, self.settings.patience, ask, missing).await
    }

    /// Fewer than `min_agree` nodes gave an answer that counts. `useful` says what those said whose answer is none of the errors.
    fn too_few<T, E: NodeFailure>(
        &self,
        operation: &'static str,
        answers: Vec<Answer<'_, T, E>>,
        useful: impl Fn(&Result<T, E>) -> String,
    ) -> NodeError {
        let told = |answer: &Answer<'_, T, E>| match &answer.result {
            Err(error) => error.node_error().map_or_else(|| useful(&answer.result), brief),
            Ok(_) => useful(&answer.result),
        };
        let told: Vec<_> = answers.iter().map(|a| format!("{}: {}", a.member.name, told(a))).collect();
        let reason =
            format!("{} of {} nodes must answer: {}", self.min_agree(), self.members.len(), told.join("; "));
        NodeError::Unavailable { network: self.network, operation, reason }
    }

    fn disagree(&self, operation: &'static str, told: Vec<String>) -> NodeError {
        record::disagreement(self.network, operation);
        let needed = format!("{} of {} must say the same: ", self.min_agree(), self.members.len());
        NodeError::Disagree { network: self.network, operation, reason: needed + &told.join("; ") }
    }
}
