//! For load balancers and Prometheus. No key needed; nothing here tells about money.

use super::{ApiState, problem::Problem};
use axum::{Json, extract::State};
use bursar_domain::{
    health::{ChainHealth, NodeHealth},
    network::Network,
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    pub status: &'static str,
    pub version: &'static str,
    /// `development_single_key` when complete keys in a file sign, and no co-signer checks anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub insecure_signer: Option<&'static str>,
}

fn ok(state: &ApiState) -> Json<Health> {
    let insecure_signer = state.insecure_signer();
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION"), insecure_signer })
}

/// The process runs.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Health)))]
pub async fn live(State(state): State<ApiState>) -> Json<Health> {
    ok(&state)
}

/// The process can take requests: its database answers, and takes what is written (which is tried out, at most every two seconds).
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Health), (status = 503, body = Problem)))]
pub async fn ready(State(state): State<ApiState>) -> Result<Json<Health>, Problem> {
    state.context.store.ready().await?;
    Ok(ok(&state))
}

/// A chain's nodes, as this process sees them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainNodes {
    #[schema(value_type = String)]
    pub network: Network,
    /// Whether enough nodes agreed on where the chain stands when they were last asked; null before that.
    pub agreed: Option<bool>,
    /// How many of the nodes must say the same before it counts.
    pub min_agree: usize,
    pub nodes: Vec<NodeState>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeState {
    pub name: String,
    /// `UNKNOWN` (not asked yet), `UP`, `DOWN` or `WRONG_NETWORK`.
    pub condition: &'static str,
    /// `CLOSED`: it is asked. `OPEN`: it failed again and again, and is left alone for a while. `HALF_OPEN`: it is being tried.
    pub circuit: &'static str,
    pub height: Option<u64>,
    pub final_height: Option<u64>,
}

impl From<&NodeHealth> for NodeState {
    fn from(health: &NodeHealth) -> Self {
        Self {
            name: health.name.clone(),
            condition: health.condition.as_str(),
            circuit: health.circuit.as_str(),
            height: health.height,
            final_height: health.final_height,
        }
    }
}

/// The nodes of every chain, by what the answers so far have shown. Asks them nothing, so in a process without workers it is as
/// old as what was last asked through it. Why one fails is in `GET /v1/status`.
#[utoipa::path(get, path = "/health/nodes", tag = "operations", responses((status = 200, body = Vec<ChainNodes>)))]
pub async fn nodes(State(state): State<ApiState>) -> Json<Vec<ChainNodes>> {
    let chains = state.context.chains.iter().map(|(network, ports)| {
        let ChainHealth { min_agree, agreed, nodes, .. } = ports.node.health();
        ChainNodes {
            network: *network,
            agreed,
            min_agree,
            nodes: nodes.iter().map(NodeState::from).collect(),
        }
    });
    Json(chains.collect())
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(State(state): State<ApiState>) -> Result<String, Problem> {
    let (due, total) = bursar_store::jobs::depth(&state.context.store, state.context.now()).await?;
    metrics::gauge!("bursar_jobs_due").set(due as f64);
    metrics::gauge!("bursar_jobs_total").set(total as f64);
    if let Some(coordinator) = &state.coordinator {
        coordinator.measure();
    }
    Ok(state.metrics.render())
}
