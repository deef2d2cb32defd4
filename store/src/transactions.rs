//! Signed and signable chain transactions: what may pay.
//!
//! Loss-of-funds paths guarded here, under whatever the callers do:
//!
//! * [`insert`] claims every resource, and refuses a second transaction for a transfer that shares none with an earlier one
//!   which might still pay (`bursar_domain::lifecycle::exclusivity`).
//! * [`release`] refuses while a signature may exist; [`release_dead`] wants a proof and keeps it.
//! * [`store_signed`] never replaces signed bytes by others: what was sent, or may have been, is what is sent again.

pub(crate) mod parents;
mod recognise;
mod siblings;

pub use parents::{GoneParent, gone_parents, gone_parents_in};
pub use recognise::in_a_block;
pub use siblings::{give_up_child, give_up_filler, live_in, revive};
pub(crate) use siblings::{nothing_may_pay, revive_siblings};

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    reservations,
    row::{Fields, plain, to_json},
};
use bursar_domain::{
    amount::Amount,
    chain::{BlockRef, TransactionOutcome},
    effects::{Effects, Resource},
    ids::{TransactionId, TransferId},
    network::Network,
    package::{Purpose, SignedTransaction, UnsignedTransaction},
    time::Timestamp,
};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    pub id: TransactionId,
    pub transfer: TransferId,
    pub network: Network,
    pub purpose: Purpose,
    pub unsigned: UnsignedTransaction,
    pub effects: Effects,
    pub signed: Option<SignedTransaction>,
    /// Signing sessions ever started for it.
    pub signing_attempts: u32,
    pub inclusion: Option<Inclusion>,
    pub created_at: Timestamp,
    /// When the first session began of which it is not known that nobody took part. From then on a signature may exist.
    pub signing_started_at: Option<Timestamp>,
    pub signed_at: Option<Timestamp>,
    pub broadcast_at: Option<Timestamp>,
    pub finalized_at: Option<Timestamp>,
    /// Why it can no longer be in a block.
    pub ended: Option<Ended>,
}

impl TransactionRecord {
    /// An unsigned transaction that nobody has seen.
    pub fn fresh(
        id: TransactionId,
        transfer: TransferId,
        purpose: Purpose,
        unsigned: UnsignedTransaction,
        effects: Effects,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            transfer,
            network: unsigned.wallet.network,
            purpose,
            unsigned,
            effects,
            signed: None,
            signing_attempts: 0,
            inclusion: None,
            created_at: now,
            signing_started_at: None,
            signed_at: None,
            broadcast_at: None,
            finalized_at: None,
            ended: None,
        }
    }

    pub const fn is_child(&self) -> bool {
        matches!(self.purpose, Purpose::Child { .. })
    }

    /// A session began, and what it gave never reached us: another signature than the one that is kept, or the only one, may
    /// exist.
    pub const fn has_lost_session(&self) -> bool {
        match self.signed {
            Some(_) => self.signing_attempts > 1,
            None => self.signing_started_at.is_some(),
        }
    }
}

/// How a transaction ended that is in no block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It was never signed, and its resources were given back.
    Released,
    /// Another transaction of the transfer is final, so that this one can be in no block, or nothing needs it (a child of it).
    Superseded { proof: String },
    /// It can never take effect.
    Dead { proof: String },
}

impl Ended {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Superseded { .. } => "superseded",
            Self::Dead { .. } => "dead",
        }
    }
    pub fn proof(&self) -> Option<&str> {
        match self {
            Self::Released => None,
            Self::Superseded { proof } | Self::Dead { proof } => Some(proof),
        }
    }
}

/// The block that holds it, on the chain as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    pub block: BlockRef,
    pub outcome: TransactionOutcome,
    /// What was paid, in the chain's smallest unit.
    pub fee: Option<Amount>,
}

/// Another transfer has the resource, or it is used up. Choose others and build again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{resource} is taken")]
pub struct ReservationConflict {
    pub resource: Resource,
}

const COLUMNS: &str = "id, transfer, network, purpose, unsigned, effects, signing_attempts, tx_id, signed_bytes, block_height, \
                       block_hash, outcome, fee, created_at, signing_started_at, signed_at, broadcast_at, finalized_at, \
                       ended, proof";

/// Keeps a fresh unsigned transaction and claims everything in `effects.resources` for it. On a conflict nothing is written
/// and `tx` can go on.
///
/// Refused with [`StoreError::NotExclusive`] when an earlier transaction of the transfer might still pay (it is neither
/// released nor proven dead) and shares no resource with this one.
pub async fn insert(
    tx: &mut WriteTx,
    record: &TransactionRecord,
) -> Result<Result<(), ReservationConflict>, StoreError> {
    const OPERATION: &str = "transactions.insert";
    // In order, so that two writers that want the same resources wait for each other in one direction only.
    let resources: BTreeSet<&Resource> = record.effects.resources.iter().collect();
    check_fresh(record, &resources)?;
    siblings::check_exclusive(tx, record).await?;
    for resource in &resources {
        if is_spent(tx.connection(), record.network, resource).await? {
            return Ok(Err(ReservationConflict { resource: (*resource).clone() }));
        }
    }
    run(tx, OPERATION, "SAVEPOINT insert_transaction").await?;
    write(tx, record).await?;
    for resource in resources {
        if !reservations::claim(tx, record.network, resource, record.transfer, record.id).await? {
            run(tx, OPERATION, "ROLLBACK TO SAVEPOINT insert_transaction").await?;
            run(tx, OPERATION, "RELEASE SAVEPOINT insert_transaction").await?;
            return Ok(Err(ReservationConflict { resource: resource.clone() }));
        }
    }
    run(tx, OPERATION, "RELEASE SAVEPOINT insert_transaction").await?;
    Ok(Ok(()))
}

async fn run(tx: &mut WriteTx, operation: &'static str, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(tx.connection()).await.during(operation).map(|_| ())
}

fn check_fresh(record: &TransactionRecord, resources: &BTreeSet<&Resource>) -> Result<(), StoreError> {
    let chain = record.network.chain();
    let reason = if resources.is_empty() {
        "it has no exclusive resource, so nothing would keep it from paying twice"
    } else if resources.iter().any(|resource| resource.chain() != chain) {
        "a resource is of another chain"
    } else if record.effects.network != record.network || record.unsigned.wallet.network != record.network {
        "its networks differ"
    } else if record.signed.is_some()
        || record.inclusion.is_some()
        || record.ended.is_some()
        || record.signing_attempts > 0
    {
        "only unsigned transactions are inserted"
    } else {
        return Ok(());
    };
    Err(refused("transactions.insert", record.id, reason))
}

fn refused(operation: &'static str, id: TransactionId, reason: &str) -> StoreError {
    StoreError::Refused { operation, key: id.to_string(), reason: reason.into() }
}

/// Whether a block has spent this output of ours since it was selected.
async fn is_spent(
    connection: &mut AnyConnection,
    network: Network,
    resource: &Resource,
) -> Result<bool, StoreError> {
    let Resource::Utxo(outpoint) = resource else { return Ok(false) };
    let spent =
        sqlx::query("SELECT 1 FROM utxos WHERE network = $1 AND outpoint = $2 AND spent_height IS NOT NULL")
            .bind(network.to_string())
            .bind(outpoint.to_string())
            .fetch_optional(connection)
            .await
            .during("utxos.is_spent")?;
    Ok(spent.is_some())
}

async fn write(tx: &mut WriteTx, record: &TransactionRecord) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.insert";
    sqlx::query(
        "INSERT INTO transactions (id, transfer, network, purpose, unsigned, effects, signing_attempts, open_sessions, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7)",
    )
    .bind(record.id.to_string())
    .bind(record.transfer.to_string())
    .bind(record.network.to_string())
    .bind(to_json(&record.purpose))
    .bind(to_json(&record.unsigned))
    .bind(to_json(&record.effects))
    .bind(record.created_at.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    sqlx::query("INSERT INTO transfer_transactions (transfer, transaction_id) VALUES ($1, $2)")
        .bind(record.transfer.to_string())
        .bind(record.id.to_string())
        .execute(tx.connection())
        .await
        .during(OPERATION)
        .map(|_| ())
}

/// Frees the reservations of a transaction that was never signed. Refused while a signature may exist: after it was signed,
/// or after a signing session started, unless the transfer has since been saved as `signing_started: false`.
pub async fn release(tx: &mut WriteTx, id: TransactionId) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.release";
    let released = sqlx::query(
        "UPDATE transactions SET ended = 'released' WHERE id = $1 AND ended IS NULL AND tx_id IS NULL AND open_sessions = 0",
    )
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if released.rows_affected() == 1 {
        return reservations::free(tx, id).await;
    }
    match ended(tx, id).await?.as_deref() {
        Some("released") => Ok(()),
        Some(_) => Err(refused(OPERATION, id, "it was proven dead")),
        None => Err(refused(OPERATION, id, "a signature may exist; only a proof that it is dead frees it")),
    }
}

/// Frees the reservations of a transaction that can never take effect. `proof` states the facts that show it and is kept.
pub async fn release_dead(tx: &mut WriteTx, id: TransactionId, proof: &str) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.release_dead";
    let released = sqlx::query(
        "UPDATE transactions SET ended = 'dead', proof = $1 WHERE id = $2 AND ended IS NULL AND block_height IS NULL \
         AND finalized_at IS NULL",
    )
    .bind(plain(proof))
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if released.rows_affected() == 1 {
        return reservations::free(tx, id).await;
    }
    match ended(tx, id).await? {
        Some(_) => Ok(()),
        None => Err(refused(OPERATION, id, "it is in a block, so it is not dead")),
    }
}

/// How a transaction ended, of one that exists.
async fn ended(tx: &mut WriteTx, id: TransactionId) -> Result<Option<String>, StoreError> {
    let row = sqlx::query("SELECT id, ended FROM transactions WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(tx.connection())
        .await
        .during("transactions.ended")?
        .ok_or_else(|| StoreError::NotFound { table: "transactions", key: id.to_string() })?;
    Fields::new(&row, "transactions", "id")?.text_opt("ended")
}

/// Records that a signing session is about to begin, and gives its number, from 1. Commit before the first message is sent.
pub async fn start_signing(tx: &mut WriteTx, id: TransactionId, now: Timestamp) -> Result<u32, StoreError> {
    const OPERATION: &str = "transactions.start_signing";
    let row = sqlx::query(
        "UPDATE transactions SET signing_attempts = signing_attempts + 1, open_sessions = open_sessions + 1, \
         signing_started_at = COALESCE(signing_started_at, $1) WHERE id = $2 AND ended IS NULL AND tx_id IS NULL \
         RETURNING id, signing_attempts",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .fetch_optional(tx.connection())
    .await
    .during(OPERATION)?;
    match row {
        Some(row) => Fields::new(&row, "transactions", "id")?.number("signing_attempts"),
        None => {
            ended(tx, id).await?;
            Err(refused(OPERATION, id, "it is signed, or released"))
        }
    }
}

/// Takes the only open session back, if there is one: no party began it. Refused when more than one is open, because what is
/// known of the last says nothing of the others.
pub async fn take_back_session(tx: &mut WriteTx, id: TransactionId) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.take_back_session";
    sqlx::query(
        "UPDATE transactions SET open_sessions = 0, signing_started_at = NULL \
         WHERE id = $1 AND open_sessions = 1 AND tx_id IS NULL",
    )
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    let left =
        sqlx::query("SELECT 1 FROM transactions WHERE id = $1 AND (open_sessions > 0 OR tx_id IS NOT NULL)")
            .bind(id.to_string())
            .fetch_optional(tx.connection())
            .await
            .during(OPERATION)?;
    match left {
        Some(_) => Err(refused(OPERATION, id, "it is signed, or another session may have left a signature")),
        None => Ok(()),
    }
}

/// Keeps the signed bytes, before any node sees them. The same bytes again change nothing; other bytes are refused. What a block
/// showed as a stranger's and has this very id is its inclusion from now on (`recognise`).
pub async fn store_signed(
    tx: &mut WriteTx,
    id: TransactionId,
    signed: &SignedTransaction,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.store_signed";
    let stored = sqlx::query(
        "UPDATE transactions SET tx_id = $1, signed_bytes = $2, signed_at = $3 WHERE id = $4 AND tx_id IS NULL AND ended IS NULL",
    )
    .bind(signed.tx_id.clone())
    .bind(signed.bytes.clone())
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if stored.rows_affected() == 1 {
        return in_a_block(tx, id, &signed.tx_id, now).await.map(|_| ());
    }
    if ended(tx, id).await?.is_some() {
        return Err(refused(OPERATION, id, "its resources were released"));
    }
    match get_on(tx.connection(), id).await?.and_then(|record| record.signed) {
        Some(known) if known == *signed => Ok(()),
        _ => Err(refused(OPERATION, id, "it is signed already, with other bytes")),
    }
}

/// Records that it was handed to a node, or is about to be. The first time counts.
pub async fn mark_broadcast(tx: &mut WriteTx, id: TransactionId, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.mark_broadcast";
    let updated = sqlx::query(
        "UPDATE transactions SET broadcast_at = COALESCE(broadcast_at, $1) WHERE id = $2 AND tx_id IS NOT NULL",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    match updated.rows_affected() {
        0 => Err(refused(OPERATION, id, "it is not signed")),
        _ => Ok(()),
    }
}

/// Records that it is in a final block: its resources are used up, and the transfer's other transactions, each of which must
/// share one of them, have ended. The proof is kept with each.
pub async fn mark_finalized(tx: &mut WriteTx, id: TransactionId, now: Timestamp) -> Result<(), StoreError> {
    const OPERATION: &str = "transactions.mark_finalized";
    let updated = sqlx::query(
        "UPDATE transactions SET finalized_at = COALESCE(finalized_at, $1) WHERE id = $2 AND block_height IS NOT NULL",
    )
    .bind(now.micros())
    .bind(id.to_string())
    .execute(tx.connection())
    .await
    .during(OPERATION)?;
    if updated.rows_affected() == 0 {
        return Err(refused(OPERATION, id, "it is in no block"));
    }
    reservations::set_used(tx, id, true).await?;
    let finished = get_in(tx, id).await?;
    let key = id.to_string();
    siblings::end_siblings(tx, &finished.ok_or(StoreError::NotFound { table: "transactions", key })?).await
}

pub async fn get(store: &Store, id: TransactionId) -> Result<Option<TransactionRecord>, StoreError> {
    get_on(&mut *store.reader().await?, id).await
}

/// As [`get`], within a transaction.
pub async fn get_in(tx: &mut WriteTx, id: TransactionId) -> Result<Option<TransactionRecord>, StoreError> {
    get_on(tx.connection(), id).await
}

async fn get_on(
    connection: &mut AnyConnection,
    id: TransactionId,
) -> Result<Option<TransactionRecord>, StoreError> {
    sqlx::query(AssertSqlSafe(format!("SELECT {COLUMNS} FROM transactions WHERE id = $1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .during("transactions.get")?
        .as_ref()
        .map(decode)
        .transpose()
}

/// All transactions that carried or carry the transfer, oldest first.
pub async fn of_transfer(store: &Store, transfer: TransferId) -> Result<Vec<TransactionRecord>, StoreError> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM transactions WHERE id IN (SELECT transaction_id FROM transfer_transactions WHERE transfer = $1) \
         ORDER BY created_at, id"
    )))
    .bind(transfer.to_string())
    .fetch_all(&mut *store.reader().await?)
    .await
    .during("transactions.of_transfer")?;
    rows.iter().map(decode).collect()
}

fn decode(row: &AnyRow) -> Result<TransactionRecord, StoreError> {
    let fields = Fields::new(row, "transactions", "id")?;
    let signed = match (fields.text_opt("tx_id")?, fields.bytes_opt("signed_bytes")?) {
        (Some(tx_id), Some(bytes)) => Some(SignedTransaction { tx_id, bytes }),
        (None, None) => None,
        _ => return Err(fields.corrupt("signed_bytes", "an id without bytes, or bytes without an id")),
    };
    let block = (fields.number_opt("block_height")?, fields.text_opt("block_hash")?);
    let inclusion = match (block, fields.json_opt("outcome")?) {
        ((Some(height), Some(hash)), Some(outcome)) => {
            Some(Inclusion { block: BlockRef { height, hash }, outcome, fee: fields.parse_opt("fee")? })
        }
        ((None, None), None) => None,
        _ => return Err(fields.corrupt("outcome", "half an inclusion")),
    };
    Ok(TransactionRecord {
        id: fields.parse("id")?,
        transfer: fields.parse("transfer")?,
        network: fields.parse("network")?,
        purpose: fields.json("purpose")?,
        unsigned: fields.json("unsigned")?,
        effects: fields.json("effects")?,
        signed,
        signing_attempts: fields.number("signing_attempts")?,
        inclusion,
        created_at: fields.time("created_at")?,
        signing_started_at: fields.time_opt("signing_started_at")?,
        signed_at: fields.time_opt("signed_at")?,
        broadcast_at: fields.time_opt("broadcast_at")?,
        finalized_at: fields.time_opt("finalized_at")?,
        ended: decode_ended(&fields)?,
    })
}

fn decode_ended(fields: &Fields<'_>) -> Result<Option<Ended>, StoreError> {
    Ok(match (fields.text_opt("ended")?.as_deref(), fields.text_opt("proof")?) {
        (None, None) => None,
        (Some("released"), None) => Some(Ended::Released),
        (Some("superseded"), Some(proof)) => Some(Ended::Superseded { proof }),
        (Some("dead"), Some(proof)) => Some(Ended::Dead { proof }),
        _ => return Err(fields.corrupt("ended", "unknown, or without its proof")),
    })
}
