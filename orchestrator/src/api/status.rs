//! Nodes and co-signers at a glance.

use super::{ApiState, health::NodeState, problem::Problem};
use axum::{Json, extract::State};
use bursar_domain::{health::NodeHealth, network::Network};
use bursar_store::{
    chain::{self, Untraced},
    jobs, keys,
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StatusView {
    pub version: &'static str,
    pub nodes: Vec<NodeView>,
    /// Absent in a process that does not host the co-signers' relay.
    #[schema(value_type = Option<Vec<Object>>)]
    pub co_signers: Option<serde_json::Value>,
    /// `development_single_key` when complete keys in a file sign, and no co-signer checks anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub insecure_signer: Option<&'static str>,
    pub keys: Vec<KeyView>,
    pub jobs_due: u64,
    pub jobs_total: u64,
    /// What this version does not check yet.
    pub not_enforced: Vec<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeView {
    #[schema(value_type = String)]
    pub network: Network,
    pub reachable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub tip_height: Option<u64>,
    pub final_height: Option<u64>,
    /// The last block that was walked.
    pub followed_height: Option<u64>,
    /// How many of the nodes must say the same before it counts.
    pub min_agree: usize,
    pub members: Vec<MemberView>,
    /// Ethereum: whether what contracts send on to our addresses was told of the last block; null before one was looked at, and in a
    /// process that does not follow the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contract_payments_seen: Option<bool>,
    /// Blocks that were walked without knowing that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untraced_blocks: Option<UntracedView>,
}

/// Blocks that no node traced.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UntracedView {
    pub blocks: u64,
    pub first_height: u64,
    pub last_height: u64,
}

impl UntracedView {
    fn of(untraced: &[Untraced]) -> Option<Self> {
        Some(Self {
            blocks: untraced.iter().map(|range| range.last.saturating_sub(range.first) + 1).sum(),
            first_height: untraced.first()?.first,
            last_height: untraced.last()?.last,
        })
    }
}

/// One of the chain's nodes, by the answers that this process got from it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    #[serde(flatten)]
    pub node: NodeState,
    /// How long an answer takes, smoothed, in milliseconds.
    pub latency_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How often enough others agreed on another answer than its.
    pub outvoted: u64,
    /// Ethereum: whether it traced the last block that it was asked to trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traces: Option<bool>,
}

impl From<NodeHealth> for MemberView {
    fn from(health: NodeHealth) -> Self {
        Self {
            node: NodeState::from(&health),
            latency_ms: health.latency.map(|latency| u64::try_from(latency.as_millis()).unwrap_or(u64::MAX)),
            last_error: health.last_error,
            outvoted: health.outvoted,
            traces: health.contract_payments,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyView {
    pub scheme: String,
    pub public_key: String,
    pub threshold: u16,
    pub parties: u16,
    pub generation: u32,
}

const UNSCREENED: &str = "no KYT provider: transfers are marked NOT_SCREENED";
const UNGOVERNED: &str = "no approval policy: transfers are marked NOT_AUTHORIZED; the initiator's signature and the co-signers' own \
                          rules decide";

/// Nodes, co-signers, keys and queue.
#[utoipa::path(get, path = "/v1/status", tag = "operations", security(("apiKey" = [])),
    responses((status = 200, body = StatusView), (status = 401, body = Problem)))]
pub async fn get(State(state): State<ApiState>) -> Result<Json<StatusView>, Problem> {
    let context = &state.context;
    let mut nodes = Vec::new();
    for (network, ports) in context.chains.iter() {
        let tips = ports.tips(context.now()).await;
        let (tip_height, final_height) = match &tips {
            Ok(tips) => (Some(tips.tip.height), Some(tips.final_height)),
            Err(_) => (None, None),
        };
        let health = ports.node.health();
        nodes.push(NodeView {
            network: *network,
            reachable: tips.is_ok(),
            error: tips.err().map(|error| error.to_string()),
            tip_height,
            final_height,
            followed_height: chain::cursor(&context.store, *network).await?.map(|block| block.height),
            min_agree: health.min_agree,
            members: health.nodes.into_iter().map(MemberView::from).collect(),
            contract_payments_seen: health.contract_payments,
            untraced_blocks: UntracedView::of(&chain::untraced(&context.store, *network).await?),
        });
    }
    let keys = keys::all(&context.store).await?.into_iter().map(|key| KeyView {
        scheme: key.scheme.to_string(),
        public_key: hex::encode(&key.public_key),
        threshold: key.threshold,
        parties: key.parties,
        generation: key.generation,
    });
    let co_signers = state.coordinator.as_ref().map(|coordinator| serde_json::to_value(coordinator.status()));
    let (jobs_due, jobs_total) = jobs::depth(&context.store, context.now()).await?;
    Ok(Json(StatusView {
        version: env!("CARGO_PKG_VERSION"),
        nodes,
        co_signers: co_signers.transpose().map_err(|error| Problem::internal(&error))?,
        insecure_signer: state.insecure_signer(),
        keys: keys.collect(),
        jobs_due,
        jobs_total,
        not_enforced: [
            context.screening.is_none().then_some(UNSCREENED),
            context.governance.is_none().then_some(UNGOVERNED),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }))
}
