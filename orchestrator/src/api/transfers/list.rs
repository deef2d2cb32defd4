//! Many transfers, newest first.

use super::view::{self, TransferView};
use crate::api::{
    ApiState,
    auth::Caller,
    extract::{Query, page_size},
    problem::Problem,
    wire::PageOf,
};
use axum::{Extension, Json, extract::State};
use bursar_domain::{
    ids::{ExternalId, WalletId},
    lifecycle::Status,
    network::Network,
};
use bursar_store::{
    page::Page,
    transfers::{self, Filter},
};
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(rename_all = "camelCase")]
pub struct ListTransfers {
    #[param(value_type = Option<String>, example = "QUEUED")]
    status: Option<Status>,
    #[param(value_type = Option<String>)]
    wallet_id: Option<WalletId>,
    #[param(value_type = Option<String>, example = "bitcoin:mainnet")]
    network: Option<Network>,
    /// Symbol or text form.
    asset: Option<String>,
    #[param(value_type = Option<String>)]
    external_id: Option<ExternalId>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// 1 to 200, 50 when absent.
    limit: Option<u32>,
}

/// List transfers, newest first.
#[utoipa::path(get, path = "/v1/transfers", tag = "transfers", security(("apiKey" = [])), params(ListTransfers),
    responses((status = 200, body = PageOf<TransferView>), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub async fn list(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListTransfers>,
) -> Result<Json<PageOf<TransferView>>, Problem> {
    let asset = match &query.asset {
        None => None,
        Some(name) => {
            let info = state
                .assets
                .find(name)
                .ok_or_else(|| Problem::malformed("asset", "unknown asset: see GET /v1/assets"))?;
            Some(info.asset)
        }
    };
    let filter = Filter {
        status: query.status,
        wallet: query.wallet_id,
        network: query.network,
        asset,
        external_id: query.external_id,
    };
    let limit = page_size(query.limit)?;
    let page = match caller.wallets.as_deref().filter(|_| filter.wallet.is_none()) {
        None => match filter.wallet.is_none_or(|wallet| caller.sees(wallet)) {
            true => transfers::list(&state.context.store, &filter, query.cursor.as_deref(), limit).await?,
            // As of a wallet that is not there.
            false => Page { items: Vec::new(), next: None },
        },
        Some(wallets) => {
            transfers::list_of_wallets(&state.context.store, &filter, wallets, query.cursor.as_deref(), limit)
                .await?
        }
    };
    Ok(Json(PageOf::map(page, |transfer| view::of(&state, transfer, Vec::new(), None))))
}
