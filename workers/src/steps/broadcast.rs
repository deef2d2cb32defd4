//! SIGNED → BROADCASTING → CONFIRMING: the stored bytes are handed to the network, again and again, until a block holds them.
//!
//! "Maybe sent" is written before the first attempt, so that a crash in between leaves the truth behind. The same bytes are sent
//! after every doubt; nothing is ever rebuilt here.

use super::{Progress, cooling, included, ports, record, say, sign::end_if_dead};
use crate::{
    context::Context,
    engine::StepError,
    transition::{MoveError, advance, advance_in},
};
use bursar_domain::{
    effects::Validity,
    lifecycle::{Fact, State, Transfer},
    ports::BroadcastOutcome,
};
use bursar_store::{
    chain,
    transactions::{self, TransactionRecord},
};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let Some(transaction) = transfer.state.transaction() else { return Ok(Progress::Moved) };
    let (network, ports) = ports(context, &transfer)?;
    let record = record(context, transaction).await?;
    if let Some(inclusion) = &record.inclusion {
        return included(context, transfer, inclusion).await;
    }
    if let Validity::UntilLedger(last) = record.effects.validity {
        let walked = chain::cursor(&context.store, network).await?.map_or(0, |block| block.height);
        if walked >= u64::from(last) {
            return end_if_dead(context, ports, transfer, &record).await;
        }
    }
    if let Some(pause) = recently_sent(context, &transfer, &record) {
        return Ok(Progress::Wait(pause));
    }
    if let Some(progress) = cooling(context, &transfer, context.settings.retry) {
        return Ok(progress);
    }
    let signed = record.signed.as_ref().ok_or(StepError::NoSignedBytes(record.id))?;
    let transfer = match transfer.state {
        State::Signed { .. } | State::Dropped { .. } => {
            advance(context, transfer, Fact::MaybeSent { reason: None }).await?
        }
        _ => transfer,
    };
    match ports.node.broadcast(signed).await {
        BroadcastOutcome::Accepted | BroadcastOutcome::AlreadyKnown => {
            mark_sent(context, transfer, &record).await?;
            Ok(Progress::Wait(context.settings.rebroadcast))
        }
        BroadcastOutcome::MaybeSent { reason } => {
            say(context, transfer, Fact::MaybeSent { reason: Some(reason) }).await?;
            Ok(Progress::Wait(context.settings.retry))
        }
        BroadcastOutcome::Rejected { reason } => {
            // The block that holds it may have arrived between our look and the node's answer.
            if super::record(context, record.id).await?.inclusion.is_some() {
                return Ok(Progress::Moved);
            }
            say(context, transfer, Fact::RelayRefused { reason }).await?;
            Ok(Progress::Wait(context.settings.retry))
        }
    }
}

/// How long to leave a transaction alone that a node has accepted.
fn recently_sent(
    context: &Context,
    transfer: &Transfer,
    record: &TransactionRecord,
) -> Option<std::time::Duration> {
    let State::Broadcasting { maybe_sent: false, .. } = transfer.state else { return None };
    let elapsed = context.now().since(record.broadcast_at?);
    context.settings.rebroadcast.checked_sub(elapsed).filter(|left| !left.is_zero())
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
