//! Cancelling, while that is certain to keep the payment from happening.

use super::{
    get::{find, load},
    view::TransferView,
};
use crate::api::{ApiState, extract::Path, problem::Problem};
use axum::{Json, extract::State};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{Fact, State as Lifecycle, Status},
};
use bursar_store::{
    transactions,
    transfers::{self, Saved},
};

/// Cancel a transfer that no co-signer has begun to sign. Cancelling twice is one cancellation.
#[utoipa::path(post, path = "/v1/transfers/{id}/cancel", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "A signature may exist, or it has ended"), (status = 503, body = Problem)))]
pub async fn cancel(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<TransferView>, Problem> {
    // A worker may move it between the look and the write; then look again.
    for _ in 0..5 {
        let transfer = find(&state, id).await?;
        if transfer.status() == Status::Cancelled {
            return Ok(Json(load(&state, transfer).await?));
        }
        let frozen = match transfer.state {
            Lifecycle::PendingSignature { transaction, .. } => Some(transaction),
            _ => None,
        };
        let transition = transfer.apply(Fact::Cancelled, state.context.now()).map_err(|invalid| {
            let why = if invalid.from.is_terminal() {
                "it has ended"
            } else {
                "a signature may exist, so the payment may happen"
            };
            Problem::not_now(format!("the transfer is {}: {why}", invalid.from))
        })?;
        let mut tx = state.context.store.write().await?;
        if let Saved::Stale = transfers::save(&mut tx, &transition).await? {
            continue;
        }
        if let Some(transaction) = frozen {
            transactions::release(&mut tx, transaction).await?;
        }
        tx.commit().await?;
        tracing::info!(transfer = %id, "transfer cancelled");
        return Ok(Json(load(&state, transition.transfer).await?));
    }
    Err(Problem::unavailable("the transfer keeps moving; try again"))
}
