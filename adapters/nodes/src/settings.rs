//! What a set of nodes is made of.

use crate::breaker::BreakerPolicy;
use bursar_domain::{network::Network, ports::Node};
use std::{sync::Arc, time::Duration};

/// A node and what people call it.
#[derive(Clone)]
pub struct NamedNode {
    /// Shown in errors, metrics and status; unique within the set.
    pub name: String,
    pub node: Arc<dyn Node>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeSetSettings {
    /// How many nodes must say the same before it counts; from 1 to the number of nodes. With a majority, no two answers can ever
    /// both have enough.
    pub min_agree: usize,
    /// For one question to one node, retries and all the requests that it takes included. The node's own timeout for a single
    /// request is shorter.
    pub deadline: Duration,
    /// How long a slow node is waited for when others could do, or have done, without it.
    pub patience: Duration,
    /// How often a read that failed quickly is tried again. A broadcast never is: the caller has to know that it may be sent.
    pub retries: usize,
    /// Before the first retry; doubled for each further one, with jitter.
    pub retry_delay: Duration,
    pub breaker: BreakerPolicy,
}

impl NodeSetSettings {
    /// Everything follows from how long one request may take.
    pub fn new(min_agree: usize, request_timeout: Duration) -> Self {
        Self {
            min_agree,
            deadline: request_timeout.saturating_mul(4),
            patience: request_timeout / 4,
            retries: 2,
            retry_delay: (request_timeout / 100).clamp(Duration::from_millis(10), Duration::from_millis(100)),
            breaker: BreakerPolicy::default(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNodeSet {
    #[error("nodes: at least one is needed")]
    Empty,
    #[error("min_agree: must be from 1 to the number of nodes ({nodes}), not {min_agree}")]
    MinAgree { min_agree: usize, nodes: usize },
    #[error("nodes: two are called {0:?}; each name must be unique")]
    Duplicate(String),
    #[error("nodes: {name:?} is configured for {actual}, the others for {expected}")]
    Network { name: String, expected: Network, actual: Network },
}
