//! Shows co-signers the orders that wait, where the policy has delays or deadlines.
//!
//! A co-signer counts both from when it first saw an order, by its own clock. Were the first that it sees the package, delays would be waited for a second time,
//! with a nonce or with outputs that are reserved meanwhile. Nothing is decided here: an order that is not shown only waits longer, and is approved later.

use crate::context::Context;
use bursar_domain::{ids::TransferId, intent::SignedIntent, lifecycle::Status};
use bursar_store::{StoreError, transfers};
use std::{collections::BTreeSet, time::Duration};
use tokio_util::sync::CancellationToken;

/// Who is shown orders.
pub trait ShowOrders: Send + Sync {
    /// Shows it to every co-signer that has not seen it, now or when it links. Again does no harm.
    fn show(&self, order: &SignedIntent);
}

/// An order is shown at the latest so long after it came. Another process may have taken it in.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks, however much happens.
const PAUSE: Duration = Duration::from_millis(100);

/// Where an order waits before anything is reserved for it.
const WAITING: [Status; 4] =
    [Status::Submitted, Status::PendingScreening, Status::PendingReview, Status::PendingAuthorization];

/// Shows what waits until `stop`. Without a delay or a deadline in the policy nothing is read but the log's head.
pub async fn run(context: Context, cosigners: impl ShowOrders, stop: CancellationToken) {
    let mut shown = BTreeSet::new();
    while !stop.is_cancelled() {
        let notified = context.store.events_notified();
        if let Err(error) = show(&context, &cosigners, &mut shown).await {
            tracing::warn!(%error, "orders that wait could not be shown to the co-signers");
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = notified => {}
            () = tokio::time::sleep(LOOK) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One look. `shown` is what was shown before and waits still.
pub async fn show(
    context: &Context,
    cosigners: &impl ShowOrders,
    shown: &mut BTreeSet<TransferId>,
) -> Result<(), ShowError> {
    let Some(governance) = &context.governance else { return Ok(()) };
    let log = governance.state(&context.store).await?;
    if !log.times_orders() {
        shown.clear();
        return Ok(());
    }
    let mut waiting = BTreeSet::new();
    for network in context.chains.keys() {
        for status in WAITING {
            waiting.extend(transfers::in_status(&context.store, *network, status).await?);
        }
    }
    shown.retain(|known| waiting.contains(known));
    for id in waiting {
        if !shown.contains(&id)
            && let Some(transfer) = transfers::get(&context.store, id).await?
        {
            cosigners.show(&transfer.intent);
            shown.insert(id);
        }
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Governance(#[from] crate::governance::GovernanceError),
}
