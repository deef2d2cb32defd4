//! CONFIRMING → COMPLETED or FAILED: only what the follower has walked counts, and only at the finality depth.

use super::{Progress, ports, record};
use crate::{
    context::Context,
    engine::StepError,
    follower,
    transition::{advance, advance_in},
};
use bursar_domain::{
    chain::TransactionOutcome,
    lifecycle::{Fact, FundsMoved, State, Transfer},
};
use bursar_store::{chain, transactions};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let State::Confirming { transaction, block: known } = &transfer.state else { return Ok(Progress::Moved) };
    let (network, ports) = ports(context, &transfer)?;
    let record = record(context, *transaction).await?;
    let Some(inclusion) = record.inclusion else {
        advance(context, transfer, Fact::ReorgedOut).await?;
        return Ok(Progress::Moved);
    };
    if inclusion.block != *known {
        advance(context, transfer, Fact::Included { block: inclusion.block }).await?;
        return Ok(Progress::Moved);
    }
    let walked = chain::cursor(&context.store, network).await?.map_or(0, |block| block.height);
    let mut tips = ports.tips(context.now()).await?;
    if tips.tip.height < walked {
        tips = ports.fresh_tips(context.now()).await?;
    }
    if inclusion.block.height > follower::final_height(&tips, walked) {
        return Ok(Progress::Rest); // The next block nudges it.
    }
    let failed = |funds_moved, reason: &String| Fact::FailedOnChain { funds_moved, reason: reason.clone() };
    let fact = match inclusion.outcome {
        TransactionOutcome::Succeeded => Fact::Finalized { block: inclusion.block.clone() },
        TransactionOutcome::Failed { ref reason } => failed(FundsMoved::FeeOnly, reason),
        TransactionOutcome::Unclear { ref reason } => {
            tracing::error!(reason, "it is unclear whether a payment was made");
            failed(FundsMoved::Unknown, reason)
        }
    };
    let now = context.now();
    let mut tx = context.store.write().await?;
    // The follower may have gone back since we looked; nothing moves under this lock.
    let current = transactions::get_in(&mut tx, record.id).await?;
    if current.and_then(|current| current.inclusion) != Some(inclusion) {
        return Ok(Progress::Moved);
    }
    transactions::mark_finalized(&mut tx, record.id, now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// A reorganisation deeper than the finality threshold took back what was completed: it is in flight again. Gives whether it
/// was so.
pub async fn reopen(context: &Context, transfer: Transfer) -> Result<bool, StepError> {
    let State::Completed { transaction, block } = &transfer.state else { return Ok(false) };
    let record = record(context, *transaction).await?;
    if record.inclusion.is_some_and(|inclusion| inclusion.block == *block) {
        return Ok(false);
    }
    tracing::error!(block = block.height, "a completed payment was taken back by a deep reorganisation");
    metrics::counter!("bursar_reopened_total").increment(1);
    advance(context, transfer, Fact::ReorgedOut).await?;
    Ok(true)
}
