//! Metrics of one node, by network and name.

use bursar_domain::{health::Circuit, network::Network};
use std::time::Duration;

pub struct Labels {
    network: String,
    node: String,
}

impl Labels {
    pub fn new(network: Network, node: &str) -> Self {
        Self { network: network.to_string(), node: node.to_owned() }
    }

    pub fn up(&self, up: bool) {
        self.gauge("bursar_node_up", f64::from(u8::from(up)));
    }

    /// 0 closed, 1 half-open, 2 open.
    pub fn circuit(&self, circuit: Circuit) {
        let value = match circuit {
            Circuit::Closed => 0.0,
            Circuit::HalfOpen => 1.0,
            Circuit::Open => 2.0,
        };
        self.gauge("bursar_node_circuit", value);
    }

    pub fn height(&self, height: u64) {
        self.gauge("bursar_node_height", height as f64);
    }

    pub fn request(&self, operation: &'static str, outcome: &'static str) {
        let (network, node) = (self.network.clone(), self.node.clone());
        metrics::counter!(
            "bursar_node_requests_total",
            "network" => network, "node" => node, "operation" => operation, "outcome" => outcome
        )
        .increment(1);
    }

    pub fn latency(&self, operation: &'static str, elapsed: Duration) {
        let (network, node) = (self.network.clone(), self.node.clone());
        metrics::histogram!(
            "bursar_node_latency_seconds", "network" => network, "node" => node, "operation" => operation
        )
        .record(elapsed.as_secs_f64());
    }

    pub fn outvoted(&self, operation: &'static str) {
        let (network, node) = (self.network.clone(), self.node.clone());
        metrics::counter!(
            "bursar_node_outvoted_total", "network" => network, "node" => node, "operation" => operation
        )
        .increment(1);
    }

    fn gauge(&self, name: &'static str, value: f64) {
        metrics::gauge!(name, "network" => self.network.clone(), "node" => self.node.clone()).set(value);
    }
}

/// Too few nodes said the same.
pub fn disagreement(network: Network, operation: &'static str) {
    metrics::counter!(
        "bursar_node_disagreements_total", "network" => network.to_string(), "operation" => operation
    )
    .increment(1);
}
