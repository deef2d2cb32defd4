//! SIGNED → BROADCASTING → CONFIRMING: the stored bytes are handed to the network, again and again, until a block holds them.
//!
//! "Maybe sent" is written before the first attempt, so that a crash in between leaves the truth behind. The same bytes are sent
//! after every doubt; nothing is ever rebuilt here.

use super::{Progress, child, cooling, dead, find, in_block, left, ports, replace, say, sign, variants};
use crate::{
    context::Context,
    engine::StepError,
    steps::replace::Side,
    transition::{MoveError, advance, advance_in},
};
use bursar_domain::{
    lifecycle::{Fact, State, Transfer},
    package::Purpose,
    ports::BroadcastOutcome,
};
use bursar_store::transactions::{self, TransactionRecord};
use std::time::Duration;

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let Some(transaction) = transfer.state.transaction() else { return Ok(Progress::Moved) };
    let variants = variants(context, &transfer).await?;
    if let Some(included) = in_block(&variants) {
        advance(context, transfer, included).await?;
        return Ok(Progress::Moved);
    }
    if let Some(progress) = dead::check(context, &transfer, &variants).await? {
        return Ok(progress);
    }
    let record = find(&variants, transaction)?;
    // A reorganisation, or an answer that came late, may have put the payment back in the place of the cancellation.
    if record.purpose != Purpose::Cancel
        && let Some(cancellation) = replace::cancellation(&variants)
    {
        advance(context, transfer, Fact::Superseded { by: cancellation.id, cancels: true }).await?;
        return Ok(Progress::Moved);
    }
    match replace::run(context, transfer, &variants).await? {
        Side::Moved => Ok(Progress::Moved),
        Side::Hold(pause) => Ok(Progress::Wait(pause)),
        Side::Beside(transfer, pause) => {
            let (_, ports) = ports(context, &transfer)?;
            let progress = send(context, *transfer, record).await?;
            child::send(context, ports, record, &variants).await?;
            Ok(match (progress, pause) {
                (Progress::Wait(longer), Some(pause)) => Progress::Wait(longer.min(pause)),
                (progress, _) => progress,
            })
        }
    }
}

async fn send(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
) -> Result<Progress, StepError> {
    if let Some(pause) = recently_sent(context, &transfer, record) {
        return Ok(Progress::Wait(pause));
    }
    if let Some(progress) = cooling(context, &transfer, context.settings.retry) {
        return Ok(progress);
    }
    let (_, ports) = ports(context, &transfer)?;
    let Some(signed) = &record.signed else {
        return sign::again(context, transfer, record.clone()).await;
    };
    let transfer = match transfer.state {
        State::Signed { .. } | State::Dropped { .. } => {
            advance(context, transfer, Fact::MaybeSent { reason: None }).await?
        }
        _ => transfer,
    };
    match ports.node.broadcast(signed).await {
        BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown => {
            mark_sent(context, transfer, record).await?;
            Ok(Progress::Wait(context.settings.rebroadcast))
        }
        BroadcastOutcome::MaybeSent { reason } => {
            say(context, transfer, Fact::MaybeSent { reason: Some(reason) }).await?;
            Ok(Progress::Wait(context.settings.retry))
        }
        BroadcastOutcome::Rejected { reason } => {
            // The block that holds it, or another one of the transfer, may have arrived between our look and the node's answer.
            if in_block(&variants(context, &transfer).await?).is_some() {
                return Ok(Progress::Moved);
            }
            say(context, transfer, Fact::RelayRefused { reason }).await?;
            Ok(Progress::Wait(context.settings.retry))
        }
    }
}

/// How long to leave a transaction alone that a node has accepted.
fn recently_sent(context: &Context, transfer: &Transfer, record: &TransactionRecord) -> Option<Duration> {
    let State::Broadcasting { maybe_sent: false, .. } = transfer.state else { return None };
    left(context.now(), record.broadcast_at?, context.settings.rebroadcast)
}

async fn mark_sent(
    context: &Context,
    transfer: Transfer,
    record: &TransactionRecord,
) -> Result<(), StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    transactions::mark_broadcast(&mut tx, record.id, now).await?;
    let moved = match transfer.already_says(&Fact::Sent) {
        true => Ok(transfer),
        false => advance_in(&mut tx, transfer, Fact::Sent, now).await,
    };
    match moved {
        Ok(_) => tx.commit().await?,
        Err(MoveError::Stale) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
