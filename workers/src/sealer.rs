//! Gives each event its place in the audit's chain, in order, at a little distance (docs/adr/0016-audit-chain.md).
//!
//! Nothing waits for it: an event that was edited before it is sealed is exactly as undetectable as a sealed one that is edited, with
//! all seals after it, before co-signers have signed a checkpoint.

use crate::context::Context;
use bursar_domain::audit::Place;
use bursar_store::{Store, StoreError, audit_log};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events that are sealed in one transaction, and the most that are read at once.
const BATCH: u32 = 2_000;
/// Between two transactions at least, so that there is one for many events.
const REST: Duration = Duration::from_secs(1);
/// Other processes' events show without a signal.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the event log has no entry {missing} although there are later ones: rows were deleted; compare it with a backup, and with \
         what `bursar audit verify` says of an earlier export"
    )]
    Missing { missing: u64 },
}

/// Seals until `stop`. Of several processes one is enough; who is first counts.
pub async fn run(context: Context, stop: CancellationToken) {
    loop {
        let notified = context.store.events_notified();
        let sealed = match context.store.leads("seal the audit log").await {
            Ok(true) => seal(&context.store).await,
            Ok(false) => Ok(0),
            Err(error) => Err(error.into()),
        };
        match sealed {
            Ok(count) => metrics::counter!("bursar_audit_sealed_total").increment(count),
            Err(error) => tracing::error!(%error, "the audit log cannot be sealed; trying again"),
        }
        let more = async {
            tokio::time::sleep(REST).await;
            tokio::select! { () = notified => {}, () = tokio::time::sleep(LOOK) => {} }
        };
        tokio::select! { () = stop.cancelled() => return, () = more => {} }
    }
}

/// Seals what is there, and says how many events that were.
///
/// # Errors
/// A store that fails, or a log that has lost an entry.
pub async fn seal(store: &Store) -> Result<u64, SealError> {
    let mut sealed = 0;
    loop {
        let last = audit_log::last_seal(store).await?;
        let entries = audit_log::entries(store, last.sequence, BATCH).await?;
        let mut places = Vec::with_capacity(entries.len());
        let mut place = last;
        for entry in &entries {
            let missing = place.sequence.saturating_add(1);
            if entry.sequence != missing {
                return Err(SealError::Missing { missing });
            }
            place = place.next(entry.digest());
            places.push(place);
        }
        if places.is_empty() || !keep(store, last, &places).await? {
            return Ok(sealed);
        }
        sealed += places.len() as u64;
    }
}

async fn keep(store: &Store, last: Place, places: &[Place]) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let kept = audit_log::seal(&mut tx, last, places).await?;
    tx.commit().await?;
    Ok(kept)
}
