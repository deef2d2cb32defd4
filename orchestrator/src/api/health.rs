//! For load balancers and Prometheus. No key needed; nothing here tells about money.

use super::{ApiState, problem::Problem};
use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    pub status: &'static str,
    pub version: &'static str,
}

const OK: Health = Health { status: "ok", version: env!("CARGO_PKG_VERSION") };

/// The process runs.
#[utoipa::path(get, path = "/health", tag = "operations", responses((status = 200, body = Health)))]
pub async fn live() -> Json<Health> {
    Json(OK)
}

/// The process can take requests: its database answers.
#[utoipa::path(get, path = "/ready", tag = "operations", responses((status = 200, body = Health), (status = 503, body = Problem)))]
pub async fn ready(State(state): State<ApiState>) -> Result<Json<Health>, Problem> {
    state.context.store.ping().await?;
    Ok(Json(OK))
}

/// Prometheus metrics.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub async fn metrics(State(state): State<ApiState>) -> Result<String, Problem> {
    let (due, total) = bursar_store::jobs::depth(&state.context.store, state.context.now()).await?;
    metrics::gauge!("bursar_jobs_due").set(due as f64);
    metrics::gauge!("bursar_jobs_total").set(total as f64);
    Ok(state.metrics.render())
}
