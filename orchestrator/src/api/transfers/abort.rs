//! Withdrawing a transfer, while that is certain to keep the payment from happening.

use super::{
    get::{find, load},
    view::TransferView,
};
use crate::api::{ApiState, extract::Path, problem::Problem};
use axum::{Json, extract::State};
use bursar_domain::{ids::TransferId, lifecycle::Status};
use bursar_workers::{engine::MoveError, frozen};

/// Withdraw a transfer that no co-signer has begun to sign: it ends as CANCELLED, and nothing reaches the chain. Aborting twice is
/// aborting once. Later, see `cancel`.
#[utoipa::path(post, path = "/v1/transfers/{id}/abort", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "A signature may exist, or it has ended"), (status = 503, body = Problem)))]
pub async fn abort(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<TransferView>, Problem> {
    // A worker may move it between the look and the write; then look again.
    for _ in 0..5 {
        let transfer = find(&state, id).await?;
        if transfer.status() == Status::Cancelled {
            return Ok(Json(load(&state, transfer).await?));
        }
        match frozen::abort(&state.context, transfer).await {
            Ok(aborted) => {
                tracing::info!(transfer = %id, "transfer aborted");
                return Ok(Json(load(&state, aborted).await?));
            }
            Err(MoveError::Stale) => {}
            Err(MoveError::Invalid(invalid)) => {
                let ended = invalid.from.is_terminal();
                let why = if ended {
                    "it has ended"
                } else {
                    "a signature may exist, so the payment may happen; `cancel` asks for a transaction in its place"
                };
                return Err(Problem::not_now(format!("the transfer is {}: {why}", invalid.from)));
            }
            Err(MoveError::Store(error)) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable("the transfer keeps moving; try again"))
}
