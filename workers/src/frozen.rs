//! Giving back what a frozen package had reserved.

use crate::{
    context::Context,
    transition::{MoveError, advance_in, still},
};
use bursar_domain::{
    effects::Resource,
    lifecycle::{Fact, State, Transfer},
    network::Network,
    time::Timestamp,
};
use bursar_store::{
    WriteTx, reservations,
    transactions::{self, TransactionRecord},
    transfers,
};

/// Releases the reservations of a package that nobody began to sign, within `tx`, which the caller commits together with the
/// transition that ends or thaws its transfer.
pub async fn give_back(
    tx: &mut WriteTx,
    record: &TransactionRecord,
    now: Timestamp,
) -> Result<(), MoveError> {
    transactions::release(tx, record.id).await?;
    rebuild_later(tx, record, now).await
}

/// The account's later nonces or Sequences would wait for ever for the one that is free again. What is not signed yet is built
/// anew from the lowest free number. (Numbers are signed in order, so nothing above an unsigned one has begun.)
pub(crate) async fn rebuild_later(
    tx: &mut WriteTx,
    record: &TransactionRecord,
    now: Timestamp,
) -> Result<(), MoveError> {
    for resource in &record.effects.resources {
        rebuild_above(tx, record.network, resource, now).await?;
    }
    Ok(())
}

/// Builds anew what is not signed yet and holds a number above `resource` of the same account.
pub(crate) async fn rebuild_above(
    tx: &mut WriteTx,
    network: Network,
    resource: &Resource,
    now: Timestamp,
) -> Result<(), MoveError> {
    for id in reservations::held_after(tx, network, resource).await? {
        let Some(later) = transfers::get_in(tx, id).await? else { continue };
        let State::PendingSignature { transaction, signing_started: false } = later.state else {
            continue;
        };
        if later.may_have_been_paid_unseen() {
            continue;
        }
        let reason = format!("{resource} is free again; built again from the lowest free number");
        transactions::release(tx, transaction).await?;
        advance_in(tx, later, Fact::Thawed { reason }, now).await?;
    }
    Ok(())
}

/// Withdraws a transfer that no co-signer has begun to sign. [`MoveError::Invalid`] says why that is too late; on
/// [`MoveError::Stale`] it was moved meanwhile: look again.
pub async fn abort(context: &Context, transfer: Transfer) -> Result<Transfer, MoveError> {
    let record = match transfer.state {
        State::PendingSignature { transaction, .. } => transactions::get(&context.store, transaction).await?,
        _ => None,
    };
    let now = context.now();
    // Asked first, so that nothing is released of a transfer that cannot be withdrawn.
    transfer.clone().apply(Fact::Cancelled, now)?;
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    if let Some(record) = record {
        give_back(&mut tx, &record, now).await?;
    }
    let aborted = advance_in(&mut tx, transfer, Fact::Cancelled, now).await?;
    tx.commit().await?;
    Ok(aborted)
}
