//! The assets that this installation pays.

use super::{ApiState, problem::Problem, wire::PageOf};
use axum::{Json, extract::State};
use bursar_domain::{asset::Asset, network::Network};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AssetView {
    /// `BTC`, `ETH`, `XRP`, or `erc20:0x…`. What initiators sign.
    #[schema(value_type = String)]
    pub asset: Asset,
    pub symbol: String,
    /// Decimal places of an amount.
    pub decimals: u8,
    #[schema(value_type = String)]
    pub network: Network,
}

/// List the assets, with the decimal places of their amounts.
#[utoipa::path(get, path = "/v1/assets", tag = "wallets", security(("apiKey" = [])),
    responses((status = 200, body = PageOf<AssetView>), (status = 401, body = Problem)))]
pub async fn list(State(state): State<ApiState>) -> Json<PageOf<AssetView>> {
    let networks = || state.context.chains.keys().copied();
    let items = state.assets.all().iter().filter_map(|info| {
        let network = networks().find(|network| network.chain() == info.asset.chain())?;
        Some(AssetView { asset: info.asset, symbol: info.symbol.clone(), decimals: info.decimals, network })
    });
    Json(PageOf { items: items.collect(), next: None })
}
