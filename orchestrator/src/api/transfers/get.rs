//! One transfer, with its transactions and its timeline.

use super::view::{self, TransferView};
use crate::api::{ApiState, extract::Path, problem::Problem, reviews};
use axum::{Json, extract::State};
use bursar_domain::{ids::TransferId, lifecycle::Transfer};
use bursar_store::{
    events,
    screenings::{self, Subject},
    transactions, transfers,
};

pub async fn find(state: &ApiState, id: TransferId) -> Result<Transfer, Problem> {
    transfers::get(&state.context.store, id).await?.ok_or_else(|| Problem::not_found("transfer"))
}

pub async fn load(state: &ApiState, transfer: Transfer) -> Result<TransferView, Problem> {
    let store = &state.context.store;
    let records = transactions::of_transfer(store, transfer.id).await?;
    let timeline = events::of_transfer(store, transfer.id).await?;
    let screening = match state.context.screening.is_some() || state.context.governance.is_some() {
        true => screenings::newest(store, Subject::Transfer(transfer.id)).await?,
        false => None,
    };
    let screening = screening.map(|newest| reviews::screening(&newest, false));
    Ok(TransferView { screening, ..view::of(state, transfer, records, Some(timeline)) })
}

/// One transfer, with its transactions and its timeline.
#[utoipa::path(get, path = "/v1/transfers/{id}", tag = "transfers", security(("apiKey" = [])), params(("id" = String, Path)),
    responses((status = 200, body = TransferView), (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub async fn get(
    State(state): State<ApiState>,
    Path(id): Path<TransferId>,
) -> Result<Json<TransferView>, Problem> {
    let transfer = find(&state, id).await?;
    Ok(Json(load(&state, transfer).await?))
}
