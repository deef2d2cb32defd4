//! The event log as the audit sees it: rows as they are kept, their places in the chain, and what co-signers signed of it.
//!
//! Seals follow the events at a little distance ([`seal`]); nothing that moves money waits for them.

use crate::{
    Store, StoreError, WriteTx,
    error::During,
    row::{Fields, to_int},
};
use bursar_domain::{
    audit::{
        ChainHash, Entry, Place,
        checkpoint::{Checkpoint, CheckpointSignature},
    },
    governance::log::EntryDigest,
    signing::PartyIndex,
    time::Timestamp,
};
use sqlx::{AnyConnection, AssertSqlSafe, any::AnyRow};

/// A checkpoint and who has signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    pub checkpoint: Checkpoint,
    pub signatures: Vec<CheckpointSignature>,
}

/// Entries after `sequence`, in order, each text as it is in its row.
pub async fn entries(store: &Store, after: u64, limit: u32) -> Result<Vec<Entry>, StoreError> {
    const OPERATION: &str = "events.audit";
    let rows = sqlx::query(
        "SELECT sequence, kind, transfer, at, payload, act, signed FROM events WHERE sequence > $1 ORDER BY sequence LIMIT $2",
    )
    .bind(to_int(OPERATION, after)?)
    .bind(i64::from(limit))
    .fetch_all(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    let decode = |row| {
        let fields = Fields::new(row, "events", "sequence")?;
        Ok(Entry {
            sequence: fields.number("sequence")?,
            at: fields.time("at")?,
            kind: fields.text("kind")?,
            transfer: fields.text_opt("transfer")?,
            payload: fields.text("payload")?,
            act: fields.text_opt("act")?,
            signed: fields.text_opt("signed")?,
        })
    };
    rows.iter().map(decode).collect()
}

/// The last entry that has a place; [`Place::START`] when none has.
pub async fn last_seal(store: &Store) -> Result<Place, StoreError> {
    last_seal_on(&mut *store.reader().await?).await
}

async fn last_seal_on(connection: &mut AnyConnection) -> Result<Place, StoreError> {
    let row = sqlx::query("SELECT sequence, hash FROM audit_seals ORDER BY sequence DESC LIMIT 1")
        .fetch_optional(connection)
        .await
        .during("audit_seals.last")?;
    row.as_ref().map_or(Ok(Place::START), decode_seal)
}

/// The place of one entry. `None`: it has none yet.
pub async fn seal_of(store: &Store, sequence: u64) -> Result<Option<Place>, StoreError> {
    if sequence == 0 {
        return Ok(Some(Place::START));
    }
    Ok(seals(store, sequence - 1, 1).await?.into_iter().find(|place| place.sequence == sequence))
}

/// Places after `sequence`, in order.
pub async fn seals(store: &Store, after: u64, limit: u32) -> Result<Vec<Place>, StoreError> {
    const OPERATION: &str = "audit_seals.list";
    let rows =
        sqlx::query("SELECT sequence, hash FROM audit_seals WHERE sequence > $1 ORDER BY sequence LIMIT $2")
            .bind(to_int(OPERATION, after)?)
            .bind(i64::from(limit))
            .fetch_all(&mut *store.reader().await?)
            .await
            .during(OPERATION)?;
    rows.iter().map(decode_seal).collect()
}

/// Rows in one statement: both databases allow at least 999 parameters.
const ROWS: usize = 400;

/// Writes the places of the entries after `last`. `false`: another process did meanwhile, and nothing was written.
pub async fn seal(tx: &mut WriteTx, last: Place, places: &[Place]) -> Result<bool, StoreError> {
    const OPERATION: &str = "audit_seals.insert";
    if last_seal_on(tx.connection()).await? != last {
        return Ok(false);
    }
    for part in places.chunks(ROWS) {
        let values: Vec<String> =
            (0..part.len()).map(|row| format!("(${}, ${})", 2 * row + 1, 2 * row + 2)).collect();
        let sql = format!("INSERT INTO audit_seals (sequence, hash) VALUES {}", values.join(", "));
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for place in part {
            query = query.bind(to_int(OPERATION, place.sequence)?).bind(place.hash.0.to_vec());
        }
        query.execute(tx.connection()).await.during(OPERATION)?;
    }
    Ok(true)
}

/// Keeps a checkpoint to be signed. `false`: there is one as new, and it stays.
pub async fn insert_checkpoint(tx: &mut WriteTx, checkpoint: &Checkpoint) -> Result<bool, StoreError> {
    const OPERATION: &str = "audit_checkpoints.insert";
    let sequence = to_int(OPERATION, checkpoint.sequence)?;
    let newer =
        sqlx::query("SELECT sequence FROM audit_checkpoints WHERE sequence >= $1 ORDER BY sequence LIMIT 1")
            .bind(sequence)
            .fetch_optional(tx.connection())
            .await
            .during(OPERATION)?;
    if newer.is_some() {
        return Ok(false);
    }
    sqlx::query("INSERT INTO audit_checkpoints (sequence, desk, hash, made_at) VALUES ($1, $2, $3, $4)")
        .bind(sequence)
        .bind(checkpoint.desk.0.to_vec())
        .bind(checkpoint.hash.0.to_vec())
        .bind(checkpoint.at.micros())
        .execute(tx.connection())
        .await
        .during(OPERATION)?;
    Ok(true)
}

/// Keeps a co-signer's signature, once. The caller has verified it.
pub async fn insert_signature(
    tx: &mut WriteTx,
    sequence: u64,
    signature: &CheckpointSignature,
    now: Timestamp,
) -> Result<(), StoreError> {
    const OPERATION: &str = "audit_signatures.insert";
    sqlx::query(
        "INSERT INTO audit_signatures (sequence, party, public_key, signature, received_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (sequence, party) DO NOTHING",
    )
    .bind(to_int(OPERATION, sequence)?)
    .bind(i64::from(signature.party.0))
    .bind(signature.public_key.to_vec())
    .bind(signature.signature.to_vec())
    .bind(now.micros())
    .execute(tx.connection())
    .await
    .during(OPERATION)
    .map(|_| ())
}

const CHECKPOINT: &str = "SELECT sequence, desk, hash, made_at FROM audit_checkpoints";

/// Checkpoints after `sequence`, in order, with their signatures.
pub async fn checkpoints(store: &Store, after: u64, limit: u32) -> Result<Vec<StoredCheckpoint>, StoreError> {
    const OPERATION: &str = "audit_checkpoints.list";
    let rows =
        sqlx::query(AssertSqlSafe(format!("{CHECKPOINT} WHERE sequence > $1 ORDER BY sequence LIMIT $2")))
            .bind(to_int(OPERATION, after)?)
            .bind(i64::from(limit))
            .fetch_all(&mut *store.reader().await?)
            .await
            .during(OPERATION)?;
    let mut found: Vec<StoredCheckpoint> = rows
        .iter()
        .map(|row| Ok(StoredCheckpoint { checkpoint: decode_checkpoint(row)?, signatures: Vec::new() }))
        .collect::<Result<_, StoreError>>()?;
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(found) };
    let rows = sqlx::query(
        "SELECT sequence, party, public_key, signature FROM audit_signatures WHERE sequence >= $1 AND sequence <= $2 \
         ORDER BY sequence, party",
    )
    .bind(to_int(OPERATION, first.checkpoint.sequence)?)
    .bind(to_int(OPERATION, last.checkpoint.sequence)?)
    .fetch_all(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    for row in &rows {
        let fields = Fields::new(row, "audit_signatures", "sequence")?;
        let sequence: u64 = fields.number("sequence")?;
        let signature = CheckpointSignature {
            party: PartyIndex(fields.number("party")?),
            public_key: array(&fields, "public_key")?,
            signature: array(&fields, "signature")?,
        };
        if let Ok(place) = found.binary_search_by_key(&sequence, |one| one.checkpoint.sequence) {
            found[place].signatures.push(signature);
        }
    }
    Ok(found)
}

/// The newest checkpoint that ends at `sequence` or before.
pub async fn checkpoint_up_to(store: &Store, sequence: u64) -> Result<Option<Checkpoint>, StoreError> {
    const OPERATION: &str = "audit_checkpoints.last";
    let row = sqlx::query(AssertSqlSafe(format!(
        "{CHECKPOINT} WHERE sequence <= $1 ORDER BY sequence DESC LIMIT 1"
    )))
    .bind(i64::try_from(sequence).unwrap_or(i64::MAX))
    .fetch_optional(&mut *store.reader().await?)
    .await
    .during(OPERATION)?;
    row.as_ref().map(decode_checkpoint).transpose()
}

/// The newest checkpoint that this party has signed.
pub async fn signed_by(store: &Store, party: PartyIndex) -> Result<Option<Checkpoint>, StoreError> {
    const OPERATION: &str = "audit_signatures.last";
    let row =
        sqlx::query("SELECT sequence FROM audit_signatures WHERE party = $1 ORDER BY sequence DESC LIMIT 1")
            .bind(i64::from(party.0))
            .fetch_optional(&mut *store.reader().await?)
            .await
            .during(OPERATION)?;
    match row {
        None => Ok(None),
        Some(row) => {
            let sequence = Fields::new(&row, "audit_signatures", "sequence")?.number("sequence")?;
            checkpoint_up_to(store, sequence).await
        }
    }
}

fn decode_seal(row: &AnyRow) -> Result<Place, StoreError> {
    let fields = Fields::new(row, "audit_seals", "sequence")?;
    Ok(Place { sequence: fields.number("sequence")?, hash: ChainHash(array(&fields, "hash")?) })
}

fn decode_checkpoint(row: &AnyRow) -> Result<Checkpoint, StoreError> {
    let fields = Fields::new(row, "audit_checkpoints", "sequence")?;
    Ok(Checkpoint {
        desk: EntryDigest(array(&fields, "desk")?),
        sequence: fields.number("sequence")?,
        hash: ChainHash(array(&fields, "hash")?),
        at: fields.time("made_at")?,
    })
}

fn array<const N: usize>(fields: &Fields<'_>, column: &str) -> Result<[u8; N], StoreError> {
    let bytes = fields.bytes(column)?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| fields.corrupt(column, format_args!("{length} bytes, not {N}")))
}
