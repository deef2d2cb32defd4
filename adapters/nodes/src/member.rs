//! One node of a set: how long it is waited for, when it is left alone, and what it said last.

use crate::{
    breaker::Breaker,
    record::Labels,
    settings::{NamedNode, NodeSetSettings},
};
use backon::{ExponentialBuilder, Retryable};
use bursar_domain::{
    chain::{BlockRef, ContractPayments, Tips},
    health::{NodeCondition, NodeHealth},
    network::Network,
    package::SignedTransaction,
    ports::{BroadcastOutcome, Node, NodeError, ReadAccountError},
};
use futures::future::BoxFuture;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::time::{Instant, timeout};

pub const TIPS: &str = "tips";
pub const BROADCAST: &str = "broadcast";
/// How many block hashes are remembered, to compare nodes that are a few blocks apart without asking.
const HASHES: usize = 64;
/// How long a node that failed or was outvoted is asked after the others.
const DOUBTED: Duration = Duration::from_secs(60);
/// Text from a node is bounded before it reaches a log or a row.
const MAX_TEXT: usize = 300;

pub struct Member {
    pub name: String,
    network: Network,
    node: Arc<dyn Node>,
    settings: NodeSetSettings,
    labels: Labels,
    seen: Mutex<Seen>,
}

struct Seen {
    breaker: Breaker,
    condition: NodeCondition,
    tips: Option<(u64, u64)>,
    hashes: VecDeque<BlockRef>,
    latency: Option<Duration>,
    last_error: Option<String>,
    outvoted: u64,
    doubted_until: Option<Instant>,
    /// Whether it told what contracts sent on when it was last asked for that.
    contract_payments: Option<bool>,
}

/// What a question to a node can end with when it is not its answer.
pub trait NodeFailure {
    /// `None` if the node did answer: the error is about the payment.
    fn node_error(&self) -> Option<&NodeError>;
}
impl NodeFailure for NodeError {
    fn node_error(&self) -> Option<&NodeError> {
        Some(self)
    }
}
impl NodeFailure for ReadAccountError {
    fn node_error(&self) -> Option<&NodeError> {
        match self {
            Self::Node(error) => Some(error),
            Self::WouldFail { .. } | Self::Build(_) => None,
        }
    }
}

/// Where a node comes in the order of asking; the least first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    left_alone: bool,
    behind: bool,
    /// It cannot tell what contracts sent on. Of no weight in what has no height.
    untraced: bool,
    doubted: bool,
}

impl Member {
    pub fn new(network: Network, node: NamedNode, settings: NodeSetSettings) -> Self {
        let labels = Labels::new(network, &node.name);
        let seen = Seen {
            breaker: Breaker::new(settings.breaker),
            condition: NodeCondition::Unknown,
            tips: None,
            hashes: VecDeque::new(),
            latency: None,
            last_error: None,
            outvoted: 0,
            doubted_until: None,
            contract_payments: None,
        };
        Self { name: node.name, network, node: node.node, settings, labels, seen: Mutex::new(seen) }
    }

    /// A question that changes nothing. Failures to reach the node are tried again, as long as they come quickly; the deadline
    /// holds for all of it.
    pub async fn read<'a, T, E>(
        &'a self,
        operation: &'static str,
        call: impl Fn(&'a dyn Node) -> BoxFuture<'a, Result<T, E>> + Send,
    ) -> Result<T, E>
    where
        T: Send,
        E: NodeFailure + From<NodeError> + Send,
    {
        let question = self.admit(operation)?;
        let retries = ExponentialBuilder::new()
            .with_min_delay(self.settings.retry_delay)
            .with_max_times(self.settings.retries)
            .with_jitter();
        let started = question.started;
        let asking = (|| call(self.node.as_ref())).retry(retries).when(|error: &E| {
            matches!(error.node_error(), Some(NodeError::Unavailable { .. }))
                && started.elapsed() < self.settings.patience
        });
        let answer = match timeout(self.settings.deadline, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(self
                .unavailable(operation, format!("no answer within {:?}", self.settings.deadline))
                .into()),
        };
        question.settle(answer.as_ref().err().and_then(NodeFailure::node_error));
        answer
    }

    /// Hands over signed bytes, once. Not held up by the breaker: it costs little, and may be what gets a payment through.
    pub async fn send(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        let started = Instant::now();
        let sending = timeout(self.settings.deadline, self.node.broadcast(transaction));
        let outcome = sending.await.unwrap_or_else(|_| BroadcastOutcome::MaybeSent {
            reason: format!("no answer within {:?}", self.settings.deadline),
        });
        let label = match &outcome {
            BroadcastOutcome::Accepted => "accepted",
            BroadcastOutcome::AlreadyKnown => "already_known",
            BroadcastOutcome::MaybeSent { .. } => "maybe_sent",
            BroadcastOutcome::Rejected { .. } => "rejected",
        };
        self.labels.request(BROADCAST, label);
        self.labels.latency(BROADCAST, started.elapsed());
        outcome
    }

    pub fn told_tips(&self, tips: &Tips) {
        self.labels.height(tips.tip.height);
        let mut seen = self.seen();
        seen.tips = Some((tips.tip.height, tips.final_height));
        seen.remember(&tips.tip);
    }

    pub fn told_block(&self, block: &BlockRef) {
        self.seen().remember(block);
    }

    pub fn told_contract_payments(&self, payments: &ContractPayments) {
        if let Some(told) = told(payments) {
            self.seen().contract_payments = Some(told);
        }
    }

    /// Whether it told what contracts sent on when it was last asked for that; `None` before that.
    pub fn tells_contract_payments(&self) -> Option<bool> {
        self.seen().contract_payments
    }

    /// The hash that it last gave for this height. It may have followed another branch since.
    pub fn remembered(&self, height: u64) -> Option<String> {
        self.seen().hashes.iter().find(|block| block.height == height).map(|block| block.hash.clone())
    }

    /// Enough others agree on another answer.
    pub fn outvoted(&self, operation: &'static str) {
        tracing::warn!(network = %self.network, node = self.name, operation, "outvoted by the other nodes");
        self.labels.outvoted(operation);
        let mut seen = self.seen();
        seen.outvoted = seen.outvoted.saturating_add(1);
        seen.doubted_until = Some(Instant::now() + DOUBTED);
    }

    /// `height`: what it should have reached to be of use.
    pub fn rank(&self, height: Option<u64>) -> Rank {
        let now = Instant::now();
        let seen = self.seen();
        Rank {
            left_alone: !seen.breaker.admits(now),
            behind: height.zip(seen.tips).is_some_and(|(asked, (tip, _))| tip < asked),
            untraced: height.is_some() && seen.contract_payments == Some(false),
            doubted: seen.doubted_until.is_some_and(|until| now < until),
        }
    }

    pub fn health(&self) -> NodeHealth {
        let seen = self.seen();
        NodeHealth {
            name: self.name.clone(),
            condition: seen.condition,
            circuit: seen.breaker.circuit(),
            height: seen.tips.map(|(height, _)| height),
            final_height: seen.tips.map(|(_, final_height)| final_height),
            latency: seen.latency,
            last_error: seen.last_error.clone(),
            outvoted: seen.outvoted,
            contract_payments: seen.contract_payments,
        }
    }

    fn admit(&self, operation: &'static str) -> Result<Question<'_>, NodeError> {
        let started = Instant::now();
        let mut seen = self.seen();
        if let Err(left) = seen.breaker.admit(started) {
            let why = seen.last_error.clone().unwrap_or_default();
            drop(seen);
            self.labels.request(operation, "left_alone");
            let when = match left {
                Some(left) => format!("tried again in {:.1} s", left.as_secs_f64()),
                None => "being tried now".to_owned(),
            };
            return Err(
                self.unavailable(operation, format!("left alone after failures, {when}; last: {why}"))
            );
        }
        self.labels.circuit(seen.breaker.circuit());
        Ok(Question { member: self, operation, started, settled: false })
    }

    fn unavailable(&self, operation: &'static str, reason: String) -> NodeError {
        NodeError::Unavailable { network: self.network, operation, reason }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // Whole after each use, so that a poisoned lock does not matter.
        self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Seen {
    fn remember(&mut self, block: &BlockRef) {
        self.hashes.retain(|known| known.height != block.height);
        if self.hashes.len() == HASHES {
            self.hashes.pop_front();
        }
        self.hashes.push_back(block.clone());
    }
}

/// A question under way. If it is dropped unsettled, the answer was no longer needed.
struct Question<'a> {
    member: &'a Member,
    operation: &'static str,
    started: Instant,
    settled: bool,
}

impl Question<'_> {
    fn settle(mut self, error: Option<&NodeError>) {
        self.settled = true;
        let now = Instant::now();
        let elapsed = now.duration_since(self.started);
        let Member { labels, .. } = self.member;
        let mut seen = self.member.seen();
        let was = seen.condition;
        let outcome = match error {
            None => {
                seen.answered(elapsed);
                "ok"
            }
            Some(NodeError::NoBlock { .. }) => {
                seen.answered(elapsed);
                "no_block"
            }
            Some(error @ NodeError::WrongNetwork { .. }) => {
                seen.breaker.trip(now);
                seen.condition = NodeCondition::WrongNetwork;
                seen.last_error = Some(brief(error));
                "wrong_network"
            }
            // Declining is an answer, but to the one question that any node in order answers.
            Some(error @ NodeError::Refused { .. }) if self.operation != TIPS => {
                seen.breaker.undecided(now);
                seen.last_error = Some(brief(error));
                "refused"
            }
            Some(error) => {
                seen.failed(now, brief(error));
                match error {
                    NodeError::Refused { .. } => "refused",
                    NodeError::Malformed { .. } => "malformed",
                    _ => "unavailable",
                }
            }
        };
        let (is, circuit, last_error) = (seen.condition, seen.breaker.circuit(), seen.last_error.clone());
        drop(seen);
        labels.request(self.operation, outcome);
        labels.latency(self.operation, elapsed);
        self.show(was, is, circuit, last_error);
    }

    fn show(
        &self,
        was: NodeCondition,
        is: NodeCondition,
        circuit: bursar_domain::health::Circuit,
        last_error: Option<String>,
    ) {
        let Member { labels, network, name, .. } = self.member;
        labels.up(is == NodeCondition::Up);
        labels.circuit(circuit);
        match (was, is) {
            (was, is) if was == is => {}
            (NodeCondition::Unknown, NodeCondition::Up) => {}
            (_, NodeCondition::Up) => tracing::info!(%network, node = name, "the node answers again"),
            (_, is) => {
                tracing::warn!(%network, node = name, condition = is.as_str(), error = last_error, "a node fails");
            }
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let now = Instant::now();
        let elapsed = now.duration_since(self.started);
        let mut seen = self.member.seen();
        let was = seen.condition;
        // Others were done long before: slow is a way of failing. Less than that says nothing.
        if elapsed >= self.member.settings.patience {
            seen.failed(
                now,
                format!("{}: slower than the others by {:.1} s", self.operation, elapsed.as_secs_f64()),
            );
        } else {
            seen.breaker.undecided(now);
        }
        let (is, circuit, last_error) = (seen.condition, seen.breaker.circuit(), seen.last_error.clone());
        drop(seen);
        self.member.labels.request(self.operation, "abandoned");
        self.show(was, is, circuit, last_error);
    }
}

impl Seen {
    fn answered(&mut self, elapsed: Duration) {
        self.breaker.succeeded();
        self.condition = NodeCondition::Up;
        self.latency = Some(match self.latency {
            Some(before) => (before * 7 + elapsed) / 8,
            None => elapsed,
        });
    }

    fn failed(&mut self, now: Instant, error: String) {
        self.breaker.failed(now);
        self.condition = NodeCondition::Down;
        self.last_error = Some(error);
        self.doubted_until = Some(now + DOUBTED);
    }
}

/// `None`: there was nothing to tell.
pub const fn told(payments: &ContractPayments) -> Option<bool> {
    match payments {
        ContractPayments::NotSought => None,
        ContractPayments::Unknown => Some(false),
        ContractPayments::Known(_) => Some(true),
    }
}

/// What a node's error says, without the network, which the reader knows.
pub fn brief(error: &NodeError) -> String {
    let text = match error {
        NodeError::Unavailable { operation, reason, .. } => format!("{operation}: unreachable: {reason}"),
        NodeError::Refused { operation, reason, .. } => format!("{operation}: {reason}"),
        NodeError::Malformed { operation, reason, .. } => format!("{operation}: unexpected answer: {reason}"),
        NodeError::NoBlock { height, .. } => format!("no block at height {height}"),
        NodeError::WrongNetwork { actual, .. } => format!("it serves another network: {actual}"),
        NodeError::Disagree { .. } => error.to_string(),
    };
    shorten(&text)
}

pub fn shorten(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}
