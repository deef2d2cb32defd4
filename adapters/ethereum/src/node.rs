//! The node client: JSON-RPC over HTTP to one execution client.
//!
//! alloy's RPC client without a provider on top: nonce, gas and fees are choices that are stored before anything is signed, and
//! nothing may fill them in later. Answers are read into structures of our own that hold only what is used, so that a block
//! with a transaction type that is newer than this crate does not stop the follower.

mod account;
mod broadcast;
mod error_text;
mod fees;
mod liveness;
mod observe;
mod receipts;
mod revert;
mod rpc;
mod statement;
mod traces;
mod wire;

use bursar_domain::network::Network;
use fees::Market;
use rpc::Rpc;
use std::time::Duration;
use tokio::sync::Mutex;
use traces::Tracing;

/// How to reach a node and what to make of it.
#[derive(Clone)]
pub struct EthereumNodeConfig {
    /// EIP-155 id that the node must serve.
    pub chain_id: u64,
    /// `http://` or `https://` URL of the JSON-RPC endpoint. May carry an API key, so it is never logged.
    pub url: String,
    pub fees: FeePolicy,
    pub finality: Finality,
    /// For one call, from connecting to the last byte.
    pub timeout: Duration,
    /// Whether what contracts send on is looked for.
    pub traces: Traces,
}

/// Whether blocks are traced to see what contracts send on to our addresses: one more call for each block that has transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Traces {
    /// Where the node offers it. Where it does not, blocks say that these payments are unknown.
    #[default]
    Auto,
    /// Never: blocks say that these payments are unknown.
    Off,
    /// A block that the node cannot trace is an error, so that nothing is walked past.
    Required,
}

/// Bounds on what a transaction offers to pay (EIP-1559).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeePolicy {
    /// The most that is offered per gas, in wei, whatever the base fee is.
    pub max_fee_cap_wei_per_gas: u128,
    /// The least tip per gas, in wei, however low the node's suggestion. At least 1.
    pub priority_floor_wei_per_gas: u128,
    /// The highest tip per gas, in wei, however high the node's suggestion.
    pub priority_cap_wei_per_gas: u128,
    /// `max_fee = base fee × this / 100 + tip`. 200 survives six full blocks in a row (the base fee grows by 12.5 % in each).
    pub base_fee_multiplier_percent: u32,
    /// Added to the estimate of a contract call, in percent. A plain transfer to an account without code needs none.
    pub gas_margin_percent: u32,
    /// A transfer that needs more gas than this is not built. At most [`MAX_GAS_LIMIT`](crate::MAX_GAS_LIMIT).
    pub gas_limit_cap: u64,
    /// What was read of base fee and tips serves every payment that is built within this time; the fees of a replacement are always
    /// read anew. Zero: so are those of each payment. Well below the six blocks that an offer is made for.
    pub kept_for: Duration,
}

impl Default for FeePolicy {
    fn default() -> Self {
        const GWEI: u128 = 1_000_000_000;
        Self {
            max_fee_cap_wei_per_gas: 300 * GWEI,
            priority_floor_wei_per_gas: GWEI / 100,
            priority_cap_wei_per_gas: 5 * GWEI,
            base_fee_multiplier_percent: 200,
            gas_margin_percent: 25,
            gas_limit_cap: 500_000,
            kept_for: Duration::from_secs(2),
        }
    }
}

/// When a block is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// With this many confirmations; the block itself is the first. At least 1.
    Depth(u64),
    /// What the consensus layer calls `finalized` (two epochs, about 13 minutes, on mainnet).
    FinalizedTag,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNodeConfig {
    #[error("url: must be an http:// or https:// URL")]
    Url,
    #[error("timeout: must be greater than zero")]
    Timeout,
    #[error(
        "fees.priority_floor_wei_per_gas: must be at least 1, and not above priority_cap_wei_per_gas or max_fee_cap_wei_per_gas"
    )]
    PriorityFloor,
    #[error("fees.base_fee_multiplier_percent: must be 100 to 1000")]
    Multiplier,
    #[error("fees.gas_margin_percent: must be at most 1000")]
    GasMargin,
    #[error("fees.gas_limit_cap: must be {} to {}", crate::MIN_GAS_LIMIT, crate::MAX_GAS_LIMIT)]
    GasLimitCap,
    #[error("finality: a depth of at least 1 is needed")]
    Depth,
    #[error(
        "no TLS provider: install one with rustls::crypto::ring::default_provider().install_default() first"
    )]
    TlsProvider,
    #[error("could not make an HTTP client: {0}")]
    Client(String),
}

/// A connection to an execution client. Cheap to share behind an `Arc`; connects when first used.
pub struct EthereumNode {
    rpc: Rpc,
    chain_id: u64,
    fees: FeePolicy,
    /// What fees were when they were last read.
    market: Mutex<Option<Market>>,
    finality: Finality,
    tracing: Tracing,
}

impl EthereumNode {
    /// Checks the configuration; no call is made yet. rustls' process-wide provider must be installed before.
    pub fn new(config: EthereumNodeConfig) -> Result<Self, InvalidNodeConfig> {
        let EthereumNodeConfig { chain_id, url, fees, finality, timeout, traces } = config;
        fees.validate()?;
        if finality == Finality::Depth(0) {
            return Err(InvalidNodeConfig::Depth);
        }
        Ok(Self {
            rpc: Rpc::new(chain_id, &url, timeout)?,
            chain_id,
            fees,
            market: Mutex::default(),
            finality,
            tracing: Tracing::new(traces),
        })
    }

    fn network_id(&self) -> Network {
        Network::Ethereum(self.chain_id)
    }
}
