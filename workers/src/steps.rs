//! One module per lifecycle step. Each is safe to run any number of times.

pub mod authorize;
pub mod broadcast;
pub mod child;
pub mod confirm;
mod dead;
pub mod halted;
pub mod prepare;
pub mod replace;
pub mod review;
pub mod screen;
pub mod sign;

use crate::{
    context::{ChainPorts, Context},
    engine::StepError,
    governance::GovernanceError,
    transition::{MoveError, advance},
};
use bursar_domain::{
    ids::TransactionId,
    lifecycle::{Fact, State, Step, SubStatus, Transfer},
    network::Network,
    time::Timestamp,
};
use bursar_store::transactions::{self, TransactionRecord};
use std::time::Duration;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The transfer is in another state (or was moved by someone else): look at it again now.
    Moved,
    /// Nothing can be done now; the transfer says why.
    Wait(Duration),
    /// A block, a person or nobody moves it next.
    Rest,
}

pub const fn name(step: Step) -> &'static str {
    match step {
        Step::Screen => "screen",
        Step::Review => "review",
        Step::Authorize => "authorize",
        Step::Prepare => "prepare",
        Step::Sign => "sign",
        Step::Broadcast => "broadcast",
        Step::Confirm => "confirm",
    }
}

/// How long the words of a reason stay as they are while its kind does: amounts and fees in them move all the time, and each
/// change would be an event.
const REWORD: Duration = Duration::from_secs(60);

/// As [`advance`], for what may be said again and again.
async fn say(context: &Context, transfer: Transfer, fact: Fact) -> Result<Transfer, MoveError> {
    let now = context.now();
    let next = transfer.clone().apply(fact.clone(), now)?.transfer;
    let same_kind = next.state == transfer.state && next.sub_status == transfer.sub_status;
    if same_kind && transfer.reason.is_some() && left(now, transfer.updated_at, REWORD).is_some() {
        return Ok(transfer);
    }
    advance(context, transfer, fact).await
}

/// Says on the transfer that its step cannot be taken because of a node or of the governance log, which people can do something about. The
/// queue keeps the error, too, but that is seen by nobody who looks at the transfer. What waits for a person says that already, and from
/// the first broadcast on more than this is to be said.
pub(crate) async fn tell(context: &Context, transfer: Transfer, error: &StepError) -> Result<(), StepError> {
    let sub_status = match error {
        // The database does not answer: then nothing can be written either.
        StepError::Governance(GovernanceError::Store(_)) => return Ok(()),
        StepError::Governance(_) => SubStatus::GovernanceUnavailable,
        StepError::Node(_) => SubStatus::NodeUnavailable,
        _ => return Ok(()),
    };
    let for_a_person = matches!(
        transfer.sub_status,
        Some(SubStatus::Unexplained | SubStatus::SigningInconclusive | SubStatus::SpentElsewhere)
    );
    let here = matches!(
        transfer.state,
        State::PendingAuthorization | State::Queued | State::PendingSignature { .. }
    );
    if for_a_person || !here {
        return Ok(());
    }
    match say(context, transfer, Fact::Waiting { sub_status, reason: error.to_string() }).await {
        // Somebody else moved it: then that is what is to be said.
        Ok(_) | Err(MoveError::Stale) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What went wrong less than `pause` ago is not tried again yet, whatever nudged the transfer meanwhile. Its own transitions
/// nudge it too, so without this a step that fails would run without a break.
fn cooling(context: &Context, transfer: &Transfer, pause: Duration) -> Option<Progress> {
    transfer.reason.as_ref()?;
    left(context.now(), transfer.updated_at, pause).map(Progress::Wait)
}

/// What is left of a pause that began at `since`. Nothing is if that lies in the future: a clock that ran ahead was set back, and
/// nobody is to wait until it has caught up.
fn left(now: Timestamp, since: Timestamp, pause: Duration) -> Option<Duration> {
    let left = pause.saturating_sub(now.since(since));
    (since <= now && !left.is_zero()).then_some(left)
}

/// Leaves the transfer where it is and says why.
async fn wait(
    context: &Context,
    transfer: Transfer,
    sub_status: SubStatus,
    reason: impl ToString,
) -> Result<Progress, StepError> {
    say(context, transfer, Fact::Waiting { sub_status, reason: reason.to_string() }).await?;
    Ok(Progress::Wait(context.settings.retry))
}

/// Ends the transfer if its intent's time is over. Only for states in which nothing can have been signed.
async fn expire_if_over(context: &Context, transfer: &Transfer) -> Result<bool, StepError> {
    if context.now() < transfer.intent.intent.expires_at {
        return Ok(false);
    }
    advance(context, transfer.clone(), Fact::Expired { sub_status: SubStatus::IntentExpired }).await?;
    Ok(true)
}

/// All transactions that were ever made for the transfer, oldest first.
async fn variants(context: &Context, transfer: &Transfer) -> Result<Vec<TransactionRecord>, StepError> {
    Ok(transactions::of_transfer(&context.store, transfer.id).await?)
}

/// The one that a block holds, whichever it is: also one that was given up, and one whose signature never reached us.
fn in_block(variants: &[TransactionRecord]) -> Option<Fact> {
    let own = variants.iter().filter(|record| !record.is_child());
    let mut included = own.filter_map(|record| Some((record.id, record.inclusion.as_ref()?.block.clone())));
    included.next().map(|(transaction, block)| Fact::Included { transaction, block })
}

/// Those that may still be in a block.
fn live(variants: &[TransactionRecord]) -> impl DoubleEndedIterator<Item = &TransactionRecord> + Clone {
    variants.iter().filter(|record| record.ended.is_none() && !record.is_child())
}

fn find(variants: &[TransactionRecord], id: TransactionId) -> Result<&TransactionRecord, StepError> {
    variants.iter().find(|record| record.id == id).ok_or(StepError::UnknownTransaction(id))
}

fn ports<'a>(context: &'a Context, transfer: &Transfer) -> Result<(Network, &'a ChainPorts), StepError> {
    let network = transfer.intent.intent.network();
    let ports = context.chain(network).ok_or(StepError::UnservedNetwork(network))?;
    Ok((network, ports))
}
