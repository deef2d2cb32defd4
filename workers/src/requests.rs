//! What people ask of a transfer that is on its way. Each is one commit: the wish, its event, and a nudge.

use crate::{
    context::Context,
    frozen::give_back,
    governance::GovernanceError,
    steps::replace::cancellation,
    transition::{MoveError, advance_in, still},
};
use bursar_domain::{
    lifecycle::{Fact, Transfer, Verb},
    recall::{self, Beside, InvalidRecall, SignedRecall},
};
use bursar_store::transactions;

/// Asks for a transaction in place of the one under way. Asking for the same again changes nothing, nor does asking for a
/// cancellation that is signed already. [`MoveError::Invalid`] where
/// no signature can exist yet, or a block holds it; on [`MoveError::Stale`] it was moved meanwhile: look again.
pub async fn replace(context: &Context, transfer: Transfer, verb: Verb) -> Result<Transfer, MoveError> {
    // Where it rests behind something that lasts, asking again has it tried at once.
    let rests = transfer.replacing.obstacle.as_ref().is_some_and(|obstacle| obstacle.lasting);
    if !rests && transfer.replacing.wanted.as_ref().is_some_and(|wanted| wanted.verb == verb) {
        return Ok(transfer);
    }
    if verb == Verb::Cancel && transfer.state.is_replaceable() {
        let variants = transactions::of_transfer(&context.store, transfer.id).await?;
        if cancellation(&variants).is_some() {
            return Ok(transfer);
        }
    }
    let mut tx = context.store.write().await?;
    let asked = advance_in(&mut tx, transfer, Fact::ReplacementWanted { verb }, context.now()).await?;
    tx.commit().await?;
    Ok(asked)
}

#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    #[error(transparent)]
    Invalid(#[from] InvalidRecall),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error(transparent)]
    Move(#[from] MoveError),
}
impl From<bursar_store::StoreError> for RecallError {
    fn from(error: bursar_store::StoreError) -> Self {
        Self::Move(error.into())
    }
}

/// Takes one payout back from a batch that no co-signer has begun to sign; what was frozen with it is given back, and the rest is
/// built again. Recalling the same payment again changes nothing, unless the first recall does not count any more by the governance log as it
/// is: the new one takes its place until the transfer has ended, and what is built stays as it is.
pub async fn recall(
    context: &Context,
    transfer: Transfer,
    recall: SignedRecall,
) -> Result<Transfer, RecallError> {
    let log = match &context.governance {
        Some(governance) => Some(governance.state(&context.store).await?),
        None => None,
    };
    let directory = log.as_ref().map(|log| log.directory());
    let (fact, given_back) = match recall::beside(&transfer.intent, &transfer.recalls, &recall, directory)? {
        Beside::Known => return Ok(transfer),
        Beside::Renews => (Fact::RecalledAgain { recall }, None),
        Beside::First => (Fact::Recalled { recall }, transfer.state.transaction()),
    };
    let now = context.now();
    // Asked first, so that nothing is released of a transfer that cannot go back.
    transfer.clone().apply(fact.clone(), now).map_err(MoveError::from)?;
    let record = match given_back {
        Some(transaction) => transactions::get(&context.store, transaction).await?,
        None => None,
    };
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    if let Some(record) = record {
        give_back(&mut tx, &record, now).await?;
    }
    let recalled = advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(recalled)
}
