//! One rippled or Clio server over JSON-RPC.
//!
//! Whatever decides about money is read from validated ledgers only. A provisional `tesSUCCESS` can still end as a `tec`
//! or in no ledger at all, and `tx` may answer `validated: false` for ever for a transaction that is dead.

mod account;
mod answer;
mod broadcast;
mod deliver;
mod ledger;
mod liveness;
mod observe;
mod rpc;
mod statement;
mod submit_result;

use bursar_domain::{amount::Drops, network::Network, ports::NodeError};
use rpc::{Rpc, RpcError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Where the node is and what it may cost.
#[derive(Clone)]
pub struct XrpNodeConfig {
    /// NetworkID of the ledger that the node must serve; 0 is mainnet.
    pub network_id: u32,
    /// `http(s)://host:port/`. It may hold a provider's key, so it is neither logged nor part of an error.
    pub url: String,
    pub fees: FeeBounds,
    /// How many ledgers a payment stays valid. At three to five seconds each, 20 is about a minute and a half.
    pub ledger_window: u32,
    /// For one request.
    pub timeout: Duration,
}

/// What a payment may offer, whatever the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeBounds {
    pub floor: Drops,
    /// Above it, building waits instead: `open_ledger_fee` can jump a thousandfold for a few ledgers.
    pub cap: Drops,
}

/// The node side of the XRP adapter.
pub struct XrpNode {
    rpc: Rpc,
    network_id: u32,
    fees: FeeBounds,
    ledger_window: u32,
    /// Whether the server has shown that it serves `network_id` since the last call that failed: after an outage another one
    /// may answer at the same URL.
    network_checked: AtomicBool,
}

impl XrpNode {
    /// Connects to nothing yet. The process must have installed a rustls crypto provider.
    pub fn new(config: XrpNodeConfig) -> Result<Self, NodeError> {
        let XrpNodeConfig { network_id, url, fees, ledger_window, timeout } = config;
        let refused = |reason: String| NodeError::Refused {
            network: Network::Xrp(network_id),
            operation: "configuration",
            reason,
        };
        if ledger_window == 0 {
            return Err(refused("ledger_window must be at least 1".into()));
        }
        if fees.floor > fees.cap {
            return Err(refused("fees.floor must not be above fees.cap".into()));
        }
        let rpc = Rpc::new(url, timeout).map_err(refused)?;
        Ok(Self { rpc, network_id, fees, ledger_window, network_checked: AtomicBool::new(false) })
    }

    fn xrp_network(&self) -> Network {
        Network::Xrp(self.network_id)
    }

    /// Calls `method` and reads its result.
    async fn ask<T: DeserializeOwned>(&self, method: &'static str, params: Value) -> Result<T, NodeError> {
        self.ask_unless(method, params, "").await?.ok_or_else(|| self.malformed(method, "an empty error"))
    }

    /// Like [`ask`](Self::ask), with the error code `absent` read as "there is no such thing".
    async fn ask_unless<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
        absent: &str,
    ) -> Result<Option<T>, NodeError> {
        match self.rpc.call(method, params).await {
            Ok(result) => serde_json::from_value(result)
                .map(Some)
                .map_err(|error| self.malformed(method, &error.to_string())),
            Err(RpcError::Refused { code, .. }) if code == absent => Ok(None),
            Err(error) => Err(self.node_error(method, error)),
        }
    }

    /// Every failed call passes here.
    fn node_error(&self, operation: &'static str, error: RpcError) -> NodeError {
        self.network_checked.store(false, Ordering::Release);
        let network = self.xrp_network();
        match error {
            RpcError::Unavailable(reason) => NodeError::Unavailable { network, operation, reason },
            RpcError::Malformed(reason) => NodeError::Malformed { network, operation, reason },
            refused @ RpcError::Refused { .. } => {
                NodeError::Refused { network, operation, reason: refused.to_string() }
            }
        }
    }

    fn malformed(&self, operation: &'static str, reason: &str) -> NodeError {
        NodeError::Malformed { network: self.xrp_network(), operation, reason: reason.to_owned() }
    }

    fn unavailable(&self, operation: &'static str, reason: &str) -> NodeError {
        NodeError::Unavailable { network: self.xrp_network(), operation, reason: reason.to_owned() }
    }
}
