//! What the reconciler looks for besides transfers without a job.

use crate::{Store, StoreError, WriteTx, error::During, events, row::Fields};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{State, SubStatus},
    network::Network,
    time::Timestamp,
};
use serde_json::json;
use std::collections::BTreeSet;

/// A transfer that has a step to take, and has not changed for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    pub id: TransferId,
    pub network: Network,
    pub state: State,
    pub sub_status: Option<SubStatus>,
    pub version: u64,
    pub updated_at: Timestamp,
    /// How often its step has failed in a row, and how the last time.
    pub attempts: u32,
    pub error: Option<String>,
    /// Up to which block its chain is final.
    pub final_height: u64,
}

pub(crate) const IDLE: &str = "SELECT t.id, t.network, t.state, t.sub_status, t.version, t.updated_at, \
     COALESCE(j.attempt, 0) AS attempt, j.error, COALESCE(c.final_height, 0) AS final_height \
     FROM transfers t LEFT JOIN jobs j ON j.transfer = t.id LEFT JOIN chain_cursors c ON c.network = t.network \
     WHERE t.has_step = 1 AND t.updated_at < $1 AND (t.updated_at > $2 OR (t.updated_at = $2 AND t.id > $3)) \
     ORDER BY t.updated_at, t.id LIMIT $4";

/// Those that were last changed before `before`, longest first, after `last` of the page before.
pub async fn idle(
    store: &Store,
    before: Timestamp,
    last: Option<&Idle>,
    limit: u32,
) -> Result<Vec<Idle>, StoreError> {
    let (at, id) =
        last.map_or((i64::MIN, String::new()), |last| (last.updated_at.micros(), last.id.to_string()));
    let rows = sqlx::query(IDLE)
        .bind(before.micros())
        .bind(at)
        .bind(id)
        .bind(i64::from(limit))
        .fetch_all(&mut *store.reader().await?)
        .await
        .during("transfers.idle")?;
    rows.iter()
        .map(|row| {
            let fields = Fields::new(row, "transfers", "id")?;
            Ok(Idle {
                id: fields.parse("id")?,
                network: fields.parse("network")?,
                state: fields.json("state")?,
                sub_status: fields.json_opt("sub_status")?,
                version: fields.number("version")?,
                updated_at: fields.time("updated_at")?,
                attempts: fields.number("attempt")?,
                error: fields.text_opt("error")?,
                final_height: fields.number("final_height")?,
            })
        })
        .collect()
}

/// Raises the alarm `transfer.stalled`, once for each version of a transfer. `false`: it was raised before.
pub async fn stalled(tx: &mut WriteTx, idle: &Idle, why: &str, now: Timestamp) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "SELECT sequence, payload FROM events WHERE transfer = $1 AND kind = 'transfer.stalled' ORDER BY sequence DESC LIMIT 1",
    )
    .bind(idle.id.to_string())
    .fetch_optional(tx.connection())
    .await
    .during("events.stalled")?;
    if let Some(row) = row {
        let told: serde_json::Value = Fields::new(&row, "events", "sequence")?.json("payload")?;
        if told["version"] == idle.version {
            return Ok(false);
        }
    }
    let payload = json!({
        "transferId": idle.id,
        "version": idle.version,
        "status": idle.state.status(),
        "subStatus": idle.sub_status,
        "unchangedSince": idle.updated_at,
        "why": why,
        "error": idle.error,
    });
    events::append(tx, "transfer.stalled", Some(idle.id), now, &payload).await?;
    Ok(true)
}

pub(crate) const UNSETTLED: &str = "SELECT tt.transfer FROM transactions x \
     JOIN transfer_transactions tt ON tt.transaction_id = x.id JOIN transfers t ON t.id = tt.transfer \
     WHERE x.network = $1 AND x.tx_id IS NOT NULL AND x.finalized_at IS NULL AND x.ended IS NULL AND t.has_step = 0 \
     AND (x.purpose LIKE '{\"purpose\":\"child\"%' OR NOT EXISTS (\
     SELECT 1 FROM transfer_transactions ot JOIN transactions o ON o.id = ot.transaction_id \
     WHERE ot.transfer = tt.transfer AND o.finalized_at IS NOT NULL)) \
     AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.transfer = tt.transfer)";

pub(crate) const CHILDREN_LEFT: &str = "SELECT tt.transfer FROM transactions x \
     JOIN transfer_transactions tt ON tt.transaction_id = x.id JOIN transfers t ON t.id = tt.transfer \
     WHERE x.network = $1 AND x.tx_id IS NULL AND x.finalized_at IS NULL AND x.ended IS NULL AND t.has_step = 0 \
     AND x.purpose LIKE '{\"purpose\":\"child\"%' \
     AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.transfer = tt.transfer)";

/// Transfers that have ended although none of their transactions is final any more, and that have no job: a reorganisation took
/// back what ended them, and the nudge that came with it was lost. Also those that left a child behind, which holds the change
/// until it has ended itself, signed or not.
pub async fn unsettled(store: &Store, network: Network) -> Result<BTreeSet<TransferId>, StoreError> {
    let mut connection = store.reader().await?;
    let mut found = BTreeSet::new();
    for sql in [UNSETTLED, CHILDREN_LEFT] {
        let rows = sqlx::query(sql)
            .bind(network.to_string())
            .fetch_all(&mut *connection)
            .await
            .during("transfers.unsettled")?;
        for row in &rows {
            found.insert(Fields::new(row, "transfers", "transfer")?.parse("transfer")?);
        }
    }
    Ok(found)
}
