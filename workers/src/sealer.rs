//! Gives each event its place in the audit's chain, in order, at a little distance (docs/adr/0016-audit-chain.md).
//!
//! Nothing waits for it: an event that was edited before it is sealed is exactly as undetectable as a sealed one that is edited, with
//! all seals after it, before co-signers have signed a checkpoint.

use bursar_domain::audit::Place;
use bursar_store::{Store, StoreError, audit_log};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Events that are sealed in one transaction, and the most that are read at once.
const BATCH: u32 = 2_000;
/// Between two transactions at least, so that there is one for many events.
const REST: Duration = Duration::from_secs(1);
/// While many events wait, so many times as long as the last transaction took is nothing done.
const SHARE: u32 = 3;
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
pub async fn run(store: Store, stop: CancellationToken) {
    loop {
        let notified = store.events_notified();
        let began = tokio::time::Instant::now();
        let sealed = match store.leads("seal the audit log").await {
            Ok(true) => seal_some(&store).await,
            Ok(false) => Ok(0),
            Err(error) => Err(error.into()),
        };
        let behind = matches!(&sealed, Ok(count) if *count >= u64::from(BATCH));
        match sealed {
            Ok(count) => metrics::counter!("bursar_audit_sealed_total").increment(count),
            Err(error) => tracing::error!(%error, "the audit log cannot be sealed; trying again"),
        }
        let more = async {
            // A log from before there were seals can be millions long: the disk is others' for the greater part of the time.
            if behind {
                return tokio::time::sleep(began.elapsed() * SHARE).await;
            }
            tokio::time::sleep(REST).await;
            tokio::select! { () = notified => {}, () = tokio::time::sleep(LOOK) => {} }
        };
        tokio::select! { () = stop.cancelled() => return, () = more => {} }
    }
}

/// Seals all that is there, and says how many events that were.
///
/// # Errors
/// A store that fails, or a log that has lost an entry.
pub async fn seal(store: &Store) -> Result<u64, SealError> {
    let mut sealed = 0;
    loop {
        match seal_some(store).await? {
            0 => return Ok(sealed),
            count => sealed += count,
        }
    }
}

/// Seals [`BATCH`] events at most; none if another process was faster.
async fn seal_some(store: &Store) -> Result<u64, SealError> {
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
        return Ok(0);
    }
    Ok(places.len() as u64)
}

async fn keep(store: &Store, last: Place, places: &[Place]) -> Result<bool, StoreError> {
    let mut tx = store.write().await?;
    let kept = audit_log::seal(&mut tx, last, places).await?;
    tx.commit().await?;
    Ok(kept)
}
