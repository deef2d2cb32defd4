//! Our own outputs, as the applied blocks say. No node wallet is asked.

use crate::{Store, StoreError, addresses, error::During, row::Fields};
use bursar_domain::{account::Utxo, amount::Amount, ids::WalletId};
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

fn decode(row: &AnyRow) -> Result<Utxo, StoreError> {
    let fields = Fields::new(row, "utxos", "outpoint")?;
    let value: Amount = fields.parse("value")?;
    Ok(Utxo {
        outpoint: fields.parse("outpoint")?,
        value: value.try_into().map_err(|e| fields.corrupt("value", e))?,
        path: addresses::decode_path(&fields)?,
    })
}
