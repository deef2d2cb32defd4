//! Policy and approvals. Without governance nobody is asked but the initiator's signature, and the transfer says so. The co-signers
//! decide for themselves in any case.

use super::{Progress, expire_if_over, left, variants};
use crate::{
    authorization::{self, AUTHORIZED, Judged},
    context::Context,
    engine::StepError,
    governance::Governance,
    screening::standing as screened,
    transition::{advance, advance_in, still},
};
use bursar_domain::{
    governance::{
        authorization::{Authorization, Denied},
        log::Head,
        verdict::NotScreened,
    },
    lifecycle::{Fact, SubStatus, Transfer},
    package::Purpose,
    time::Timestamp,
};
use bursar_store::{
    WriteTx,
    approvals::{self, Ruling},
    governance as kept,
    transactions::Ended,
    velocity,
};
use std::time::Duration;

/// What waits for people is looked at this often although nothing nudged it.
pub(super) const LOOK: Duration = Duration::from_secs(600);

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
    match transfer.intent.verify_key() {
        Ok(_) => Fact::Authorized { sub_status: Some(SubStatus::NotAuthorized) },
        // Checked when it was submitted; a row that changed since is not paid.
        Err(invalid) => Fact::Rejected { sub_status: None, reason: invalid.to_string() },
    }
}

/// What follows from a judgement.
enum Outcome {
    Moves(Fact),
    Waits(Box<Waits>),
}

/// Why it is not signed now, and when to look again although nothing nudged it.
pub(super) struct Waits {
    pub sub_status: SubStatus,
    pub reason: String,
    pause: Duration,
    ruling: Ruling,
}

async fn governed(
    context: &Context,
    governance: &Governance,
    transfer: Transfer,
) -> Result<Progress, StepError> {
    let judged = authorization::judge(context, governance, &transfer).await?;
    // Co-signers lack something that is not missed here: they are not asked for the same again at once.
    if judged.result.is_ok()
        && let Some(rest) = resting(context, &transfer).await?
    {
        return Ok(Progress::Wait(rest));
    }
    let screens = screened::asks_about(context, &transfer);
    match outcome(&judged, &transfer, screens, context.now()) {
        Outcome::Waits(waits) => hold(context, transfer, *waits).await,
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
    let screens = screened::asks_about(context, &transfer);
    let Outcome::Moves(fact) = outcome(&judged, &transfer, screens, now) else {
        return Ok(Progress::Moved);
    };
    if judged.result.is_ok() {
        velocity::reserve(&mut tx, transfer.id, &judged.parts, now).await?;
    }
    approvals::rule(&mut tx, transfer.id, &judged.ruling(), now).await?;
    advance_in(&mut tx, transfer, fact, now).await?;
    tx.commit().await?;
    Ok(Progress::Moved)
}

/// `screens`: there is a service that can be asked anew.
fn outcome(judged: &Judged, transfer: &Transfer, screens: bool, now: Timestamp) -> Outcome {
    let denied = match &judged.result {
        Ok(_) => return Outcome::Moves(Fact::Authorized { sub_status: None }),
        Err(denied) => denied,
    };
    let reason = denied.to_string();
    let rejected = |sub_status| Outcome::Moves(Fact::Rejected { sub_status, reason: reason.clone() });
    let in_time = until(transfer.intent.intent.expires_at, now).min(LOOK);
    let waits = |sub_status, pause: Duration| {
        let (reason, ruling) = (reason.clone(), judged.ruling());
        Outcome::Waits(Box::new(Waits { sub_status, reason, pause: pause.min(in_time), ruling }))
    };
    if let (Denied::Policy { .. }, Some(opens)) = (denied, judged.opens) {
        let (reason, pause) = (closed(&reason, opens), until(opens, now).min(in_time));
        let sub_status = SubStatus::AwaitingWindow;
        return Outcome::Waits(Box::new(Waits { sub_status, reason, pause, ruling: judged.ruling() }));
    }
    match denied {
        Denied::Expired => Outcome::Moves(Fact::Expired { sub_status: SubStatus::IntentExpired }),
        Denied::Intent(_)
        | Denied::Signature(_)
        | Denied::OtherDesk { .. }
        | Denied::OtherPolicy { .. }
        | Denied::TooMuch
        | Denied::UnknownInitiator
        | Denied::MayNotInitiate { .. } => rejected(None),
        Denied::Rejected { .. } => rejected(Some(SubStatus::ApprovalRejected)),
        Denied::NoPolicy | Denied::Policy { .. } | Denied::Screening(NotScreened::Blocked) => {
            Outcome::Moves(Fact::Blocked { reason })
        }
        Denied::Frozen { .. } => waits(SubStatus::Frozen, in_time),
        Denied::Recall(_) => waits(SubStatus::RecallLapsed, in_time),
        // Expired, or of a service that does not count any more.
        Denied::Screening(_) if screens => Outcome::Moves(Fact::ScreeningLapsed { reason }),
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
            waits(SubStatus::AwaitingApprovals, first.map_or(LOOK, |deadline| until(deadline, now)))
        }
        Denied::Delayed { until: due, .. } => waits(SubStatus::PolicyDelay, until(*due, now)),
    }
}

fn closed(reason: &str, opens: Timestamp) -> String {
    format!("{reason}; a time window opens at {} (microseconds since the epoch)", opens.micros())
}

/// Just past `due`.
pub(super) fn until(due: Timestamp, now: Timestamp) -> Duration {
    due.since(now) + Duration::from_millis(1)
}

/// Leaves the transfer where it is, and says why. Writes nothing if that is what was said before.
pub(super) async fn hold(context: &Context, transfer: Transfer, waits: Waits) -> Result<Progress, StepError> {
    let Waits { sub_status, reason, pause, ruling } = waits;
    let fact = Fact::Waiting { sub_status, reason };
    let said = transfer.already_says(&fact);
    let known = approvals::ruling(&context.store, transfer.id).await?;
    if said && known.is_some_and(|(known, _)| known == ruling) {
        return Ok(Progress::Wait(pause));
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    approvals::rule(&mut tx, transfer.id, &ruling, now).await?;
    if !said {
        advance_in(&mut tx, transfer, fact, now).await?;
    }
    tx.commit().await?;
    Ok(Progress::Wait(pause))
}

/// By what a transfer may be signed.
pub(super) struct Basis {
    /// What shows the co-signers that it may; absent where nobody is asked.
    pub evidence: Option<Authorization>,
    /// The last entry of the log by which it was judged.
    head: Option<Head>,
}

/// How a transfer stands that was authorized, and that no co-signer has begun to sign.
pub(super) enum Standing {
    Holds(Box<Basis>),
    /// What had authorized it does no longer: it is decided anew.
    Lapsed {
        reason: String,
    },
    /// Only the hour is in the way: it keeps its place, and nothing is reserved until then.
    Closed {
        reason: String,
        opens: Timestamp,
    },
}

impl Basis {
    fn of(judged: Judged) -> Self {
        let head = judged.state.head();
        Self { evidence: Some(judged.evidence), head: Some(head) }
    }

    /// Whether the log is still what it was judged by. Nobody appends before `tx` ends.
    pub async fn stands(&self, context: &Context, tx: &mut WriteTx) -> Result<bool, StepError> {
        let (Some(governance), Some(head)) = (&context.governance, self.head) else { return Ok(true) };
        Ok(governance.state_in(tx).await?.head() == head)
    }
}

/// Whether what authorized a transfer still does: a new policy, somebody who left or said no, an approval that expired. Co-signers would
/// refuse it, so it goes back and is decided anew. So does what another version of the policy had authorized, whatever this one says: only
/// what is decided by it is counted in the sums that it limits. What holds a transfer where it is, whatever its state, is none of that.
pub(super) async fn standing(context: &Context, transfer: &Transfer) -> Result<Standing, StepError> {
    let Some(governance) = &context.governance else {
        return Ok(Standing::Holds(Box::new(Basis { evidence: None, head: None })));
    };
    let judged = authorization::judge(context, governance, transfer).await?;
    match &judged.result {
        Err(Denied::Expired | Denied::Frozen { .. }) => {}
        Err(denied) => {
            let reason = denied.to_string();
            return Ok(match judged.opens {
                Some(opens) => Standing::Closed { reason: closed(&reason, opens), opens },
                None => Standing::Lapsed { reason },
            });
        }
        Ok(_) if !is_decided_by(context, transfer, &judged).await? => {
            let reason = "the policy in force is not the one by which it was authorized".to_owned();
            return Ok(Standing::Lapsed { reason });
        }
        Ok(_) => {}
    }
    Ok(Standing::Holds(Box::new(Basis::of(judged))))
}

/// Whether it was authorized by the policy in force, so that the sums that this one limits have it.
async fn is_decided_by(context: &Context, transfer: &Transfer, judged: &Judged) -> Result<bool, StepError> {
    let version = judged.state.policy().map(|published| published.version);
    let ruled = approvals::ruling(&context.store, transfer.id).await?;
    Ok(ruled.is_some_and(|(ruled, _)| ruled.code == AUTHORIZED && ruled.policy == version))
}

/// Whether a transfer of which a signature may exist may be signed once more. It can neither go back nor end by what people decide now: it
/// waits for what is missing (votes are taken), while whatever may be signed already is looked after. Policy says nothing about what pays
/// nobody.
///
/// Of what has ended, a child may be left to sign. Nothing is reserved for that: what the transfer paid was counted when it was authorized, and
/// what it did not pay is not counted any more.
pub(super) async fn again(
    context: &Context,
    transfer: &Transfer,
    purpose: &Purpose,
) -> Result<Result<Basis, Waits>, StepError> {
    let Some(governance) = &context.governance else {
        return Ok(Ok(Basis { evidence: None, head: None }));
    };
    if *purpose == Purpose::Cancel {
        return Ok(Ok(Basis { evidence: authorization::evidence(context, transfer).await?, head: None }));
    }
    let mut judged = authorization::judge(context, governance, transfer).await?;
    let now = context.now();
    let open = !transfer.status().is_terminal();
    if open && judged.result.is_ok() && !is_decided_by(context, transfer, &judged).await? {
        let balance = authorization::balance(context, &judged.state, transfer).await?;
        let mut tx = context.store.write().await?;
        // Should it have ended meanwhile, nobody would give back what is reserved now.
        still(&mut tx, transfer).await?;
        judged = authorization::judge_in(&mut tx, governance, transfer, balance, now).await?;
        if judged.result.is_ok() {
            velocity::reserve(&mut tx, transfer.id, &judged.parts, now).await?;
            approvals::rule(&mut tx, transfer.id, &judged.ruling(), now).await?;
            tx.commit().await?;
        }
    }
    if matches!(judged.result, Ok(_) | Err(Denied::Expired | Denied::Frozen { .. })) {
        return Ok(Ok(Basis::of(judged)));
    }
    // (It cannot go back to be screened: that was looked after before.)
    Ok(Err(match outcome(&judged, transfer, false, now) {
        Outcome::Waits(waits) => *waits,
        Outcome::Moves(fact) => {
            let ruling = judged.ruling();
            let reason = ruling.reason.clone().unwrap_or_default();
            let sub_status = match fact {
                Fact::Rejected { sub_status: Some(sub_status), .. } | Fact::Expired { sub_status } => {
                    sub_status
                }
                _ => SubStatus::AuthorizationLapsed,
            };
            Waits { sub_status, reason, pause: LOOK, ruling }
        }
    }))
}

/// Whether what is said of a transfer is what people or the hour may have changed since: it is looked at without a pause.
pub(super) const fn waited(sub_status: Option<SubStatus>) -> bool {
    matches!(
        sub_status,
        Some(
            SubStatus::AwaitingApprovals
                | SubStatus::AwaitingScreening
                | SubStatus::AwaitingWindow
                | SubStatus::PolicyDelay
                | SubStatus::RecallLapsed
                | SubStatus::ApprovalRejected
                | SubStatus::ApprovalsOverdue
                | SubStatus::AuthorizationLapsed
        )
    )
}

/// How often the rest after co-signers were asked in vain is doubled: from five seconds to five minutes.
const MAX_DOUBLINGS: usize = 6;

/// What is left of the rest after co-signers said that they would not sign it yet: longer each time, for each costs a package. `None`:
/// it is over, or somebody voted or something was appended to the log meanwhile.
pub(super) async fn resting(context: &Context, transfer: &Transfer) -> Result<Option<Duration>, StepError> {
    if transfer.sub_status != Some(SubStatus::SignerNotYet) {
        return Ok(None);
    }
    let given_back = variants(context, transfer).await?;
    let given_back = given_back.iter().filter(|record| record.ended == Some(Ended::Released)).count();
    let pause = context.settings.retry.saturating_mul(1 << given_back.saturating_sub(1).min(MAX_DOUBLINGS));
    let Some(left) = left(context.now(), transfer.updated_at, pause) else { return Ok(None) };
    Ok(if news(context, transfer).await? { None } else { Some(left) })
}

async fn news(context: &Context, transfer: &Transfer) -> Result<bool, StepError> {
    let Some(governance) = &context.governance else { return Ok(false) };
    let votes = approvals::of_transfer(&context.store, transfer.id).await?;
    if votes.iter().any(|vote| vote.received_at > transfer.updated_at) {
        return Ok(true);
    }
    let head = governance.state(&context.store).await?.head();
    let last = kept::entries(&context.store, head.seq, 1).await?;
    Ok(last.iter().any(|entry| entry.seen_at > transfer.updated_at))
}
