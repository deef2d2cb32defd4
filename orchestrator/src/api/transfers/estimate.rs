//! What a transfer would cost now, without asking for it.

use super::{not_expired, refusal, understand};
use crate::{
    api::{ApiState, auth::Caller, extract::Body, problem::Problem, wire::fee},
    intake::TransferRequest,
};
use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    /// The most that the network fee would be now, in the chain's own asset.
    pub fee: String,
    /// SHA-256 of the canonical bytes.
    pub intent_digest: String,
    /// What the initiator signs, in hex.
    pub canonical_intent: String,
}

/// Check a request, and estimate its fee. Nothing is kept.
#[utoipa::path(post, path = "/v1/transfers/estimate", tag = "transfers", security(("apiKey" = [])), request_body = TransferRequest,
    responses((status = 200, body = Estimate), (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem, description = "The node or the co-signers do not answer, or funds are reserved")))]
pub async fn estimate(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    body: Body<TransferRequest>,
) -> Result<Json<Estimate>, Problem> {
    let (wallet, intent) = understand(&state, &caller, &body.value).await?;
    not_expired(&state, &intent)?;
    let draft = refusal::check(&state, &wallet, &intent).await?;
    let draft = draft.ok_or_else(|| {
        Problem::unavailable("no estimate can be made now; a transfer would be accepted and wait")
    })?;
    Ok(Json(Estimate {
        fee: fee(draft.effects.fee, intent.asset),
        intent_digest: intent.digest().to_string(),
        canonical_intent: hex::encode(intent.canonical().as_bytes()),
    }))
}
