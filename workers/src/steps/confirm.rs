//! CONFIRMING → COMPLETED or FAILED: only what the follower has walked counts, and only at the finality depth.

use super::{Progress, ports, record};
use crate::{
    context::Context,
    engine::StepError,
    transition::{advance, advance_in},
};
use bursar_domain::{
    chain::TransactionOutcome,
    lifecycle::{Fact, State, Transfer},
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
    // The node's rule gives the depth; it is counted from the block that the follower has reached, because only up to there are
    // the hashes known to be linked to each other.
    let tips = ports.tips(context.now()).await?;
    let unfinal = tips.tip.height.saturating_sub(tips.final_height);
    let walked = chain::cursor(&context.store, network).await?.map_or(0, |block| block.height);
    if inclusion.block.height.saturating_add(unfinal) > walked {
        return Ok(Progress::Rest); // The next block nudges it.
    }
    let fact = match inclusion.outcome {
        TransactionOutcome::Succeeded => Fact::Finalized { block: inclusion.block },
        TransactionOutcome::Failed { reason } => Fact::FailedOnChain { reason },
    };
    let now = context.now();
    let mut tx = context.store.write().await?;
    transactions::mark_finalized(&mut tx, record.id, now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}
