//! For load balancers and Prometheus. No key needed; nothing here tells about money.

use super::{ApiState, problem::Problem};
use axum::{Json, extract::State};
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

/// The process can take requests: its database answers.
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Health), (status = 503, body = Problem)))]
pub async fn ready(State(state): State<ApiState>) -> Result<Json<Health>, Problem> {
    state.context.store.ping().await?;
    Ok(ok(&state))
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(State(state): State<ApiState>) -> Result<String, Problem> {
    let (due, total) = bursar_store::jobs::depth(&state.context.store, state.context.now()).await?;
    metrics::gauge!("bursar_jobs_due").set(due as f64);
    metrics::gauge!("bursar_jobs_total").set(total as f64);
    Ok(state.metrics.render())
}
