//! What compliance decides about what is held: release, rejection, or another screening.

use super::{
    refusal::undecided,
    views::{NeedsView, ReleaseView, needs, release as release_view},
};
use crate::api::{
    ApiState,
    extract::{Body, Path},
    governance::log,
    problem::Problem,
    transfers::{get, view::TransferView},
};
use axum::{Json, extract::State, http::StatusCode};
use bursar_domain::{
    governance::{
        signature::Signature,
        verdict::{Rejection, Release, SignedRejection, SignedRelease},
    },
    ids::TransferId,
};
use bursar_store::reviews;
use bursar_workers::screening::{review, standing};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSubmission {
    /// What is signed (docs/compliance.md): genesis, intent, verdict, reason, evidence, releasedAt, expiresAt.
    #[schema(value_type = Object)]
    pub release: Release,
    /// One or more, at most eight: each is kept beside those that came before.
    #[schema(value_type = Vec<Object>)]
    pub signatures: Vec<Signature>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RejectionSubmission {
    /// What is signed (docs/compliance.md): genesis, intent, reason, rejectedAt.
    #[schema(value_type = Object)]
    pub rejection: Rejection,
    #[schema(value_type = Object)]
    pub signature: Signature,
}

/// What lets a transfer go, and the releases that were begun, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReleaseList {
    pub needs: NeedsView,
    pub items: Vec<ReleaseView>,
}

/// The releases of a transfer, complete or not, and whose signatures let it go now.
#[utoipa::path(get, path = "/v1/transfers/{id}/releases", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = ReleaseList), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 503, body = Problem)))]
pub async fn releases(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<ReleaseList>, Problem> {
    let transfer = get::find(&state, id).await?;
    let evidence = standing::evidence(&state.context, &transfer).await.map_err(undecided)?;
    let now = state.context.now();
    let needs = needs(&evidence, &evidence.standing(&transfer, now));
    let stored = reviews::releases(&state.context.store, id).await?;
    let items = stored.into_iter().map(|stored| release_view(&evidence, &transfer, stored, now)).collect();
    Ok(Json(ReleaseList { needs, items }))
}

/// Sign a release of what is held: by a compliance officer and a compliance lead, or without a verdict by two leads. It counts as soon as it
/// has both. The same signature again is the same.
#[utoipa::path(post, path = "/v1/transfers/{id}/releases", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = ReleaseSubmission,
    responses((status = 201, description = "It counts", body = ReleaseView), (status = 202, description = "It waits for another signature", body = ReleaseView),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem, description = "This user may not release it"),
              (status = 404, body = Problem), (status = 409, body = Problem, description = "It is not held, or the release is for something else or out of date"),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn release(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
    Body { value: ReleaseSubmission { release, signatures }, .. }: Body<ReleaseSubmission>,
) -> Result<(StatusCode, Json<ReleaseView>), Problem> {
    let (governance, _) = log(&state).await?;
    let transfer = get::find(&state, id).await?;
    // What it was held by, before it is let go.
    let evidence = standing::evidence(&state.context, &transfer).await.map_err(undecided)?;
    let signed = SignedRelease { release, signatures };
    let taken = review::release(&state.context, governance, id, &signed).await?;
    let status = if taken.missing.is_none() { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    if taken.new {
        let users: Vec<_> = signed.signatures.iter().map(|signature| signature.user.to_string()).collect();
        tracing::info!(transfer = %id, by = users.join(", "), complete = taken.missing.is_none(), "release signed");
    }
    Ok((status, Json(release_view(&evidence, &transfer, taken.release, state.context.now()))))
}

/// End a transfer that is held, for good: by one compliance officer or lead.
#[utoipa::path(post, path = "/v1/transfers/{id}/rejections", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = RejectionSubmission,
    responses((status = 201, body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 403, body = Problem, description = "This user may not reject it"), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "It is not held, or a signature may exist"),
              (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn reject(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
    Body { value: RejectionSubmission { rejection, signature }, .. }: Body<RejectionSubmission>,
) -> Result<(StatusCode, Json<TransferView>), Problem> {
    let (governance, _) = log(&state).await?;
    let signed = SignedRejection { rejection, signature };
    let rejected = review::reject(&state.context, governance, id, &signed).await?;
    tracing::info!(transfer = %id, by = %signed.signature.user, "rejected by compliance");
    Ok((StatusCode::CREATED, Json(get::load(&state, rejected).await?)))
}

/// Screen what is held again, in a new round: after an outage, or when something has changed.
#[utoipa::path(post, path = "/v1/transfers/{id}/screenings", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 202, description = "It is asked for", body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 404, body = Problem), (status = 409, body = Problem, description = "It is not held, or an alert holds it"),
              (status = 503, body = Problem)))]
pub async fn screen_again(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<(StatusCode, Json<TransferView>), Problem> {
    let transfer = review::rescreen(&state.context, id).await?;
    Ok((StatusCode::ACCEPTED, Json(get::load(&state, transfer).await?)))
}
