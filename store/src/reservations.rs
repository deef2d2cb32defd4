//! Exclusive claims on what makes a chain transaction unique: a UTXO, a nonce, a Sequence or Ticket.
//!
//! A resource belongs to one *transfer* (primary key on network and resource), and those of its transactions that claim it
//! share it. So a replacement can use its predecessor's nonce, and no other transfer ever can. When the last claim is
//! released the resource is free. When a transaction is final its resources are `used` and stay taken, so that a node which lags
//! behind cannot make us use a nonce twice.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    jobs,
    row::{Fields, to_int},
    utxos,
};
use bursar_domain::{
    effects::Resource,
    ids::{TransactionId, TransferId},
    network::Network,
    time::Timestamp,
};
use std::collections::BTreeSet;

/// How many of an account's used numbers [`taken`] tells: as far behind as a node may be.
const USED_REMEMBERED: i64 = 256;

pub(crate) const LIVE: &str = "SELECT resource, number FROM reservations WHERE network = $1 AND account = $2 AND used = 0 AND number >= $3";
pub(crate) const USED: &str = "SELECT resource, number FROM reservations WHERE network = $1 AND account = $2 AND used = 1 \
                    AND number >= $3 ORDER BY number DESC LIMIT $4";

/// Nonces (or Sequences) of the account that must not be chosen: those that live transactions have reserved, and the newest
/// that final ones have used, which the account's node may not have seen yet.
pub async fn taken(store: &Store, network: Network, account: &str) -> Result<BTreeSet<u64>, StoreError> {
    taken_from(store, network, account, 0).await
}

/// As [`taken`], of the numbers from `first` up: with the first that the chain has not used, those are few.
pub async fn taken_from(
    store: &Store,
    network: Network,
    account: &str,
    first: u64,
) -> Result<BTreeSet<u64>, StoreError> {
    const OPERATION: &str = "reservations.taken";
    let first = to_int(OPERATION, first)?;
    let mut connection = store.reader().await?;
    let live = sqlx::query(LIVE).bind(network.to_string()).bind(account.to_owned()).bind(first);
    let mut rows = live.fetch_all(&mut *connection).await.during(OPERATION)?;
    let used = sqlx::query(USED).bind(network.to_string()).bind(account.to_owned()).bind(first);
    let used = used.bind(USED_REMEMBERED);
    rows.extend(used.fetch_all(&mut *connection).await.during(OPERATION)?);
    rows.iter().map(|row| Fields::new(row, "reservations", "resource")?.number("number")).collect()
}

/// The transaction that holds the resource: the newest where a transfer's transactions share it.
pub async fn holder(
    store: &Store,
    network: Network,
    resource: &Resource,
) -> Result<Option<TransactionId>, StoreError> {
    let row = sqlx::query(
        "SELECT c.transaction_id FROM reservation_claims c JOIN transactions t ON t.id = c.transaction_id \
         WHERE c.network = $1 AND c.resource = $2 ORDER BY t.created_at DESC, t.id DESC LIMIT 1",
    )
    .bind(network.to_string())
    .bind(resource.to_string())
    .fetch_optional(&mut *store.reader().await?)
    .await
    .during("reservations.holder")?;
    row.map(|row| Fields::new(&row, "reservation_claims", "transaction_id")?.parse("transaction_id"))
        .transpose()
}

/// The account and number of a nonce or Sequence. A Ticket's number was a Sequence before, and the two never collide: it
/// needs no choosing.
fn numbered(resource: &Resource) -> Option<(&str, u64)> {
    match resource {
        Resource::Nonce { account, nonce } => Some((account, *nonce)),
        Resource::Sequence { account, sequence } => Some((account, u64::from(*sequence))),
        Resource::Utxo(_) | Resource::Ticket { .. } => None,
    }
}

/// The lowest live nonce or Sequence of the same account below `resource` whose transaction is not signed yet. Were that one
/// given back, everything above it would wait for a number that nobody uses: so numbers are signed in order. One that a stranger
/// has used on the chain holds up nobody: if its block goes away, it is a gap like any other.
pub async fn unsigned_ahead(
    store: &Store,
    network: Network,
    resource: &Resource,
) -> Result<Option<Resource>, StoreError> {
    ahead(store, "reservations.unsigned_ahead", UNSIGNED_AHEAD, network, resource).await
}

pub(crate) const UNSIGNED_AHEAD: &str = "SELECT r.resource FROM reservations r \
     WHERE r.network = $1 AND r.account = $2 AND r.used = 0 AND r.number < $3 AND NOT EXISTS (\
         SELECT 1 FROM reservation_claims c JOIN transactions t ON t.id = c.transaction_id \
         WHERE c.network = r.network AND c.resource = r.resource AND t.tx_id IS NOT NULL) \
     AND NOT EXISTS (SELECT 1 FROM foreign_spends f WHERE f.network = r.network AND f.resource = r.resource) \
     ORDER BY r.number LIMIT 1";

/// The lowest nonce or Sequence of the same account below `resource` whose transaction is in no final block. While it waits,
/// so does everything above it, whatever that offers.
pub async fn live_ahead(
    store: &Store,
    network: Network,
    resource: &Resource,
) -> Result<Option<Resource>, StoreError> {
    ahead(store, "reservations.live_ahead", LIVE_AHEAD, network, resource).await
}

/// What `sql` finds below the number of `resource`; nothing for a resource that has none.
async fn ahead(
    store: &Store,
    operation: &'static str,
    sql: &'static str,
    network: Network,
    resource: &Resource,
) -> Result<Option<Resource>, StoreError> {
    let Some((account, number)) = numbered(resource) else { return Ok(None) };
    let row = sqlx::query(sql)
        .bind(network.to_string())
        .bind(account.to_owned())
        .bind(to_int(operation, number)?)
        .fetch_optional(&mut *store.reader().await?)
        .await
        .during(operation)?;
    row.map(|row| Fields::new(&row, "reservations", "resource")?.parse("resource")).transpose()
}

pub(crate) const LIVE_AHEAD: &str = "SELECT r.resource FROM reservations r \
     WHERE r.network = $1 AND r.account = $2 AND r.used = 0 AND r.number < $3 AND NOT EXISTS (\
         SELECT 1 FROM reservation_claims c JOIN transactions t ON t.id = c.transaction_id \
         WHERE c.network = r.network AND c.resource = r.resource AND t.block_height IS NOT NULL) \
     AND NOT EXISTS (SELECT 1 FROM foreign_spends f WHERE f.network = r.network AND f.resource = r.resource) \
     ORDER BY r.number LIMIT 1";

/// Nudges the transfer that holds the next nonce or Sequence of the account: what it waited for has been signed.
pub async fn nudge_next(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
    now: Timestamp,
) -> Result<(), StoreError> {
    match held_after(tx, network, resource).await?.first() {
        Some(next) => jobs::nudge(tx, *next, now).await,
        None => Ok(()),
    }
}

/// The transfers that hold live nonces or Sequences of the same account above `resource`, lowest first.
pub async fn held_after(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
) -> Result<Vec<TransferId>, StoreError> {
    const OPERATION: &str = "reservations.held_after";
    let Some((account, number)) = numbered(resource) else { return Ok(Vec::new()) };
    let rows = sqlx::query(HELD_AFTER)
        .bind(network.to_string())
        .bind(account.to_owned())
        .bind(to_int(OPERATION, number)?)
        .fetch_all(tx.connection())
        .await
        .during(OPERATION)?;
    rows.iter().map(|row| Fields::new(row, "reservations", "transfer")?.parse("transfer")).collect()
}

pub(crate) const HELD_AFTER: &str = "SELECT transfer FROM reservations WHERE network = $1 AND account = $2 AND used = 0 \
     AND number > $3 ORDER BY number";

/// The transfer that has reserved the resource.
pub async fn owner(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
) -> Result<Option<TransferId>, StoreError> {
    let row = sqlx::query("SELECT resource, transfer FROM reservations WHERE network = $1 AND resource = $2")
        .bind(network.to_string())
        .bind(resource.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("reservations.owner")?;
    row.map(|row| Fields::new(&row, "reservations", "resource")?.parse("transfer")).transpose()
}

/// Claims a resource for a transaction. `false`: it belongs to another transfer, is used up, or is an output that is frozen; nothing was
/// written. A transfer that had reserved an output before it was frozen can replace what it sent.
pub(crate) async fn claim(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
    transfer: TransferId,
    transaction: TransactionId,
) -> Result<bool, StoreError> {
    const OPERATION: &str = "reservations.claim";
    let (account, number) = match numbered(resource) {
        Some((account, number)) => (Some(account.to_owned()), Some(to_int(OPERATION, number)?)),
        None => (None, None),
    };
    if let Resource::Utxo(outpoint) = resource
        && utxos::is_frozen(tx, network, outpoint).await?
        && owner(tx, network, resource).await? != Some(transfer)
    {
        return Ok(false);
    }
    let inserted = sqlx::query(
        "INSERT INTO reservations (network, resource, transfer, account, number, used) VALUES ($1, $2, $3, $4, $5, 0) \
         ON CONFLICT (network, resource) DO NOTHING",
    )
    .bind(network.to_string())
    .bind(resource.to_string())
    .bind(transfer.to_string())
    .bind(account)
    .bind(number)
    .execute(tx.connection())
    .await
    .during(OPERATION)?
    .rows_affected();
    if inserted == 0 {
        let ours = sqlx::query(
            "SELECT 1 FROM reservations WHERE network = $1 AND resource = $2 AND transfer = $3 AND used = 0",
        )
        .bind(network.to_string())
        .bind(resource.to_string())
        .bind(transfer.to_string())
        .fetch_optional(tx.connection())
        .await
        .during(OPERATION)?;
        if ours.is_none() {
            return Ok(false);
        }
    }
    sqlx::query("INSERT INTO reservation_claims (network, resource, transaction_id) VALUES ($1, $2, $3)")
        .bind(network.to_string())
        .bind(resource.to_string())
        .bind(transaction.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    Ok(true)
}

/// Drops a transaction's claims, and the reservations that nobody claims any more.
pub(crate) async fn free(tx: &mut WriteTx, transaction: TransactionId) -> Result<(), StoreError> {
    const OPERATION: &str = "reservations.free";
    let rows =
        sqlx::query("DELETE FROM reservation_claims WHERE transaction_id = $1 RETURNING network, resource")
            .bind(transaction.to_string())
            .fetch_all(tx.connection())
            .await
            .during(OPERATION)?;
    for row in &rows {
        let fields = Fields::new(row, "reservation_claims", "resource")?;
        sqlx::query(
            "DELETE FROM reservations WHERE network = $1 AND resource = $2 AND NOT EXISTS \
             (SELECT 1 FROM reservation_claims c WHERE c.network = reservations.network AND c.resource = reservations.resource)",
        )
        .bind(fields.text("network")?)
        .bind(fields.text("resource")?)
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    }
    Ok(())
}

/// By the transaction's claims: asked of each reservation instead, it would read all that there ever were.
pub(crate) const SET_USED: &str = "UPDATE reservations SET used = $1 WHERE (network, resource) IN \
     (SELECT network, resource FROM reservation_claims WHERE transaction_id = $2)";

/// Whether a transaction's resources are used up by a final transaction.
pub(crate) async fn set_used(
    tx: &mut WriteTx,
    transaction: TransactionId,
    used: bool,
) -> Result<(), StoreError> {
    sqlx::query(SET_USED)
        .bind(i64::from(used))
        .bind(transaction.to_string())
        .execute(tx.connection())
        .await
        .during("reservations.set_used")
        .map(|_| ())
}
