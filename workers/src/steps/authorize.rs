//! Policy and approvals. Without governance nobody is asked but the initiator's signature, and the transfer says so. The co-signers
//! decide for themselves in any case.

use super::{Progress, expire_if_over};
use crate::{
    authorization::{self, Judged},
    context::Context,
    engine::StepError,
    governance::Governance,
    transition::{advance, advance_in},
};
use bursar_domain::{
    governance::{authorization::Denied, verdict::NotScreened},
    lifecycle::{Fact, SubStatus, Transfer},
    time::Timestamp,
};
use bursar_store::{approvals, velocity};
use std::time::Duration;

/// What waits for people is looked at this often although nothing nudged it.
const LOOK: Duration = Duration::from_secs(600);

pub async fn run(context: &Context, transfer: Transfer) -> Result<Progress, StepError> {
    if expire_if_over(context, &transfer).await? {
        return Ok(Progress::Moved);
    }
    if let Some(governance) = &context.governance {
        return governed(context, governance, transfer).await;
    }
    let fact = decide(&transfer);
    advance(context, transfer, fact).await?;
    Ok(Progress::Moved)
}

/// What follows where nobody else is asked.
pub(super) fn decide(transfer: &Transfer) -> Fact {
    match transfer.intent.verify_signature() {
        Ok(()) => Fact::Authorized { sub_status: Some(SubStatus::NotAuthorized) },
        // Checked when it was submitted; a row that changed since is not paid.
        Err(invalid) => Fact::Rejected { sub_status: None, reason: invalid.to_string() },
    }
}

/// What follows from a judgement.
enum Outcome {
    Moves(Fact),
    Waits { sub_status: SubStatus, reason: String, pause: Duration },
}

async fn governed(
    context: &Context,
    governance: &Governance,
    transfer: Transfer,
) -> Result<Progress, StepError> {
    let judged = authorization::judge(context, governance, &transfer).await?;
    match outcome(&judged, &transfer, context.now()) {
        Outcome::Waits { sub_status, reason, pause } => {
            hold(context, transfer, &judged, sub_status, reason).await?;
            Ok(Progress::Wait(pause))
        }
        Outcome::Moves(_) => settle(context, governance, transfer, &judged).await,
    }
}

/// Judges again in the transaction that says so: the sums that were read are those that the transfer is then part of.
async fn settle(
    context: &Context,
    governance: &Governance,
    transfer: Transfer,
    before: &Judged,
) -> Result<Progress, StepError> {
    let balance = authorization::balance(context, &before.state, &transfer).await?;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let judged = authorization::judge_in(&mut tx, governance, &transfer, balance, now).await?;
    // Waits now: look again.
    let Outcome::Moves(fact) = outcome(&judged, &transfer, now) else { return Ok(Progress::Moved) };
    if judged.result.is_ok() {
        velocity::reserve(&mut tx, transfer.id, &judged.parts, now).await?;
    }
    approvals::rule(&mut tx, transfer.id, &judged.ruling(), now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

fn outcome(judged: &Judged, transfer: &Transfer, now: Timestamp) -> Outcome {
    let denied = match &judged.result {
        Ok(_) => return Outcome::Moves(Fact::Authorized { sub_status: None }),
        Err(denied) => denied,
    };
    let reason = denied.to_string();
    let rejected = |sub_status| Outcome::Moves(Fact::Rejected { sub_status, reason: reason.clone() });
    let waits = |sub_status, pause| Outcome::Waits { sub_status, reason: reason.clone(), pause };
    let in_time = until(transfer.intent.intent.expires_at, now).min(LOOK);
    match denied {
        Denied::Expired => Outcome::Moves(Fact::Expired { sub_status: SubStatus::IntentExpired }),
        Denied::Intent(_)
        | Denied::Signature(_)
        | Denied::TooMuch
        | Denied::UnknownInitiator
        | Denied::MayNotInitiate { .. } => rejected(None),
        Denied::Rejected { .. } => rejected(Some(SubStatus::ApprovalRejected)),
        Denied::NoPolicy | Denied::Policy { .. } | Denied::Screening(NotScreened::Blocked) => {
            Outcome::Moves(Fact::Blocked { reason })
        }
        Denied::Frozen { .. } => waits(SubStatus::Frozen, in_time),
        Denied::Screening(_) => waits(SubStatus::AwaitingScreening, in_time),
        // An approver saw entries that this database lacks.
        Denied::UnknownHead { .. } => waits(SubStatus::AwaitingApprovals, in_time),
        Denied::Approvals { progress, .. } => {
            if progress.requirements.iter().any(|requirement| requirement.overdue) {
                return Outcome::Moves(Fact::Expired { sub_status: SubStatus::ApprovalsOverdue });
            }
            let requirements = judged.allowed().into_iter().flat_map(|allowed| &allowed.requirements);
            let deadlines = requirements.filter_map(|required| required.requirement.deadline_seconds);
            let first = deadlines.map(|seconds| transfer.created_at.plus(Duration::from_secs(seconds))).min();
            let pause = first.map_or(LOOK, |deadline| until(deadline, now));
            waits(SubStatus::AwaitingApprovals, in_time.min(pause))
        }
        Denied::Delayed { until: due, .. } => waits(SubStatus::PolicyDelay, in_time.min(until(*due, now))),
    }
}

/// Just past `due`.
fn until(due: Timestamp, now: Timestamp) -> Duration {
    due.since(now) + Duration::from_millis(1)
}

/// Leaves the transfer where it is, and says why. Writes nothing if that is what was said before.
async fn hold(
    context: &Context,
    transfer: Transfer,
    judged: &Judged,
    sub_status: SubStatus,
    reason: String,
) -> Result<(), StepError> {
    let (ruling, fact) = (judged.ruling(), Fact::Waiting { sub_status, reason });
    let said = transfer.already_says(&fact);
    let known = approvals::ruling(&context.store, transfer.id).await?;
    if said && known.is_some_and(|(known, _)| known == ruling) {
        return Ok(());
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    approvals::rule(&mut tx, transfer.id, &ruling, now).await?;
    if !said {
        advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Why what was authorized is not any more: a new policy, somebody who left or said no, an approval that expired. Co-signers would
/// refuse it, so it goes back and is decided anew. What holds a transfer where it is, whatever its state, is none of that.
pub(super) async fn lapsed(context: &Context, transfer: &Transfer) -> Result<Option<Fact>, StepError> {
    let Some(governance) = &context.governance else { return Ok(None) };
    let judged = authorization::judge(context, governance, transfer).await?;
    Ok(match judged.result {
        Ok(_) | Err(Denied::Expired | Denied::Frozen { .. }) => None,
        Err(denied) => Some(Fact::AuthorizationLapsed { reason: denied.to_string() }),
    })
}
