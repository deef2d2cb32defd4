//! Asking for another transaction in the place of the one under way.

use super::{
    get::{find, load},
    view::TransferView,
};
use crate::api::{
    ApiState,
    extract::{Body, Path},
    problem::Problem,
};
use axum::{Json, extract::State};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{State as TransferState, Status, Transfer, Verb},
};
use bursar_workers::{engine::MoveError, requests};
use serde::Deserialize;
use utoipa::ToSchema;

/// The most that one raise may ask for; the intent's `maxFee` holds in any case.
const MAX_RAISE_PERCENT: u32 = 1000;

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpeedUpRequest {
    /// The least raise of the fee, in percent, 1 to 1000; the installation's own when absent. The chain may ask for more.
    #[serde(default)]
    raise_percent: Option<u32>,
}

/// Cancel on chain: have a transaction signed that takes the same output, nonce or Sequence and pays nobody.
///
/// Allowed from the first signing session on until a block holds the payment. Whichever of the two a block takes is the outcome:
/// REPLACED if it is the cancellation (the fee is paid), COMPLETED if it is the payment. Before any session, see `abort`.
#[utoipa::path(post, path = "/v1/transfers/{id}/cancel", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = TransferView, description = "It is being tried; `replacing` says how far it is"),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "No signature can exist yet, a block holds it, or it has ended"), (status = 503, body = Problem)))]
pub async fn cancel(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<TransferView>, Problem> {
    ask(&state, id, Verb::Cancel).await
}

/// Speed up: have the same payment signed again at a higher fee, in place of the one that no block takes.
///
/// The fee stays within the intent's `maxFee`; if that leaves no room, `replacing.obstacle` says FEE_CAP_REACHED. What is being
/// cancelled is not sped up as a payment.
#[utoipa::path(post, path = "/v1/transfers/{id}/speed-up", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = SpeedUpRequest,
    responses((status = 200, body = TransferView, description = "It is being tried; `replacing` says how far it is"),
              (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem),
              (status = 409, body = Problem, description = "No signature can exist yet, a block holds it, it is being cancelled, or it has ended"),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn speed_up(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
    body: Body<SpeedUpRequest>,
) -> Result<Json<TransferView>, Problem> {
    let raise_percent = body.value.raise_percent;
    if raise_percent.is_some_and(|percent| !(1..=MAX_RAISE_PERCENT).contains(&percent)) {
        return Err(Problem::invalid_field("raisePercent", format!("must be 1 to {MAX_RAISE_PERCENT}")));
    }
    ask(&state, id, Verb::SpeedUp { raise_percent }).await
}

async fn ask(state: &ApiState, id: TransferId, verb: Verb) -> Result<Json<TransferView>, Problem> {
    // A worker may move it between the look and the write; then look again.
    for _ in 0..5 {
        let transfer = find(state, id).await?;
        if transfer.status() == Status::Replaced && verb == Verb::Cancel {
            return Ok(Json(load(state, transfer).await?));
        }
        let why = refusal(&transfer, verb);
        match requests::replace(&state.context, transfer, verb).await {
            Ok(asked) => {
                tracing::info!(transfer = %id, ?verb, "replacement asked for");
                return Ok(Json(load(state, asked).await?));
            }
            Err(MoveError::Stale) => {}
            Err(MoveError::Invalid(invalid)) => {
                return Err(Problem::not_now(format!("the transfer is {}: {why}", invalid.from)));
            }
            Err(MoveError::Store(error)) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable("the transfer keeps moving; try again"))
}

/// Why the verb does not fit, where it does not.
fn refusal(transfer: &Transfer, verb: Verb) -> &'static str {
    match (&transfer.state, verb) {
        (TransferState::Confirming { .. }, _) => {
            "a block holds it; only a reorganisation could still undo that"
        }
        (state, _) if state.status().is_terminal() => "it has ended",
        (state, Verb::SpeedUp { .. }) if state.is_replaceable() => "it is being cancelled",
        (_, Verb::Cancel) => "no co-signer has begun to sign it; `abort` withdraws it",
        (_, Verb::SpeedUp { .. }) => "no transaction is signed yet; the fee is chosen when it is built",
    }
}
