//! How domain values look in JSON.

use bursar_domain::{
    amount::Amount,
    asset::{Asset, AssetInfo},
    time::Timestamp,
};
use jiff::Timestamp as Instant;
use serde::Serialize;
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageOf<T> {
    pub items: Vec<T>,
    /// Pass as `cursor` for the next page; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl<T> PageOf<T> {
    pub fn map<S>(page: bursar_store::page::Page<S>, each: impl FnMut(S) -> T) -> Self {
        Self { items: page.items.into_iter().map(each).collect(), next: page.next }
    }
}

/// ISO 8601, UTC.
pub fn time(at: Timestamp) -> String {
    // Outside of the years -9999 to 9999 there is no such text; nothing stores such a time.
    Instant::from_microsecond(at.micros()).map(|instant| instant.to_string()).unwrap_or_default()
}

pub fn parse_time(text: &str) -> Result<Timestamp, &'static str> {
    text.parse::<Instant>()
        .map(|instant| Timestamp(instant.as_microsecond()))
        .map_err(|_| "not an ISO 8601 time with zone, such as 2026-11-21T12:00:00Z")
}

/// An amount of some asset as people write it. Amounts of a token that is no longer configured are given in base units.
pub fn decimal(amount: Amount, info: Option<&AssetInfo>) -> String {
    amount.to_decimal(info.map_or(0, |info| info.decimals))
}

/// A fee, which is always in the chain's own asset.
pub fn fee(amount: Amount, asset: Asset) -> String {
    amount.to_decimal(Asset::native_decimals(asset.chain()))
}
