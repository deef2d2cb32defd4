//! Deliveries that have ended are kept for a while only, and taken away in small steps: who writes money waits for each of them.

use crate::{StoreError, WriteTx, error::During, row::Fields};
use bursar_domain::time::Timestamp;

/// What of an endpoint's ended deliveries is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Those that ended since then,
    pub since: Timestamp,
    /// and of events that are among so many of the newest.
    pub events: i64,
}

/// How many deliveries one step takes away at most.
const STEP: i64 = 200;

/// One step. How many deliveries went; none are left to take away when that is 0.
pub async fn prune(tx: &mut WriteTx, keep: Keep) -> Result<u64, StoreError> {
    const OPERATION: &str = "webhook_deliveries.prune";
    let endpoints = sqlx::query("SELECT id, state, position FROM webhook_endpoints ORDER BY id")
        .fetch_all(tx.connection())
        .await
        .during(OPERATION)?;
    let mut gone = 0;
    for row in &endpoints {
        let fields = Fields::new(row, "webhook_endpoints", "id")?;
        let (id, removed) = (fields.text("id")?, fields.text("state")? == "REMOVED");
        let (since, below) = match removed {
            true => (i64::MAX, i64::MAX),
            false => (keep.since.micros(), fields.int("position")?.saturating_sub(keep.events)),
        };
        for (sql, bound) in [(BY_AGE, since), (BY_NUMBER, below)] {
            let sequences = sqlx::query(sql)
                .bind(id.clone())
                .bind(bound)
                .bind(STEP)
                .fetch_all(tx.connection())
                .await
                .during(OPERATION)?;
            for row in &sequences {
                let sequence = Fields::new(row, "webhook_deliveries", "sequence")?.int("sequence")?;
                for sql in [
                    "DELETE FROM webhook_attempts WHERE endpoint = $1 AND sequence = $2",
                    "DELETE FROM webhook_deliveries WHERE endpoint = $1 AND sequence = $2",
                ] {
                    let query = sqlx::query(sql).bind(id.clone()).bind(sequence);
                    query.execute(tx.connection()).await.during(OPERATION)?;
                }
                gone += 1;
            }
            if gone > 0 {
                return Ok(gone);
            }
        }
        if removed {
            // A name of the governance log may come back, and must not get the same secret again.
            sqlx::query(
                "DELETE FROM webhook_endpoints WHERE id = $1 AND state = 'REMOVED' AND entry IS NULL",
            )
            .bind(id.clone())
            .execute(tx.connection())
            .await
            .during(OPERATION)?;
        }
    }
    Ok(0)
}

/// Walks an index for ended deliveries only.
pub(crate) const BY_AGE: &str = "SELECT sequence FROM webhook_deliveries WHERE endpoint = $1 AND state <> 'PENDING' AND updated_at < $2 \
     ORDER BY updated_at LIMIT $3";
const BY_NUMBER: &str = "SELECT sequence FROM webhook_deliveries WHERE endpoint = $1 AND sequence < $2 AND state <> 'PENDING' \
     ORDER BY sequence LIMIT $3";
