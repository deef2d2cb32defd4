//! SUBMITTED → PENDING_SCREENING → PENDING_AUTHORIZATION, PENDING_REVIEW or REJECTED: an order is screened before anybody is asked to
//! approve it. Where no service is configured it passes, and says that nothing was checked.

use super::{Progress, authorize, expire_if_over};
use crate::{
    context::Context,
    engine::StepError,
    screening::{
        Screening,
        asking::{self, Asked, Then},
        standing::{self, Standing},
    },
    transition::{advance_in, still},
    travel_rule,
};
use bursar_domain::lifecycle::{Fact, State, SubStatus, Transfer};
use std::time::Duration;

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    if travel_rule::due(context, &transfer).await? {
        return travel_rule::run(context, transfer).await;
    }
    match &context.screening {
        Some(screening) if standing::asks_about(context, &transfer) => {
            screened(context, screening, transfer).await
        }
        _ => unscreened(context, transfer).await,
    }
}

/// Nobody is asked here, nor in [`authorize`] without governance, so nothing has to be written down before an answer is waited for: all of it may be one
/// commit. Each state is taken, and has its event, all the same.
async fn unscreened(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    let mut facts = Vec::new();
    if matches!(transfer.state, State::Submitted) {
        facts.push(Fact::ScreeningStarted);
    }
    facts.push(Fact::ScreeningPassed { sub_status: Some(SubStatus::NotScreened) });
    match context.settings.together && context.governance.is_none() {
        true => facts.push(authorize::decide(&transfer)),
        false => facts.truncate(1),
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    let mut transfer = transfer;
    for fact in facts {
        transfer = advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(Progress::Moved)
}

async fn screened(
    context: &Context,
    screening: &Screening,
    transfer: Transfer,
) -> Result<Progress, StepError> {
    if matches!(transfer.state, State::Submitted) {
        let now = context.now();
        let mut tx = context.store.write().await?;
        still(&mut tx, &transfer).await?;
        asking::begin_in(&mut tx, &transfer, now).await?;
        advance_in(&mut tx, transfer, Fact::ScreeningStarted, now).await?;
        tx.commit().await?;
        return Ok(Progress::Moved);
    }
    let heard = match asking::ask(context, screening, &transfer).await? {
        // It came here before this installation screened, or its last answer does not count any more.
        None => {
            asking::begin(context, &transfer).await?;
            return Ok(Progress::Moved);
        }
        Some(Asked::NotDue(pause)) => return Ok(Progress::Wait(pause)),
        Some(Asked::Heard(heard)) => *heard,
    };
    let next = travel_rule::after_screening(context).await?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, &transfer).await?;
    let (fact, pause) = match asking::hear(&mut tx, context, &transfer, heard, now).await? {
        Then::Waits { sub_status, reason, pause } => (Fact::Waiting { sub_status, reason }, Some(pause)),
        Then::Stands(Standing::Passes) => {
            let fact = match next {
                Some(sub_status) => Fact::Waiting { sub_status, reason: travel_rule::NEXT.into() },
                None => Fact::ScreeningPassed { sub_status: None },
            };
            (fact, None)
        }
        Then::Stands(Standing::Blocked { reason }) => {
            (Fact::Rejected { sub_status: Some(SubStatus::ScreeningBlocked), reason }, None)
        }
        Then::Stands(Standing::Held { sub_status, reason }) => {
            (Fact::HeldForReview { sub_status, reason }, None)
        }
        // Heard as a failure, which is held.
        Then::Stands(Standing::Lapsed { reason } | Standing::Unusable { reason }) => {
            (Fact::HeldForReview { sub_status: SubStatus::ScreeningUnavailable, reason }, None)
        }
    };
    if !transfer.already_says(&fact) {
        advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(pause.map_or(Progress::Moved, Progress::Wait))
}

/// What keeps a transfer from being signed once more, for the caller to tell.
pub(super) struct Kept {
    /// Absent where it was told before.
    pub says: Option<(SubStatus, String)>,
    pub pause: Duration,
}

/// What keeps a transfer whose session has begun from being handed to the co-signers once more: a screening that does not count any more, and
/// the next one as far as it has come. `None`: it passes. The transfer stays where it is, because a signature may exist.
pub(super) async fn again(context: &Context, transfer: &Transfer) -> Result<Option<Kept>, StepError> {
    let Some(screening) = context.screening.as_ref().filter(|_| standing::asks_about(context, transfer))
    else {
        return Ok(None);
    };
    let stands = standing::of(context, transfer).await?;
    let asked = match &stands {
        Standing::Passes => return Ok(None),
        Standing::Lapsed { .. } | Standing::Unusable { .. } => {
            asking::begin(context, transfer).await?;
            asking::ask(context, screening, transfer).await?
        }
        // Somebody may have asked for another screening.
        Standing::Held { .. } | Standing::Blocked { .. } => asking::ask(context, screening, transfer).await?,
    };
    let stands = match asked {
        Some(Asked::Heard(heard)) => {
            let now = context.now();
            let mut tx = context.store.write().await?;
            still(&mut tx, transfer).await?;
            let then = asking::hear(&mut tx, context, transfer, *heard, now).await?;
            tx.commit().await?;
            match then {
                Then::Stands(stands) => stands,
                Then::Waits { sub_status, reason, pause } => {
                    return Ok(Some(Kept { says: Some((sub_status, reason)), pause }));
                }
            }
        }
        Some(Asked::NotDue(pause)) => return Ok(Some(Kept { says: None, pause })),
        None => stands,
    };
    let (sub_status, reason) = match stands {
        Standing::Passes => return Ok(None),
        Standing::Held { sub_status, reason } => (sub_status, reason),
        Standing::Blocked { reason } => (
            SubStatus::ScreeningBlocked,
            format!("{reason}; a signing session began before, so a signature may exist: cancel it on chain"),
        ),
        Standing::Lapsed { reason } | Standing::Unusable { reason } => {
            (SubStatus::ScreeningUnavailable, reason)
        }
    };
    Ok(Some(Kept { says: Some((sub_status, reason)), pause: LOOK }))
}

/// What waits for people is looked at this often although nothing nudged it.
const LOOK: Duration = Duration::from_secs(600);
