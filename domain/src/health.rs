//! How the nodes of a chain do, for people and their monitoring. Nothing that moves money is decided by it.

use std::time::Duration;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainHealth {
    /// How many nodes must say the same before it counts.
    pub min_agree: usize,
    /// Whether enough nodes agreed on where the chain stands when they were last asked; `None` before that.
    pub agreed: Option<bool>,
    /// Whether what contracts send on was told of the last block where it was looked for; `None` before that, and on chains that have
    /// no such payments.
    pub contract_payments: Option<bool>,
    /// In the order of the configuration.
    pub nodes: Vec<NodeHealth>,
}

/// One of a chain's nodes, by the answers that it has given so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// As configured.
    pub name: String,
    pub condition: NodeCondition,
    pub circuit: Circuit,
    /// Its newest block when it was last asked.
    pub height: Option<u64>,
    /// Up to where it called blocks final then.
    pub final_height: Option<u64>,
    /// How long an answer takes, smoothed over the latest ones.
    pub latency: Option<Duration>,
    /// The latest failure. It may name hosts, never credentials.
    pub last_error: Option<String>,
    /// How often so many others agreed on something else that its answer was not taken.
    pub outvoted: u64,
    /// Whether it told what contracts sent on when it was last asked for that; `None` before that.
    pub contract_payments: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCondition {
    /// Not asked yet.
    Unknown,
    Up,
    Down,
    /// It answers, and serves another network than configured: nothing is asked of it.
    WrongNetwork,
}

impl NodeCondition {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Up => "UP",
            Self::Down => "DOWN",
            Self::WrongNetwork => "WRONG_NETWORK",
        }
    }
}

/// Whether the node is asked at all (a circuit breaker's states).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// It is.
    Closed,
    /// One question is under way to see whether it is back.
    HalfOpen,
    /// It failed again and again, and is left alone for a while.
    Open,
}

impl Circuit {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::HalfOpen => "HALF_OPEN",
            Self::Open => "OPEN",
        }
    }
}
