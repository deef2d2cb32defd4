//! Moving a transfer: the only place that writes a new state.

use crate::context::Context;
use bursar_domain::{
    lifecycle::{Fact, InvalidTransition, Transfer},
    time::Timestamp,
};
use bursar_store::{
    StoreError, WriteTx,
    transfers::{self, Saved},
};

#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Invalid(#[from] InvalidTransition),
    /// Another worker moved it first. Nothing was written; look again.
    #[error("the transfer was moved by another worker")]
    Stale,
}

/// Applies `fact` within `tx`, which the caller commits. On [`MoveError::Stale`] the caller must drop `tx`.
pub async fn advance_in(
    tx: &mut WriteTx,
    transfer: Transfer,
    fact: Fact,
    now: Timestamp,
) -> Result<Transfer, MoveError> {
    let transition = transfer.apply(fact, now)?;
    match transfers::save(tx, &transition).await? {
        Saved::Stale => Err(MoveError::Stale),
        Saved::Applied => {
            let Transfer { id, state, sub_status, reason, .. } = &transition.transfer;
            let (to, reason) = (state.status(), reason.as_deref().unwrap_or_default());
            tracing::info!(transfer = %id, from = %transition.from, %to, ?sub_status, reason, "transfer moved");
            metrics::counter!("bursar_transitions_total", "to" => to.to_string()).increment(1);
            Ok(transition.transfer)
        }
    }
}

/// [`MoveError::Stale`] unless the transfer still is as it was read. For what must be refused before the compare-and-set at
/// its end: otherwise a worker that comes late would claim, release or sign first, and trip over the store's own guards.
pub async fn still(tx: &mut WriteTx, transfer: &Transfer) -> Result<(), MoveError> {
    match transfers::get_in(tx, transfer.id).await? {
        Some(current) if current.version == transfer.version => Ok(()),
        _ => Err(MoveError::Stale),
    }
}

/// Applies `fact` in a transaction of its own. A fact that says nothing new writes nothing.
pub async fn advance(context: &Context, transfer: Transfer, fact: Fact) -> Result<Transfer, MoveError> {
    if transfer.already_says(&fact) {
        return Ok(transfer);
    }
    advance_anew(context, transfer, fact).await
}

/// As [`advance`], where the time of what is said again counts.
pub async fn advance_anew(context: &Context, transfer: Transfer, fact: Fact) -> Result<Transfer, MoveError> {
    let mut tx = context.store.write().await?;
    let moved = advance_in(&mut tx, transfer, fact, context.now()).await?;
    tx.commit().await?;
    Ok(moved)
}
