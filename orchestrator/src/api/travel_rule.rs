//! What the institution at the other end is told of a transfer: handed in, looked at, and what came of it.

use super::{
    ApiState,
    auth::Caller,
    extract::{Body, Path},
    problem::Problem,
    transfers::get::find,
    wire::time,
};
use axum::{
    Extension, Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::IntoResponse,
};
use bursar_domain::{
    ids::TransferId,
    travel_rule::{Ivms101, MAX_PAYLOAD, MAX_REFERENCE, is_reference},
};
use bursar_store::travel_rule::{self as kept, Progress, Record};
use bursar_workers::travel_rule::handed::{self, TravelRuleError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TravelRuleView {
    #[schema(value_type = String)]
    pub transfer_id: TransferId,
    /// `NOT_ASSESSED`, `SUBMITTED` (data came, and is assessed next), `NOT_REQUIRED`, `DATA_MISSING`, `PENDING`, `ACCEPTED`, `REJECTED` or
    /// `UNAVAILABLE`.
    pub state: &'static str,
    /// Counts the data that was handed in; 0: none was.
    pub round: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The exchange's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When the exchange is asked next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<String>,
}

fn view(id: TransferId, record: Option<&Record>) -> TravelRuleView {
    let progress = record.map(|record| &record.progress);
    let (reference, next_try) = match progress {
        Some(Progress::Pending { reference, next_try, .. }) => (reference.clone(), Some(*next_try)),
        Some(Progress::Accepted { reference }) => (Some(reference.clone()), None),
        _ => (None, None),
    };
    let failure = match progress {
        Some(Progress::Pending { failure: Some(failure), .. }) => Some(failure.to_string()),
        _ => None,
    };
    TravelRuleView {
        transfer_id: id,
        state: progress.map_or("NOT_ASSESSED", Progress::state),
        round: record.map_or(0, |record| record.round),
        reason: progress.and_then(Progress::reason).map(str::to_owned).or(failure),
        reference,
        next_try_at: next_try.map(time),
        updated_at: record.map(|record| time(record.updated_at)),
    }
}

/// Who pays and who is paid, as it was handed in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DisclosureView {
    #[schema(value_type = String)]
    pub transfer_id: TransferId,
    pub round: u32,
    #[schema(value_type = Object)]
    pub ivms101: Ivms101,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRequest {
    /// Whether the institution at the other end accepts the transfer.
    pub accepted: bool,
    /// Of the data that it was told (`round` of the transfer's travel rule): another that was handed in since is not what it answered to.
    pub round: u32,
    /// What names its answer, in its records or in yours: 1 to 100 visible ASCII characters without spaces. It goes into the event log: no
    /// names of people.
    pub reference: String,
}

/// How far the travel rule is with a transfer.
#[utoipa::path(get, path = "/v1/transfers/{id}/travel-rule", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = TravelRuleView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 503, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<TravelRuleView>, Problem> {
    find(&state, id).await?;
    let record = kept::get(&state.context.store, id).await?;
    Ok(Json(view(id, record.as_ref())))
}

/// Hand in who pays and who is paid (IVMS101, docs/travel-rule.md), in place of what was handed in before. It is kept encrypted only.
#[utoipa::path(put, path = "/v1/transfers/{id}/travel-rule", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body(content = Object, content_type = "application/json"),
    responses((status = 200, body = TravelRuleView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "It is decided already, or no travel rule is configured"), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn put(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<TravelRuleView>, Problem> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large_data(MAX_PAYLOAD),
        _ => Problem::malformed("body", "could not be read"),
    })?;
    if body.len() > MAX_PAYLOAD {
        return Err(Problem::too_large_data(MAX_PAYLOAD));
    }
    let data = read(&body)?;
    let record = handed::submit(&state.context, id, &data).await?;
    Ok(Json(view(id, Some(&record))))
}

/// As `extract::parse`, which repeats in its errors what it was given.
fn read(body: &[u8]) -> Result<Ivms101, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let field = format!("body (line {}, column {})", error.line(), error.column());
        Problem::malformed(field, "is not of the form that docs/travel-rule.md describes")
    })
}

/// Note what the institution at the other end said to people: with `exchange = "manual"`, and where the configured exchange gave no answer.
#[utoipa::path(post, path = "/v1/transfers/{id}/travel-rule/outcome", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = OutcomeRequest,
    responses((status = 200, body = TravelRuleView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "Nothing waits for an outcome, or it is not for people to note"), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn outcome(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<TransferId>,
    Body { value: OutcomeRequest { accepted, round, reference }, .. }: Body<OutcomeRequest>,
) -> Result<Json<TravelRuleView>, Problem> {
    if !is_reference(&reference) {
        let must = format!("1 to {MAX_REFERENCE} visible ASCII characters without spaces");
        return Err(Problem::invalid_field("reference", must));
    }
    let by = caller.to_string();
    let record = handed::note_outcome(&state.context, id, accepted, round, &reference, &by).await?;
    Ok(Json(view(id, Some(&record))))
}

/// See what was handed in: who pays and who is paid. Each look is an event with who looked, which is why it is no GET.
#[utoipa::path(post, path = "/v1/transfers/{id}/travel-rule/disclosures", tag = "compliance", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = DisclosureView), (status = 400, body = Problem), (status = 401, body = Problem),
              (status = 404, body = Problem, description = "No such transfer, or nothing was handed in"),
              (status = 409, body = Problem, description = "No travel rule is configured, or the data cannot be opened"), (status = 503, body = Problem)))]
pub async fn disclose(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<TransferId>,
) -> Result<impl IntoResponse, Problem> {
    find(&state, id).await?;
    let (round, ivms101) = handed::disclose(&state.context, id, &caller.to_string()).await?;
    let view = DisclosureView { transfer_id: id, round, ivms101 };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)))
}

impl From<TravelRuleError> for Problem {
    fn from(error: TravelRuleError) -> Self {
        let text = error.to_string();
        match error {
            TravelRuleError::Store(error) => error.into(),
            TravelRuleError::Unknown => Self::not_found("transfer"),
            TravelRuleError::NoData => Self::not_found("travel-rule data: nothing was handed in"),
            TravelRuleError::Invalid(invalid) => Self::invalid_field(invalid.field, invalid.must),
            TravelRuleError::NotConfigured | TravelRuleError::NotNow(_) | TravelRuleError::Vault(_) => {
                Self::not_now(text)
            }
        }
    }
}
