//! CONFIRMING → COMPLETED, REPLACED or FAILED: only what the follower has walked counts, and only at the finality depth.

use super::{Progress, find, in_block, ports, variants};
use crate::{
    context::Context,
    engine::StepError,
    follower,
    transition::{advance, advance_in},
};
use bursar_domain::{
    chain::TransactionOutcome,
    ids::TransactionId,
    lifecycle::{Fact, FundsMoved, State, SubStatus, Transfer},
    package::Purpose,
};
use bursar_store::{
    chain,
    transactions::{self, Ended, Inclusion, TransactionRecord},
    transfers,
};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let State::Confirming { transaction, block: known } = &transfer.state else { return Ok(Progress::Moved) };
    let (network, ports) = ports(context, &transfer)?;
    let variants = variants(context, &transfer).await?;
    let record = find(&variants, *transaction)?;
    let Some(inclusion) = &record.inclusion else {
        let fact = in_block(&variants).unwrap_or(Fact::ReorgedOut);
        advance(context, transfer, fact).await?;
        return Ok(Progress::Moved);
    };
    if inclusion.block != *known {
        let fact = Fact::Included { transaction: record.id, block: inclusion.block.clone() };
        advance(context, transfer, fact).await?;
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
    let fact = end(&record.purpose, inclusion);
    let now = context.now();
    let mut tx = context.store.write().await?;
    // The follower may have gone back since we looked; nothing moves under this lock.
    let current = transactions::get_in(&mut tx, record.id).await?;
    if current.and_then(|current| current.inclusion).as_ref() != Some(inclusion) {
        return Ok(Progress::Moved);
    }
    transactions::mark_finalized(&mut tx, record.id, now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// What a final block with the transaction means for its transfer.
fn end(purpose: &Purpose, inclusion: &Inclusion) -> Fact {
    let block = inclusion.block.clone();
    let failed = |funds_moved, reason: &String| Fact::FailedOnChain { funds_moved, reason: reason.clone() };
    match (purpose, &inclusion.outcome) {
        // With or without effect: it has used up what the payment needed.
        (Purpose::Cancel, _) => Fact::CancelledOnChain { block },
        (_, TransactionOutcome::Succeeded) => Fact::Finalized { block },
        (_, TransactionOutcome::Failed { reason }) => failed(FundsMoved::FeeOnly, reason),
        (_, TransactionOutcome::Unclear { reason }) => {
            tracing::error!(reason, "it is unclear whether a payment was made");
            failed(FundsMoved::Unknown, reason)
        }
    }
}

/// A reorganisation deeper than the finality threshold took back the block by which the transfer had ended, or put a transaction
/// into a block that was proven dead: it is open again, with the alarm `transfer.reopened`. Gives whether it was so.
pub async fn reopen(context: &Context, transfer: Transfer) -> Result<bool, StepError> {
    let may_reopen = transfer.state.ended_in().is_some()
        || matches!(transfer.state, State::Expired | State::Failed { .. });
    if !may_reopen {
        return Ok(false);
    }
    let variants = variants(context, &transfer).await?;
    let now_in = in_block(&variants);
    let fact = match (transfer.state.ended_in(), now_in) {
        (Some(block), _) => {
            let still = variants.iter().any(|record| {
                Some(record.id) == transfer.state.transaction()
                    && record.inclusion.as_ref().is_some_and(|inclusion| inclusion.block == *block)
            });
            if still {
                return Ok(false);
            }
            Fact::ReorgedOut
        }
        (None, Some(included)) => included,
        (None, None) => match unspent_again(context, &transfer, &variants).await? {
            Some(transaction) => Fact::Revived { transaction },
            None => return Ok(false),
        },
    };
    let now = context.now();
    let old = transfer.clone();
    tracing::error!(from = %old.status(), "what had ended is open again: a deep reorganisation");
    metrics::counter!("bursar_reopened_total").increment(1);
    let mut tx = context.store.write().await?;
    if let Fact::Revived { .. } = fact {
        for record in variants.iter().filter(|record| matches!(record.ended, Some(Ended::Dead { .. }))) {
            transactions::revive(&mut tx, record.id).await?;
        }
    }
    let reopened = advance_in(&mut tx, transfer, fact, now).await?;
    transfers::reopened(&mut tx, &old, &reopened).await?;
    tx.commit().await?;
    Ok(true)
}

/// The newest signed transaction of a transfer that ended because a stranger had used what it needs, or because that would never exist, if
/// neither is so any more.
async fn unspent_again(
    context: &Context,
    transfer: &Transfer,
    variants: &[TransactionRecord],
) -> Result<Option<TransactionId>, StepError> {
    if transfer.sub_status != Some(SubStatus::SpentElsewhere) {
        return Ok(None);
    }
    let dead = || {
        let own = variants.iter().filter(|record| !record.is_child());
        own.filter(|record| matches!(record.ended, Some(Ended::Dead { .. })))
    };
    let resources: Vec<_> = dead().flat_map(|record| record.effects.resources.iter().cloned()).collect();
    let network = transfer.intent.intent.network();
    if !chain::foreign_spends(&context.store, network, &resources).await?.is_empty()
        || !transactions::gone_parents(&context.store, network, &resources).await?.is_empty()
    {
        return Ok(None);
    }
    Ok(dead().rfind(|record| record.signed.is_some()).map(|record| record.id))
}
