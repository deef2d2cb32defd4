//! Our own outputs, as the applied blocks say. No node wallet is asked.

use crate::{Store, StoreError, WriteTx, addresses, error::During, row::Fields};
use bursar_domain::{account::Utxo, amount::Amount, effects::OutPoint, ids::WalletId, network::Network};
use sqlx::any::AnyRow;

/// An output is reserved while a reservation names it, whoever holds that.
const RESERVED: &str = "EXISTS (SELECT 1 FROM reservations r WHERE r.network = u.network \
                        AND r.resource = 'bitcoin/utxo/' || u.outpoint)";

/// What coin selection may choose from: in a block, unspent, not reserved, not frozen. In order of outpoint.
pub async fn available(store: &Store, wallet: WalletId) -> Result<Vec<Utxo>, StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT u.outpoint, u.value, a.purpose, a.account, a.branch, a.position FROM utxos u \
         JOIN addresses a ON a.id = u.address_id \
         WHERE u.wallet = $1 AND u.spent_height IS NULL AND u.frozen = 0 AND NOT {RESERVED} ORDER BY u.outpoint"
    )))
    .bind(wallet.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("utxos.available")?;
    rows.iter().map(decode).collect()
}

/// The sum of the wallet's unspent outputs in blocks, and how much of it is reserved, in satoshi.
pub async fn balance(store: &Store, wallet: WalletId) -> Result<(Amount, Amount), StoreError> {
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT u.outpoint, u.value, CASE WHEN {RESERVED} THEN 1 ELSE 0 END AS reserved FROM utxos u \
         WHERE u.wallet = $1 AND u.spent_height IS NULL"
    )))
    .bind(wallet.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("utxos.balance")?;
    let (mut total, mut reserved) = (Amount::ZERO, Amount::ZERO);
    for row in &rows {
        let fields = Fields::new(row, "utxos", "outpoint")?;
        let value: Amount = fields.parse("value")?;
        let add =
            |sum: Amount| sum.checked_add(value).ok_or_else(|| fields.corrupt("value", "the sum overflows"));
        total = add(total)?;
        if fields.flag("reserved")? {
            reserved = add(reserved)?;
        }
    }
    Ok((total, reserved))
}

/// The sum of the wallet's unspent outputs in blocks that cannot be spent because of what a screening, an alert or compliance said of the
/// deposit, in satoshi.
pub async fn frozen(store: &Store, wallet: WalletId) -> Result<Amount, StoreError> {
    let rows = sqlx::query(
        "SELECT outpoint, value FROM utxos WHERE wallet = $1 AND spent_height IS NULL AND frozen <> 0",
    )
    .bind(wallet.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("utxos.frozen")?;
    rows.iter().try_fold(Amount::ZERO, |sum, row| {
        let fields = Fields::new(row, "utxos", "outpoint")?;
        let value = fields.parse("value")?;
        sum.checked_add(value).ok_or_else(|| fields.corrupt("value", "the sum overflows"))
    })
}

/// Whether this output may not be spent, whoever asks.
pub(crate) async fn is_frozen(
    tx: &mut WriteTx,
    network: Network,
    outpoint: &OutPoint,
) -> Result<bool, StoreError> {
    let row = sqlx::query("SELECT 1 FROM utxos WHERE network = $1 AND outpoint = $2 AND frozen <> 0")
        .bind(network.to_string())
        .bind(outpoint.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("utxos.is_frozen")?;
    Ok(row.is_some())
}

/// Whether a transaction in a block has spent this output.
pub async fn is_spent(tx: &mut WriteTx, network: Network, outpoint: &OutPoint) -> Result<bool, StoreError> {
    let row =
        sqlx::query("SELECT 1 FROM utxos WHERE network = $1 AND outpoint = $2 AND spent_height IS NOT NULL")
            .bind(network.to_string())
            .bind(outpoint.to_string())
            .fetch_optional(tx.connection())
            .await
            .during("utxos.is_spent")?;
    Ok(row.is_some())
}

fn decode(row: &AnyRow) -> Result<Utxo, StoreError> {
    let fields = Fields::new(row, "utxos", "outpoint")?;
    let value: Amount = fields.parse("value")?;
    Ok(Utxo {
        outpoint: fields.parse("outpoint")?,
        value: value.try_into().map_err(|e| fields.corrupt("value", e))?,
        path: addresses::decode_path(&fields)?,
    })
}
