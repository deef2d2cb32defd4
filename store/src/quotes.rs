//! Prices that services signed: of each the newest, for each asset and currency. Nothing here says whether one counts.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    jobs,
    row::{Fields, to_json},
};
use bursar_domain::{
    asset::Asset,
    governance::{policy::Currency, quote::SignedQuote},
    lifecycle::Status,
    time::Timestamp,
};
use sqlx::{AnyConnection, any::AnyRow};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredQuote {
    pub signed: SignedQuote,
    pub received_at: Timestamp,
}

/// Keeps a quote. `false`: that service's is there already, or a newer one.
pub async fn put(tx: &mut WriteTx, signed: &SignedQuote, now: Timestamp) -> Result<bool, StoreError> {
    let quote = &signed.quote;
    let kept = sqlx::query(
        "INSERT INTO quotes (asset, currency, service, quote, quoted_at, received_at) VALUES ($1, $2, $3, $4, $5, $6) \
         ON CONFLICT (asset, currency, service) DO UPDATE SET quote = excluded.quote, quoted_at = excluded.quoted_at, \
         received_at = excluded.received_at WHERE excluded.quoted_at > quotes.quoted_at",
    )
    .bind(quote.asset.to_string())
    .bind(quote.currency.to_string())
    .bind(signed.signature.user.to_string())
    .bind(to_json(signed))
    .bind(quote.quoted_at.micros())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during("quotes.put")?;
    Ok(kept.rows_affected() == 1)
}

/// Those about `asset`, whoever's they are.
pub async fn of_asset(
    store: &Store,
    asset: Asset,
    currency: Currency,
) -> Result<Vec<StoredQuote>, StoreError> {
    of_asset_on(&mut *store.reader().await?, asset, currency).await
}

/// As [`of_asset`], within a transaction.
pub async fn of_asset_in(
    tx: &mut WriteTx,
    asset: Asset,
    currency: Currency,
) -> Result<Vec<StoredQuote>, StoreError> {
    of_asset_on(tx.connection(), asset, currency).await
}

async fn of_asset_on(
    connection: &mut AnyConnection,
    asset: Asset,
    currency: Currency,
) -> Result<Vec<StoredQuote>, StoreError> {
    let rows = sqlx::query(
        "SELECT asset, quote, received_at FROM quotes WHERE asset = $1 AND currency = $2 ORDER BY service",
    )
    .bind(asset.to_string())
    .bind(currency.to_string())
    .fetch_all(connection)
    .await
    .during("quotes.of_asset")?;
    rows.iter().map(decode).collect()
}

/// At most `limit`, by asset, currency and service.
pub async fn all(store: &Store, limit: u32) -> Result<Vec<StoredQuote>, StoreError> {
    let rows = sqlx::query(
        "SELECT asset, quote, received_at FROM quotes ORDER BY asset, currency, service LIMIT $1",
    )
    .bind(i64::from(limit))
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("quotes.list")?;
    rows.iter().map(decode).collect()
}

/// Has every transfer of `asset` looked at that waits to be authorized.
pub async fn nudge_waiting(tx: &mut WriteTx, asset: Asset, now: Timestamp) -> Result<(), StoreError> {
    let rows = sqlx::query("SELECT id FROM transfers WHERE status = $1 AND asset = $2 ORDER BY id")
        .bind(Status::PendingAuthorization.to_string())
        .bind(asset.to_string())
        .fetch_all(tx.connection())
        .await
        .during("quotes.nudge")?;
    for row in &rows {
        jobs::nudge(tx, Fields::new(row, "transfers", "id")?.parse("id")?, now).await?;
    }
    Ok(())
}

fn decode(row: &AnyRow) -> Result<StoredQuote, StoreError> {
    let fields = Fields::new(row, "quotes", "asset")?;
    let signed: SignedQuote = fields.json("quote")?;
    if fields.parse::<Asset>("asset")? != signed.quote.asset {
        return Err(fields.corrupt("quote", "is about another asset than its row"));
    }
    Ok(StoredQuote { signed, received_at: fields.time("received_at")? })
}
