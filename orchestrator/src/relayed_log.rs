//! The governance log on its way to the co-signers: what they lack when a package needs it, and what is new.

use bursar_domain::governance::log::Entry;
use bursar_signer_client::{Coordinator, GovernanceEntries};
use bursar_store::{Store, governance as kept};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long a new entry, such as a freeze, may take to be announced. Another process may have written it.
const LOOK: Duration = Duration::from_secs(2);
/// Entries that are read at once.
const PAGE: u32 = 256;

struct StoredLog(Store);

#[async_trait::async_trait]
impl GovernanceEntries for StoredLog {
    async fn entries(&self, from: u64) -> Result<Vec<Entry>, String> {
        let stored = kept::entries(&self.0, from, PAGE).await.map_err(|error| error.to_string())?;
        Ok(stored.into_iter().map(|stored| stored.entry).collect())
    }
}

/// Gives co-signers the log, and tells them of what is new until `stop`.
pub async fn run(coordinator: Coordinator, store: Store, stop: CancellationToken) {
    let log = Arc::new(StoredLog(store));
    coordinator.serve_governance(log.clone());
    let mut next: Option<u64> = None;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let looked = match next {
            Some(next) => log.entries(next).await,
            // What is there at the start they learn when a package needs it.
            None => match kept::head(&log.0).await {
                Ok(head) => {
                    next = Some(head.map_or(0, |head| head.seq.saturating_add(1)));
                    continue;
                }
                Err(error) => Err(error.to_string()),
            },
        };
        match looked {
            Ok(entries) => {
                next = next.map(|next| next.saturating_add(entries.len() as u64));
                coordinator.announce(entries);
            }
            Err(error) => tracing::warn!(error, "the governance log cannot be read"),
        }
    }
}
