//! What was screened, what the service says of an address, and alerts that it hands in.

pub mod address;

pub use address::AddressScreeningView;

use super::{
    ApiState,
    extract::{Path, parse},
    problem::Problem,
    reviews::{ScreeningView, screening},
    transfers::get::find,
};
use axum::{Json, body::Bytes, extract::State, http::StatusCode};
use bursar_domain::{
    governance::signature::Signature,
    ids::{CaseId, TransferId},
    screening::{Alert, SignedAlert},
};
use bursar_store::screenings::{self, Subject};
use bursar_workers::screening::alerts::{self, AlertError, Origin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct ScreeningList {
    /// Every round, in order.
    pub items: Vec<ScreeningView>,
}

/// Every screening of a transfer, with what was found.
#[utoipa::path(get, path = "/v1/transfers/{id}/screenings", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = ScreeningList), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn rounds(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<ScreeningList>, Problem> {
    find(&state, id).await?;
    let rounds = screenings::rounds(&state.context.store, Subject::Transfer(id)).await?;
    Ok(Json(ScreeningList { items: rounds.iter().map(|round| screening(round, true)).collect() }))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AlertSubmission {
    /// As docs/screening.md has it.
    #[schema(value_type = Object)]
    pub alert: Alert,
    /// Of the screening service that the policy names, over the alert.
    #[schema(value_type = Object)]
    pub signature: Signature,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertTaken {
    #[schema(value_type = String)]
    pub case_id: CaseId,
}

/// Hand in an alert of the screening service. Nobody is asked who calls: the alert's own signature says whose it is. The same alert again is
/// the same.
#[utoipa::path(post, path = "/v1/screening/alerts", tag = "compliance", request_body = AlertSubmission,
    responses((status = 201, description = "It was taken", body = AlertTaken), (status = 200, description = "It was taken before", body = AlertTaken),
              (status = 400, body = Problem), (status = 403, body = Problem, description = "Its signature does not count"),
              (status = 404, body = Problem, description = "No policy names a screening service"),
              (status = 409, body = Problem, description = "The service gave this id to another alert"), (status = 413, body = Problem),
              (status = 429, body = Problem), (status = 503, body = Problem)))]
pub async fn alert(
    State(state): State<ApiState>,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<(StatusCode, Json<AlertTaken>), Problem> {
    let taken = take(&state, body).await;
    if let Err((reason, _)) = &taken {
        metrics::counter!("bursar_callbacks_refused_total", "callback" => "screening_alert", "reason" => *reason).increment(1);
    }
    taken.map_err(|(_, problem)| problem)
}

async fn take(
    state: &ApiState,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<(StatusCode, Json<AlertTaken>), (&'static str, Problem)> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ("too_large", Problem::too_large()),
        _ => ("malformed", Problem::malformed("body", "could not be read")),
    })?;
    let AlertSubmission { alert, signature } = parse(&body).map_err(|problem| ("malformed", problem))?;
    let signed = SignedAlert { alert, signature };
    match alerts::take(&state.context, &signed, Origin::Callback).await {
        Ok(taken) => {
            let status = if taken.new { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(AlertTaken { case_id: taken.case })))
        }
        Err(error) => {
            let (reason, text) = (error.code(), error.to_string());
            let problem = match error {
                AlertError::Step(error) => super::reviews::undecided(error),
                AlertError::Invalid(invalid) => Problem::malformed("alert", invalid),
                AlertError::NotScreener(_) => {
                    let title = "The alert's signature does not count";
                    Problem::governance(StatusCode::FORBIDDEN, "ALERT_SIGNATURE", title, text)
                }
                AlertError::NoScreener => Problem::not_found("screening service whose alerts are taken"),
                AlertError::IdReused => {
                    let title = "Another alert has this id";
                    Problem::governance(StatusCode::CONFLICT, "ALERT_ID_REUSED", title, text)
                }
            };
            Err((reason, problem))
        }
    }
}
