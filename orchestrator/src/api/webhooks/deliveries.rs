//! What an endpoint was told, and telling it again.

use super::find;
use crate::api::{
    ApiState,
    extract::{Body, Path, Query, page_size},
    problem::Problem,
    wire::{PageOf, parse_time, time},
};
use axum::{Json, extract::State, http::StatusCode};
use bursar_domain::ids::{DepositId, TransferId};
use bursar_store::webhooks::{
    self as kept, Asked, EndpointId,
    deliveries::{self, Attempt, Delivery},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct Which {
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookDelivery {
    /// The event's.
    pub sequence: i64,
    #[serde(rename = "type")]
    pub kind: String,
    /// `PENDING`, `DELIVERED`, or `GIVEN_UP` when every try failed.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<String>,
    pub updated_at: String,
    /// Oldest first.
    pub attempts: Vec<WebhookAttempt>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookAttempt {
    pub attempt: u32,
    pub at: String,
    /// `DELIVERED`, `STATUS`, `GONE`, `TIMEOUT`, `ADDRESS`, `CONNECTION` or `NOT_SIGNED`.
    pub outcome: String,
    /// Of the HTTP answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How the answer began, or what went wrong instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    pub took_ms: u32,
}

impl From<Delivery> for WebhookDelivery {
    fn from(delivery: Delivery) -> Self {
        Self {
            sequence: delivery.sequence,
            kind: delivery.kind,
            state: delivery.state.name(),
            next_try_at: delivery.next_try.map(time),
            updated_at: time(delivery.updated_at),
            attempts: delivery.attempts.into_iter().map(WebhookAttempt::from).collect(),
        }
    }
}

impl From<Attempt> for WebhookAttempt {
    fn from(attempt: Attempt) -> Self {
        let Attempt { attempt, at, outcome, status, answer, took_ms } = attempt;
        Self { attempt, at: time(at), outcome, status, answer, took_ms }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct WebhookDeliveryPage {
    pub items: Vec<WebhookDelivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One of: `sequence`; `transferId`; `depositId`; `from` and `until`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResendRequest {
    /// One event.
    pub sequence: Option<i64>,
    /// All events of a transfer.
    #[schema(value_type = Option<String>)]
    pub transfer_id: Option<TransferId>,
    /// All events of a deposit.
    #[schema(value_type = Option<String>)]
    pub deposit_id: Option<DepositId>,
    /// All events from this time on (ISO 8601),
    pub from: Option<String>,
    /// and before this one.
    pub until: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Resent {
    /// How many events are sent again: those asked for of the kinds that the endpoint is told.
    pub events: usize,
}

/// What an endpoint was or is to be told, newest event first, with every try. Kept for a while only.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = "events", security(("apiKey" = [])), params(("id" = String, Path), Which),
    responses((status = 200, body = WebhookDeliveryPage), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
    Query(which): Query<Which>,
) -> Result<Json<WebhookDeliveryPage>, Problem> {
    let limit = page_size(which.limit)?;
    find(&state, &id).await?;
    let page = deliveries::list(&state.context.store, &id, which.cursor.as_deref(), limit).await?;
    let PageOf { items, next } = PageOf::map(page, WebhookDelivery::from);
    Ok(Json(WebhookDeliveryPage { items, next }))
}

/// Tell an endpoint events again, each under the id that it had: one event, those of a transfer or a deposit, or those of a time.
#[utoipa::path(post, path = "/v1/webhooks/{id}/resend", tag = "events", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = ResendRequest,
    responses((status = 202, body = Resent), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn resend(
    State(state): State<ApiState>,
    Path(id): Path<EndpointId>,
    Body { value: request, .. }: Body<ResendRequest>,
) -> Result<(StatusCode, Json<Resent>), Problem> {
    let asked = read(request)?;
    let endpoint = find(&state, &id).await?;
    if endpoint.disabled.is_some() {
        return Err(Problem::webhook_disabled());
    }
    let mut tx = state.context.store.write().await?;
    let wants = |kind: &str| endpoint.target.wants(kind);
    let found = kept::resend(&mut tx, &id, asked, wants, state.context.now()).await?;
    let Some(events) = found else {
        return Err(Problem::invalid_field("from", "this is more than 1000 events; ask for a shorter time"));
    };
    if events == 0 && matches!(asked, Asked::Event(_)) {
        return Err(Problem::invalid_field(
            "sequence",
            "no such event, or not one of the kinds that it is told",
        ));
    }
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(Resent { events })))
}

fn read(request: ResendRequest) -> Result<Asked, Problem> {
    let ResendRequest { sequence, transfer_id, deposit_id, from, until } = request;
    match (sequence, transfer_id, deposit_id, from, until) {
        (Some(sequence), None, None, None, None) => Ok(Asked::Event(sequence)),
        (None, Some(transfer), None, None, None) => Ok(Asked::Transfer(transfer)),
        (None, None, Some(deposit), None, None) => Ok(Asked::Deposit(deposit)),
        (None, None, None, Some(from), Some(until)) => {
            let at = |field, text: &str| parse_time(text).map_err(|why| Problem::invalid_field(field, why));
            let (from, until) = (at("from", &from)?, at("until", &until)?);
            match from < until {
                true => Ok(Asked::Between(from, until)),
                false => Err(Problem::invalid_field("until", "must be later than from")),
            }
        }
        _ => Err(Problem::invalid_field(
            "body",
            "exactly one of: sequence; transferId; depositId; from and until",
        )),
    }
}
