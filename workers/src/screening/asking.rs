//! Asking one round about an order.

use super::{Screening, count, standing, standing::Standing};
use crate::{
    context::Context,
    engine::StepError,
    transition::{MoveError, still},
};
use bursar_domain::{
    audit::act::Signed,
    governance::state::State,
    ids::CaseId,
    lifecycle::{SubStatus, Transfer},
    screening::{Answer, Inquiry, MAX_RETRY, Screened, SignedVerdict, Unanswered},
    time::Timestamp,
};
use bursar_store::{
    WriteTx, cases,
    cases::{CaseSubject, Cause},
    events,
    screenings::{self, Begun, Progress, Subject},
};
use serde_json::json;
use std::time::Duration;

/// How far a round has come.
pub(crate) enum Asked {
    /// Not yet to be asked (again).
    NotDue(Duration),
    /// Written down, to be committed with what the caller makes of it.
    Heard(Box<Heard>),
}

/// What was heard, before anything is written.
pub(crate) struct Heard {
    pub round: u32,
    pub attempts: u32,
    pub progress: Progress,
}

/// Begins the next round in a transaction of its own, unless one is pending. The transfer must still be as it was read.
pub(crate) async fn begin(context: &Context, transfer: &Transfer) -> Result<(), StepError> {
    let now = context.now();
    let mut tx = context.store.write().await?;
    still(&mut tx, transfer).await?;
    if begin_in(&mut tx, transfer, now).await? {
        tx.commit().await?;
    }
    Ok(())
}

/// As [`begin`], within `tx`. `false`: one is pending.
pub(crate) async fn begin_in(
    tx: &mut WriteTx,
    transfer: &Transfer,
    now: Timestamp,
) -> Result<bool, StepError> {
    let subject = Subject::Transfer(transfer.id);
    let round = match screenings::newest_in(tx, subject).await? {
        Some(there) if there.is_pending() => return Ok(false),
        Some(there) => there.round.saturating_add(1),
        None => 0,
    };
    let order = Some((transfer.id, transfer.intent.intent.digest()));
    Ok(screenings::begin(tx, Begun { subject, round, order }, now).await?)
}

/// Asks the pending round, if its time has come; `None`: no round is pending. Writes nothing.
pub(crate) async fn ask(
    context: &Context,
    screening: &Screening,
    transfer: &Transfer,
) -> Result<Option<Asked>, StepError> {
    let subject = Subject::Transfer(transfer.id);
    let Some(there) = screenings::newest(&context.store, subject).await? else { return Ok(None) };
    let Progress::Pending { reference, next_try, .. } = there.progress else { return Ok(None) };
    let wait = next_try.since(context.now());
    // Nobody waits for a clock that was set back.
    if !wait.is_zero() && wait <= MAX_RETRY {
        return Ok(Some(Asked::NotDue(wait)));
    }
    let inquiry = Inquiry::outbound(transfer.intent.clone());
    let answer = screening.ask(&inquiry, there.round).await;
    let now = context.now();
    let (attempts, progress) = match answer {
        Ok(Answer::Pending { reference, retry_after }) => {
            count(inquiry.kind(), "pending");
            let pause = retry_after.clamp(screening.settings.retry, MAX_RETRY);
            let next_try = now.plus(pause);
            (0, Progress::Pending { reference: Some(reference), failure: None, next_try })
        }
        Ok(Answer::Complete { assessment, verdict }) => {
            (there.attempts, Progress::Complete { assessment, verdict })
        }
        Err(failure) => {
            count(inquiry.kind(), outcome(&failure));
            let attempts = there.attempts.saturating_add(1);
            if failure.is_transient() && attempts <= screening.settings.retries {
                let next_try = now.plus(screening.pause(attempts));
                (attempts, Progress::Pending { reference, failure: Some(failure), next_try })
            } else {
                (attempts, Progress::Failed(failure))
            }
        }
    };
    Ok(Some(Asked::Heard(Box::new(Heard { round: there.round, attempts, progress }))))
}

/// What to do about a transfer after something was heard.
pub(crate) enum Then {
    Waits { sub_status: SubStatus, reason: String, pause: Duration },
    Stands(Standing),
}

/// Writes down what was heard, within `tx`, and says what follows. An answer that nobody could use later is a failure now. The case for
/// people is opened here, and closed where none is needed any more.
pub(crate) async fn hear(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
    heard: Heard,
    now: Timestamp,
) -> Result<Then, StepError> {
    let subject = Subject::Transfer(transfer.id);
    let Heard { round, attempts, mut progress } = heard;
    if let Progress::Pending { next_try, failure, reference } = &progress {
        let reason = match (failure, reference) {
            (Some(failure), _) => format!("{failure}; asked again (attempt {attempts})"),
            (None, reference) => {
                format!("the screening is under way ({})", reference.as_deref().unwrap_or("no reference"))
            }
        };
        let waits =
            Then::Waits { sub_status: SubStatus::ScreeningPending, reason, pause: next_try.since(now) };
        settle(tx, subject, round, attempts, &progress, now).await?;
        return Ok(waits);
    }
    let mut evidence = standing::evidence_in(tx, context, transfer).await?;
    let mut hold = |progress: &Progress| {
        evidence.settled = Some(screenings::Screening {
            subject,
            round,
            transfer: Some(transfer.id),
            attempts,
            progress: progress.clone(),
            begun_at: now,
            updated_at: now,
        });
        evidence.standing(transfer, now)
    };
    let mut stands = hold(&progress);
    if let (
        Progress::Complete { assessment, .. },
        Standing::Lapsed { reason } | Standing::Unusable { reason },
    ) = (&progress, &stands)
    {
        tracing::warn!(transfer = %transfer.id, provider = assessment.provider, reason, "the screening's answer cannot be used");
        progress = Progress::Failed(Unanswered::Malformed(reason.clone()));
        stands = hold(&progress);
        count("OUTBOUND", "malformed");
    } else if let Progress::Complete { assessment, .. } = &progress {
        count("OUTBOUND", outcome_of(assessment.outcome));
    }
    settle(tx, subject, round, attempts, &progress, now).await?;
    tell(tx, evidence.log.as_deref(), transfer, round, &progress, now).await?;
    case(tx, context, transfer, &progress, &stands, now).await?;
    Ok(Then::Stands(stands))
}

/// Tells a verdict with its signature, for the audit. Where the log does not know who signed it, nobody could verify it.
async fn tell(
    tx: &mut WriteTx,
    log: Option<&State>,
    transfer: &Transfer,
    round: u32,
    progress: &Progress,
    now: Timestamp,
) -> Result<(), StepError> {
    let (Progress::Complete { verdict: Some(signed), .. }, Some(log)) = (progress, log) else {
        return Ok(());
    };
    let SignedVerdict { verdict, signature } = signed;
    let known = verdict.genesis == log.genesis_digest()
        && signature.verify(log.directory(), &verdict.digest()).is_ok();
    if known {
        let payload = json!({ "transferId": transfer.id, "round": round, "verdict": verdict });
        let told = Signed::verdict(signed, log.head().seq);
        let id = Some(transfer.id);
        events::append_signed(tx, "screening.verdict", id, now, &payload, &told).await?;
    }
    Ok(())
}

/// [`MoveError::Stale`] where another worker was faster.
async fn settle(
    tx: &mut WriteTx,
    subject: Subject,
    round: u32,
    attempts: u32,
    progress: &Progress,
    now: Timestamp,
) -> Result<(), StepError> {
    match screenings::put(tx, subject, round, attempts, progress, now).await? {
        true => Ok(()),
        false => Err(MoveError::Stale.into()),
    }
}

async fn case(
    tx: &mut WriteTx,
    context: &Context,
    transfer: &Transfer,
    progress: &Progress,
    stands: &Standing,
    now: Timestamp,
) -> Result<(), StepError> {
    let subject = CaseSubject::Transfer(transfer.id);
    match stands {
        Standing::Held { reason, .. } => {
            let cause = match progress {
                Progress::Complete { .. } => Cause::Review,
                _ => Cause::Outage,
            };
            cases::open(tx, CaseId::new(context.ids.uuid()), cause, &subject, reason, now).await?;
        }
        Standing::Passes => {
            let because = "screened again, and it passes";
            let causes = [Cause::Review, Cause::Outage];
            cases::close_about(tx, &subject, &causes, cases::BURSAR, because, now).await?;
        }
        Standing::Blocked { reason } => {
            let causes = [Cause::Review, Cause::Outage];
            cases::close_about(tx, &subject, &causes, cases::BURSAR, reason, now).await?;
        }
        Standing::Lapsed { .. } | Standing::Unusable { .. } => {}
    }
    Ok(())
}

/// For the counter.
pub(crate) const fn outcome(failure: &Unanswered) -> &'static str {
    match failure {
        Unanswered::Timeout => "timeout",
        Unanswered::Unavailable(_) => "unavailable",
        Unanswered::Unsupported(_) => "unsupported",
        Unanswered::Unknown(_) => "unknown",
        Unanswered::Malformed(_) => "malformed",
        Unanswered::Refused(_) => "refused",
    }
}

pub(crate) const fn outcome_of(screened: Screened) -> &'static str {
    match screened {
        Screened::Clear => "clear",
        Screened::Review => "review",
        Screened::Block => "block",
    }
}
