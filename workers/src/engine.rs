//! One look at one transfer.

use crate::{context::Context, governance::GovernanceError, steps};
use bursar_domain::{
    hd::DeriveError,
    ids::{TransactionId, TransferId, WalletId},
    intent::InvalidIntent,
    lifecycle::{Step, Transfer},
    network::Network,
    ports::{AssembleError, DecodeError, NodeError},
    recall::InvalidRecall,
    signing::Scheme,
    verify::EffectsMismatch,
};
use bursar_store::{StoreError, transfers};
use std::time::Duration;
use tracing::Instrument;

pub use crate::{steps::Progress, transition::MoveError};

/// What the queue does with the job afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing to do until something nudges the transfer.
    Rest,
    /// Look again after this time, without calling it a failure.
    LookAgain(Duration),
    /// A worker that reaches enough co-signers is to look, at once.
    LeaveToSigner,
}

/// A step could not do its work. The job is tried again with growing pauses; the transfer stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Move(#[from] MoveError),
    #[error(transparent)]
    Governance(#[from] GovernanceError),
    #[error(transparent)]
    Node(#[from] NodeError),
    #[error("this installation has no node configured for {0}")]
    UnservedNetwork(Network),
    #[error("wallet {0} of the transfer is not in the store")]
    UnknownWallet(WalletId),
    #[error("transaction {0} of the transfer is not in the store")]
    UnknownTransaction(TransactionId),
    #[error("the transfer's source address {0} does not belong to its wallet")]
    UnknownSource(String),
    #[error("the intent makes no sense: {0}")]
    Intent(InvalidIntent),
    #[error("the stored recalls do not fit the order: {0}")]
    Recall(#[from] InvalidRecall),
    /// For the queue only: see [`Next::LeaveToSigner`].
    #[error("too few co-signers are online here, and another worker may reach enough")]
    LeaveToSigner,
    #[error("no {0} key is known yet")]
    NoKey(Scheme),
    #[error(transparent)]
    Derive(#[from] DeriveError),
    #[error("our own decoder does not accept what was built: {0}")]
    Decode(#[from] DecodeError),
    #[error("what was built is not what was intended: {0}")]
    Mismatch(#[from] EffectsMismatch),
    #[error("the co-signers' signatures do not fit: {0}")]
    Assemble(#[from] AssembleError),
    #[error("the step's computation was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl From<bursar_domain::lifecycle::InvalidTransition> for StepError {
    fn from(invalid: bursar_domain::lifecycle::InvalidTransition) -> Self {
        Self::Move(invalid.into())
    }
}

/// The most steps in one look; a transfer needs eight from submission to the first broadcast.
const MAX_STEPS: usize = 16;

/// Moves the transfer as far as it can go now.
pub async fn look_at(context: &Context, id: TransferId) -> Result<Next, StepError> {
    let span = tracing::info_span!("transfer", transfer = %id);
    async {
        for _ in 0..MAX_STEPS {
            let Some(transfer) = transfers::get(&context.store, id).await? else {
                tracing::warn!("a job names a transfer that does not exist");
                return Ok(Next::Rest);
            };
            match steps_from(context, transfer.clone()).await {
                Ok(Progress::Moved) => {}
                Ok(Progress::Wait(pause)) => return Ok(Next::LookAgain(pause)),
                Ok(Progress::Rest) => return Ok(Next::Rest),
                // Someone else moved it: look at what it is now.
                Err(StepError::Move(MoveError::Stale)) => {}
                Err(StepError::LeaveToSigner) => return Ok(Next::LeaveToSigner),
                Err(error) => {
                    steps::tell(context, transfer, &error).await?;
                    return Err(error);
                }
            }
        }
        Ok(Next::LookAgain(context.settings.retry))
    }
    .instrument(span)
    .await
}

/// Runs the one step that is next for the transfer as it was read, and nothing together with it. Running it again, or with a
/// transfer that someone moved since, changes nothing more.
pub async fn run_step(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let mut context = context.clone();
    context.settings.together = false;
    steps_from(&context, transfer).await
}

/// Runs the step that is next, and what the settings let it be [together](crate::Settings::together) with.
async fn steps_from(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let Some(step) = transfer.state.next_step() else {
        return match steps::confirm::reopen(context, transfer.clone()).await? {
            true => Ok(Progress::Moved),
            false => steps::child::settle(context, &transfer).await,
        };
    };
    let started = context.now();
    let name = steps::name(step);
    let result = async {
        match step {
            Step::Screen => steps::screen::run(context, transfer).await,
            Step::Review => steps::review::run(context, transfer).await,
            Step::Authorize => steps::authorize::run(context, transfer).await,
            Step::Prepare => steps::prepare::run(context, transfer).await,
            Step::Sign => steps::sign::run(context, transfer).await,
            Step::Broadcast => steps::broadcast::run(context, transfer).await,
            Step::Confirm => steps::confirm::run(context, transfer).await,
        }
    }
    .instrument(tracing::debug_span!("step", name))
    .await;
    metrics::histogram!("bursar_step_seconds", "step" => name)
        .record(context.now().since(started).as_secs_f64());
    result
}
