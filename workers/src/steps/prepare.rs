//! QUEUED → PENDING_SIGNATURE: every choice (inputs, nonce, fee, change address) is made, reserved and stored in one transaction
//! with the transition. Nothing that follows chooses again.

use super::{
    Progress,
    authorize::{self, Basis, Standing},
    cooling, expire_if_over, halted, sign, wait,
};
use crate::{
    context::Context,
    engine::StepError,
    preflight::{self, Draft, DraftError, draft_for},
    screening::standing,
    transition::{advance, advance_in, still},
};
use bursar_domain::{
    ids::{AddressId, TransactionId},
    lifecycle::{Fact, SubStatus, Transfer},
    package::Purpose,
    ports::BuildError,
    time::Timestamp,
};
use bursar_store::{
    WriteTx,
    addresses::{self, AddressRecord},
    transactions::{self, TransactionRecord},
};

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    if let Some(hold) = halted::by(context, &transfer, &Purpose::Pay).await? {
        return wait(context, transfer, hold.sub_status(), hold).await;
    }
    if let Some(lapsed) = standing::lapsed(context, &transfer).await? {
        advance(context, transfer, lapsed).await?;
        return Ok(Progress::Moved);
    }
    let basis = match authorize::standing(context, &transfer).await? {
        Standing::Holds(basis) => *basis,
        Standing::Lapsed { reason } => {
            advance(context, transfer, Fact::AuthorizationLapsed { reason }).await?;
            return Ok(Progress::Moved);
        }
        Standing::Closed { reason, opens } => {
            wait(context, transfer, SubStatus::AwaitingWindow, reason).await?;
            let pause = authorize::until(opens, context.now());
            return Ok(Progress::Wait(pause.min(authorize::LOOK)));
        }
    };
    if let Some(rest) = authorize::resting(context, &transfer).await? {
        return Ok(Progress::Wait(rest));
    }
    // What was held needs no pause after that, nor what has rested.
    let waited = halted::held(transfer.sub_status)
        || authorize::waited(transfer.sub_status)
        || transfer.sub_status == Some(SubStatus::SignerNotYet);
    if !waited && let Some(progress) = cooling(context, &transfer, context.settings.retry) {
        return Ok(progress);
    }
    match draft_for(context, &transfer).await {
        Ok(draft) => freeze(context, transfer, draft, basis).await,
        Err(DraftError::Build(error)) => match fate(&error) {
            Fate::Wait(sub_status) => wait(context, transfer, sub_status, error).await,
            Fate::Fail(sub_status) => {
                advance(context, transfer, Fact::Failed { sub_status, reason: error.to_string() }).await?;
                Ok(Progress::Moved)
            }
        },
        Err(DraftError::WouldFail { reason }) => wait(context, transfer, SubStatus::WouldFail, reason).await,
        Err(DraftError::Node(error)) => wait(context, transfer, SubStatus::NodeUnavailable, error).await,
        Err(DraftError::Step(error @ StepError::NoKey(_))) => {
            wait(context, transfer, SubStatus::SignersOffline, error).await
        }
        // A defect of ours, and nothing was kept: people must see it on the transfer.
        Err(DraftError::Step(error @ (StepError::Decode(_) | StepError::Mismatch(_)))) => {
            wait(context, transfer, SubStatus::InvalidTransaction, error).await
        }
        Err(DraftError::Step(error)) => Err(error),
    }
}

enum Fate {
    /// The world may change: funds arrive, fees fall.
    Wait(SubStatus),
    /// It will never work; a new request is needed.
    Fail(SubStatus),
}

fn fate(error: &BuildError) -> Fate {
    match error {
        BuildError::InsufficientFunds { .. } => Fate::Wait(SubStatus::InsufficientFunds),
        BuildError::FeeAboveCap { .. } | BuildError::PriceAboveCap { .. } => {
            Fate::Wait(SubStatus::MaxFeeExceeded)
        }
        BuildError::Dust { .. } | BuildError::BelowReserve { .. } => Fate::Fail(SubStatus::AmountTooSmall),
        BuildError::TagRequired { .. } => Fate::Fail(SubStatus::MissingTagOrMemo),
        BuildError::DepositRefused { .. } => Fate::Fail(SubStatus::DestinationRefuses),
        BuildError::NothingToFill { .. } => Fate::Fail(SubStatus::NothingToFill),
        BuildError::Destination { .. }
        | BuildError::Amount { .. }
        | BuildError::Derive(_)
        | BuildError::Inconsistent(_) => Fate::Fail(SubStatus::InvalidTransaction),
    }
}

/// Stores the package and claims its resources, and where its co-signers can be asked at once, says so in the same commit. If another
/// transfer was faster with a resource, everything is decided anew.
async fn freeze(
    context: &Context,
    transfer: Transfer,
    mut draft: Draft,
    basis: Basis,
) -> Result<Progress, StepError> {
    let now = context.now();
    let transaction = TransactionId::new(context.ids.uuid());
    let session = match context.settings.together {
        true => sign::session(context, &transfer, &draft.unsigned, &basis).await?,
        false => None,
    };
    let (reading, turn) = (draft.reading.clone(), draft.turn.take());
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let stands = basis.stands(context, &mut tx).await?
        && preflight::is_lowest_still(context, &transfer.intent.intent, &draft).await?;
    let kept = match stands {
        true => keep(&mut tx, context, &transfer, transaction, Purpose::Pay, draft, now).await?,
        // The log has grown since it was judged, or a lower number was given back since it chose: once more, by what there is now.
        false => None,
    };
    let Some(record) = kept else {
        drop(tx);
        drop(turn);
        // What the account has is not what was in the way.
        if let (Some(ports), Some(reading)) = (context.chain(transfer.intent.intent.network()), reading) {
            ports.readings.put(transfer.id, reading);
        }
        return Ok(Progress::Moved);
    };
    let transfer = advance_in(&mut tx, transfer, Fact::Frozen { transaction }, now).await?;
    let (transfer, begun) = match &session {
        Some(_) => sign::start_with_package(&mut tx, context, transfer, &record, now).await?,
        None => (transfer, None),
    };
    tx.commit().await?;
    // The co-signers may take their time; the next one may choose.
    drop(turn);
    match session.zip(begun) {
        Some((session, attempt)) => sign::propose(context, transfer, record, session, attempt, false).await,
        None => Ok(Progress::Moved),
    }
}

/// Stores a draft with its change address and claims its resources. `None`: another transfer was faster; drop `tx`.
pub(super) async fn keep(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
    id: TransactionId,
    purpose: Purpose,
    draft: Draft,
    now: Timestamp,
) -> Result<Option<TransactionRecord>, StepError> {
    if let Some(change) = draft.change {
        let next = addresses::next_index(tx, transfer.wallet, change.path.branch).await?;
        if next != change.path.index {
            return Ok(None);
        }
        let address = AddressRecord {
            id: AddressId::new(context.ids.uuid()),
            wallet: transfer.wallet,
            path: change.path,
            address: change.address,
            label: None,
            created_at: now,
        };
        addresses::insert(tx, &address).await?;
    }
    let record = TransactionRecord::fresh(id, transfer.id, purpose, draft.unsigned, draft.effects, now);
    if let Err(conflict) = transactions::insert(tx, &record).await? {
        tracing::debug!(resource = %conflict.resource, "reserved by another transfer meanwhile; choosing again");
        return Ok(None);
    }
    Ok(Some(record))
}
