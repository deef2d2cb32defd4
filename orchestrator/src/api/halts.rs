//! Halts: what stops an account from sending, and how a person ends it.

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path, Query, page_size, words},
    problem::Problem,
    wire::{PageOf, time},
};
use axum::{Extension, Json, extract::State, http::StatusCode};
use bursar_domain::{
    governance::{directory::UserId, role::Permission},
    network::Network,
};
use bursar_store::halts::{self, End, Halt, HaltCode, HaltId, Lifted};
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
    /// The first of two who lift it; absent once it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifted: Option<LiftedView>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskedView {
    pub by: String,
    pub reason: String,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LiftedView {
    pub at: String,
    /// The users, or the API key, who lifted it.
    pub by: String,
    pub reason: String,
}

impl From<Halt> for HaltView {
    fn from(halt: Halt) -> Self {
        let (asked, lifted) = match halt.end {
            None => (None, None),
            Some(End::Asked { by, because }) => (Some(AskedView { by, reason: because }), None),
            Some(End::Lifted(Lifted { at, by, because })) => {
                (None, Some(LiftedView { at: time(at), by, reason: because }))
            }
        };
        Self {
            id: halt.id,
            network: halt.network,
            account: halt.account,
            code: halt.code,
            reason: halt.reason,
            since: time(halt.since),
            asked,
            lifted,
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

/// Lift a halt: its account sends again. Where something is governed, two users must ask for it. Lifting twice is lifting once.
#[utoipa::path(post, path = "/v1/halts/{id}/lift", tag = "operations", security(("apiKey" = [])), params(("id" = i64, Path)),
    request_body = LiftRequest,
    responses((status = 200, description = "It is lifted", body = HaltView),
              (status = 202, description = "Another user has to ask for it, too", body = HaltView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn lift(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<HaltId>,
    Body { value: request, .. }: Body<LiftRequest>,
) -> Result<(StatusCode, Json<HaltView>), Problem> {
    let reason = words("reason", &request.reason, 500)?;
    let mut tx = state.context.store.write().await?;
    let log = state.context.log_in(&mut tx).await?;
    let now = state.context.now();
    let halt = match (log, &caller.user) {
        (None, _) => halts::lift(&mut tx, id, &caller.to_string(), reason, now).await?,
        // By whichever keys: it takes two people, who both may as the log is now.
        (Some(log), Some(user)) => {
            let lifts = |user: &UserId| log.directory().may(user, Permission::LiftHalt);
            if !lifts(user) {
                return Err(Problem::forbidden("your role was taken from you meanwhile"));
            }
            let may = |first: &str| first.parse::<UserId>().is_ok_and(|first| lifts(&first));
            halts::lift_by_two(&mut tx, id, user.as_str(), reason, may, now).await?
        }
        (Some(_), None) => return Err(Problem::forbidden("halts are lifted by users of the directory")),
    };
    let halt = halt.ok_or_else(|| Problem::not_found("halt"))?;
    tx.commit().await?;
    let status = match halt.lifted() {
        Some(Lifted { by, .. }) => {
            tracing::warn!(%halt, by, reason, "halt lifted");
            StatusCode::OK
        }
        None => {
            tracing::warn!(%halt, %caller, reason, "somebody asks that a halt be lifted; another has to, too");
            StatusCode::ACCEPTED
        }
    };
    Ok((status, Json(halt.into())))
}
