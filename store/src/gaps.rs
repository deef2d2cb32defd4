//! Numbers of an account that nothing of ours claims although something signed waits behind them.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    events,
    row::{Fields, to_int},
};
use bursar_domain::{ids::TransferId, network::Network, time::Timestamp};
use serde_json::json;
use std::collections::BTreeSet;

/// A signed nonce or Sequence that is not used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedNumber {
    pub account: String,
    pub number: u64,
    pub transfer: TransferId,
}

pub(crate) const SIGNED: &str = "SELECT r.resource, r.account, r.number, r.transfer FROM reservations r \
     WHERE r.network = $1 AND r.account IS NOT NULL AND r.used = 0 AND EXISTS (\
         SELECT 1 FROM reservation_claims c JOIN transactions t ON t.id = c.transaction_id \
         WHERE c.network = r.network AND c.resource = r.resource AND t.tx_id IS NOT NULL) \
     ORDER BY r.account, r.number";

/// In order of account and number.
pub async fn signed(store: &Store, network: Network) -> Result<Vec<SignedNumber>, StoreError> {
    let rows = sqlx::query(SIGNED)
        .bind(network.to_string())
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("reservations.signed")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "reservations", "resource")?;
            Ok(SignedNumber {
                account: fields.text("account")?,
                number: fields.number("number")?,
                transfer: fields.parse("transfer")?,
            })
        })
        .collect()
}

/// The gaps that are known, by account and number.
pub async fn known(store: &Store, network: Network) -> Result<BTreeSet<(String, u64)>, StoreError> {
    let rows = sqlx::query("SELECT account, number FROM account_gaps WHERE network = $1")
        .bind(network.to_string())
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("account_gaps.known")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "account_gaps", "account")?;
            Ok((fields.text("account")?, fields.number("number")?))
        })
        .collect()
}

/// Keeps a gap, with the alarm `account.gap`. `false`: it was known.
pub async fn open(
    tx: &mut WriteTx,
    network: Network,
    account: &str,
    number: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "account_gaps.open";
    let opened = sqlx::query(
        "INSERT INTO account_gaps (network, account, number, noticed_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (network, account, number) DO NOTHING",
    )
    .bind(network.to_string())
    .bind(account.to_owned())
    .bind(to_int(OPERATION, number)?)
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if opened.rows_affected() == 0 {
        return Ok(false);
    }
    let payload = json!({ "network": network, "account": account, "number": number });
    events::append(tx, "account.gap", None, now, &payload).await?;
    Ok(true)
}

/// Forgets a gap that is none any more.
pub async fn close(tx: &mut WriteTx, network: Network, account: &str, number: u64) -> Result<(), StoreError> {
    const OPERATION: &str = "account_gaps.close";
    sqlx::query("DELETE FROM account_gaps WHERE network = $1 AND account = $2 AND number = $3")
        .bind(network.to_string())
        .bind(account.to_owned())
        .bind(to_int(OPERATION, number)?)
        .execute(tx.connection())
        .await
        .during(OPERATION)
        .map(|_| ())
}
