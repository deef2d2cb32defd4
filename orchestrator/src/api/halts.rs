//! Halts: what stops an account from sending, and how a person ends it.

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path, Query, page_size, words},
    problem::Problem,
    wire::{PageOf, time},
};
use axum::{Extension, Json, extract::State};
use bursar_domain::network::Network;
use bursar_store::halts::{self, Halt, HaltCode, HaltId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Nothing new is prepared or signed for whom it covers; what was signed goes on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HaltView {
    #[schema(value_type = i64)]
    pub id: HaltId,
    #[schema(value_type = String)]
    pub network: Network,
    /// An address, or a wallet's descriptor; the whole network when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// `FOREIGN_SPEND`, `RECONCILE_BREAK` or `OPERATOR`.
    #[schema(value_type = String)]
    pub code: HaltCode,
    pub reason: String,
    pub since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted: Option<LiftedView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiftedView {
    pub at: String,
    /// The user, or the API key, who lifted it.
    pub by: String,
    pub reason: String,
}

impl From<Halt> for HaltView {
    fn from(halt: Halt) -> Self {
        Self {
            id: halt.id,
            network: halt.network,
            account: halt.account,
            code: halt.code,
            reason: halt.reason,
            since: time(halt.since),
            lifted: halt.lifted.map(|lifted| LiftedView {
                at: time(lifted.at),
                by: lifted.by,
                reason: lifted.because,
            }),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct HaltPage {
    pub items: Vec<HaltView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Also those that were lifted.
    #[serde(default)]
    all: bool,
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LiftRequest {
    /// What was found, for whoever reads the log later. 1 to 500 characters.
    pub reason: String,
}

/// List the halts that stand, newest first.
#[utoipa::path(get, path = "/v1/halts", tag = "operations", security(("apiKey" = [])), params(Which),
    responses((status = 200, body = HaltPage), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Query(which): Query<Which>,
) -> Result<Json<HaltPage>, Problem> {
    let limit = page_size(which.limit)?;
    let page = halts::list(&state.context.store, which.all, which.cursor.as_deref(), limit).await?;
    let PageOf { items, next } = PageOf::map(page, HaltView::from);
    Ok(Json(HaltPage { items, next }))
}

/// Lift a halt: its account sends again. Lifting twice is lifting once.
#[utoipa::path(post, path = "/v1/halts/{id}/lift", tag = "operations", security(("apiKey" = [])), params(("id" = i64, Path)),
    request_body = LiftRequest,
    responses((status = 200, body = HaltView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn lift(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<HaltId>,
    Body { value: request, .. }: Body<LiftRequest>,
) -> Result<Json<HaltView>, Problem> {
    let reason = words("reason", &request.reason, 500)?;
    let mut tx = state.context.store.write().await?;
    let by = caller.to_string();
    let halt = halts::lift(&mut tx, id, &by, reason, state.context.now()).await?;
    let halt = halt.ok_or_else(|| Problem::not_found("halt"))?;
    tx.commit().await?;
    tracing::warn!(%halt, by, reason, "halt lifted");
    Ok(Json(halt.into()))
}
