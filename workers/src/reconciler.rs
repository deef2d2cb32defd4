//! Finds every transfer that should move and has no job. Takes no input; the rows are the truth.

use crate::context::Context;
use bursar_store::{StoreError, halts, jobs, transfers};
use tokio_util::sync::CancellationToken;

const BATCH: u32 = 500;
/// What rests in a block has no job either and is found each time, so one batch might never reach the rest. What was nudged
/// just now is not found again unless a worker was faster; this bounds that.
const MAX_BATCHES: usize = 200;

pub async fn run(context: Context, stop: CancellationToken) {
    loop {
        if let Err(error) = show_halts(&context).await {
            tracing::warn!(%error, "cannot read the halts; trying again");
        }
        match sweep(&context).await {
            Ok(0) => {}
            Ok(found) => tracing::debug!(found, "nudged transfers that had no job"),
            Err(error) => tracing::warn!(%error, "cannot sweep; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(context.settings.sweep) => {}
        }
    }
}

async fn show_halts(context: &Context) -> Result<(), StoreError> {
    for network in context.chains.keys() {
        let standing = halts::standing(&context.store, *network).await?.len();
        metrics::gauge!("bursar_halts", "network" => network.to_string()).set(standing as f64);
    }
    Ok(())
}

/// Nudges what has no job, and says how many there were.
pub async fn sweep(context: &Context) -> Result<usize, StoreError> {
    let now = context.now();
    let mut found = 0;
    for _ in 0..MAX_BATCHES {
        let forgotten = transfers::unfinished(&context.store, now, BATCH).await?;
        if forgotten.is_empty() {
            break;
        }
        let mut tx = context.store.write().await?;
        for transfer in &forgotten {
            jobs::nudge(&mut tx, *transfer, now).await?;
        }
        tx.commit().await?;
        found += forgotten.len();
    }
    Ok(found)
}
