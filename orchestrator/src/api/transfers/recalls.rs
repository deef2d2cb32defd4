//! Taking one payout back from a batch.

use super::{
    get::{find, load},
    view::TransferView,
};
use crate::{
    api::{
        ApiState,
        extract::{Body, Path},
        problem::Problem,
    },
    intake::{self, RecallRequest},
};
use axum::{Json, extract::State};
use bursar_domain::{ids::TransferId, recall::InvalidRecall};
use bursar_workers::{
    engine::MoveError,
    requests::{self, RecallError},
};

/// Recall one payout from a batch that no co-signer has begun to sign. The rest is built again without it.
///
/// The body carries the initiator's signature over the recall; the co-signers verify it again. Recalling a payout twice is
/// recalling it once; where the key of the first recall has left the governance log since, the second takes its place, until the transfer ends.
#[utoipa::path(post, path = "/v1/transfers/{id}/recalls", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    request_body = RecallRequest,
    responses((status = 200, body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
              (status = 409, body = Problem, description = "A signature may exist, or it has ended"), (status = 413, body = Problem),
              (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
    body: Body<RecallRequest>,
) -> Result<Json<TransferView>, Problem> {
    let recall = intake::recall(body.value).map_err(Problem::invalid)?;
    for _ in 0..5 {
        let transfer = find(&state, id).await?;
        match requests::recall(&state.context, transfer, recall.clone()).await {
            Ok(recalled) => {
                tracing::info!(transfer = %id, payment = recall.payment, "payout recalled");
                return Ok(Json(load(&state, recalled).await?));
            }
            Err(RecallError::Move(MoveError::Stale)) => {}
            Err(RecallError::Move(MoveError::Invalid(invalid))) => {
                let ended = invalid.from.is_terminal();
                let why =
                    if ended { "it has ended" } else { "a signature may exist, so the payout may happen" };
                return Err(Problem::not_now(format!("the transfer is {}: {why}", invalid.from)));
            }
            Err(RecallError::Move(MoveError::Store(error))) => return Err(error.into()),
            Err(RecallError::Invalid(invalid)) => return Err(refused(&invalid)),
            Err(RecallError::Governance(error)) => return Err(error.into()),
        }
    }
    Err(Problem::unavailable("the transfer keeps moving; try again"))
}

fn refused(invalid: &InvalidRecall) -> Problem {
    let text = invalid.to_string();
    let (field, message) = text.split_once(": ").unwrap_or(("payment", &text));
    Problem::invalid_field(field, message)
}
