//! Accepting a transfer: one database transaction writes the transfer, its event, its job and the remembered answer.

use super::{
    not_expired, refusal, terms, understand,
    view::{self, TransferView},
};
use crate::{
    api::{ApiState, auth::Caller, extract::Body, problem::Problem},
    intake::{ProofRequest, TransferRequest},
};
use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bursar_domain::{
    ids::{TransferId, WalletId},
    intent::Intent,
    lifecycle::Transfer,
};
use bursar_store::{
    idempotency::{self, Begun},
    transfers::{self, Submitted},
};
use bursar_workers::preflight::Draft;

/// Ask for a payment.
///
/// The body carries the initiator's signature over the intent; the co-signers verify it again. At a governed desk a user signs, with any of
/// their keys, and `terms` names the desk and the policy in force. `externalId` makes a repeated
/// request find the first one for ever; `Idempotency-Key` repeats the first answer for 24 hours.
#[utoipa::path(post, path = "/v1/transfers", tag = "transfers", security(("apiKey" = [])), request_body = TransferRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters")),
    responses((status = 201, body = TransferView, description = "Accepted and durable"),
              (status = 200, body = TransferView, description = "The same externalId with the same content was accepted before"),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 413, body = Problem),
              (status = 409, body = Problem, description = "externalId or Idempotency-Key was used with other content, or another policy is in force than `terms` names"),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    Body { value: request, digest }: Body<TransferRequest>,
) -> Result<Response, Problem> {
    let asked = Asked { caller: &caller, key: idempotency_key(&headers)?, digest };
    if let Some(answer) = asked.before(&state).await? {
        return Ok(answer);
    }
    let (wallet, intent) = understand(&state, &caller, &request).await?;
    let TransferRequest { initiator, signature, .. } = request;
    let order = Order { intent: intent.clone(), initiator, signature, wallet: wallet.id };
    submit(&state, asked, order, refusal::check(&state, &wallet, &intent)).await
}

/// Who asks, under which Idempotency-Key, with which bytes.
pub(super) struct Asked<'c> {
    pub caller: &'c Caller,
    pub key: Option<String>,
    pub digest: [u8; 32],
}

impl Asked<'_> {
    /// The answer that was given to the same request before.
    pub(super) async fn before(&self, state: &ApiState) -> Result<Option<Response>, Problem> {
        let Some(key) = &self.key else { return Ok(None) };
        known_answer(idempotency::peek(&state.context.store, self.caller.id, key, &self.digest).await?)
    }
}

/// What was asked for, not verified yet.
pub(super) struct Order {
    pub intent: Intent,
    pub initiator: Option<String>,
    pub signature: Option<ProofRequest>,
    pub wallet: WalletId,
}

/// Verifies the signature, lets `check` say what can only fail, and keeps the order: once for each external id. What the node said of
/// the account for the draft that `check` made serves the worker, too.
pub(super) async fn submit(
    state: &ApiState,
    asked: Asked<'_>,
    order: Order,
    check: impl Future<Output = Result<Option<Draft>, Problem>> + Send,
) -> Result<Response, Problem> {
    let context = &state.context;
    let Asked { caller, key, digest } = asked;
    let Order { intent, initiator, signature, wallet } = order;
    if let Some(existing) = transfers::by_external_id(&context.store, &intent.external_id).await? {
        return known_transfer(state, caller, existing, &intent, named(initiator, signature.as_ref())).await;
    }
    not_expired(state, &intent)?;
    let signed = terms::verified(state, intent, initiator.as_deref(), signature).await?;
    let draft = check.await?;

    let now = context.now();
    let transfer = Transfer::submitted(TransferId::new(context.ids.uuid()), wallet, signed, now);
    let body = serde_json::to_string(&view::of(state, transfer.clone(), Vec::new(), None))
        .map_err(|error| Problem::internal(&error))?;
    let mut tx = context.store.write().await?;
    if let Some(key) = &key
        && let Some(answer) = known_answer(idempotency::begin(&mut tx, caller.id, key, &digest, now).await?)?
    {
        return Ok(answer);
    }
    if let Submitted::Existing(existing) = transfers::submit(&mut tx, &transfer).await? {
        drop(tx);
        let initiator = Some(transfer.intent.initiator().to_string());
        return known_transfer(state, caller, *existing, &transfer.intent.intent, initiator).await;
    }
    if let Some(key) = &key {
        idempotency::complete(&mut tx, caller.id, key, StatusCode::CREATED.as_u16(), &body).await?;
    }
    // Before a worker can look.
    if let Some(draft) = draft {
        draft.keep_reading(context, &transfer);
    }
    tx.commit().await?;
    tracing::info!(transfer = %transfer.id, "transfer accepted");
    metrics::counter!("bursar_transfers_accepted_total").increment(1);
    let mut response = json(StatusCode::CREATED, body);
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/transfers/{}", transfer.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Who a request says has signed it.
fn named(initiator: Option<String>, signature: Option<&ProofRequest>) -> Option<String> {
    match signature {
        Some(ProofRequest::User(signature)) => Some(signature.0.user.to_string()),
        _ => initiator,
    }
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(Problem::malformed("Idempotency-Key", "must be 1 to 255 visible ASCII characters")),
    }
}

fn known_answer(begun: Begun) -> Result<Option<Response>, Problem> {
    match begun {
        Begun::New => Ok(None),
        Begun::Replay { status, body } => {
            Ok(Some(json(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), body)))
        }
        Begun::DifferentRequest => Err(Problem::conflict(
            "idempotency-key-reused",
            "Idempotency-Key",
            "was used for another request within 24 hours; use a fresh key",
        )),
    }
}

/// The same externalId again: the same transfer if intent and initiator are the same, a conflict otherwise.
async fn known_transfer(
    state: &ApiState,
    caller: &Caller,
    existing: Transfer,
    intent: &Intent,
    initiator: Option<String>,
) -> Result<Response, Problem> {
    if !caller.sees(existing.wallet) {
        // Which one, is of another wallet.
        let message = "was used before with other content; it can be used once";
        return Err(Problem::conflict("external-id-reused", "externalId", message));
    }
    let same_initiator =
        initiator.is_none_or(|named| named.eq_ignore_ascii_case(&existing.intent.initiator().to_string()));
    if existing.intent.intent.digest() != intent.digest() || !same_initiator {
        let message = format!(
            "was used before with other content or by another initiator, for transfer {}; it can be used once",
            existing.id
        );
        return Err(Problem::conflict("external-id-reused", "externalId", message));
    }
    let view = super::get::load(state, existing).await?;
    Ok((StatusCode::OK, axum::Json(view)).into_response())
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
