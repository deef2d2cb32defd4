//! Screening of money that came in, off the way of any payment: deposits that are final are asked about, and cannot be spent before the
//! service has cleared them (`bursar_store::deposits::holds`).
//!
//! Fails closed. What has no answer stays PENDING_SCREENING and says why; what a screening does not clear is frozen until compliance decides
//! ([`dispose`]). A round is written down before the service is asked, and asked again with its number after a death.

pub mod dispose;

use crate::{
    context::Context,
    engine::StepError,
    screening::{Screening, count, outcome, outcome_of, standing},
};
use bursar_domain::{
    ids::{CaseId, DepositId},
    screening::{Answer, Assessment, Inquiry, MAX_RETRY, Screened, Unanswered},
    time::Timestamp,
};
use bursar_store::{
    StoreError, WriteTx, cases,
    cases::{CaseSubject, Cause},
    deposits::{
        self, Deposit, DepositStatus,
        holds::{self, HoldState},
    },
    events,
    screenings::{self, Begun, Progress, Subject, SubjectKind},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Deposits whose screening is begun, and questions that are asked, at most in one round.
const BEGUN: u32 = 200;
const ASKED: u32 = 50;

pub async fn run(context: Context, screening: Screening, stop: CancellationToken) {
    loop {
        match context.store.leads("deposits").await {
            Ok(true) => tokio::select! {
                // What was written down is asked again.
                () = stop.cancelled() => return,
                () = round(&context, &screening) => {}
            },
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot tell who screens deposits; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(screening.settings.poll) => {}
        }
    }
}

async fn round(context: &Context, screening: &Screening) {
    if let Err(error) = begin(context).await {
        tracing::warn!(%error, "cannot begin to screen deposits; trying again");
    }
    if let Err(error) = ask(context, screening).await {
        tracing::warn!(%error, "cannot screen deposits; trying again");
    }
}

/// Writes down a round for each final deposit that is to be screened; gives how many there were.
///
/// # Errors
/// [`StepError`]; what is left is begun at the next look.
pub async fn begin(context: &Context) -> Result<usize, StepError> {
    let found = holds::to_screen(&context.store, BEGUN).await?;
    if found.is_empty() {
        return Ok(0);
    }
    let now = context.now();
    let mut tx = context.store.write().await?;
    for deposit in &found {
        if holds::advance(&mut tx, deposit, HoldState::New, HoldState::Asked, None, now).await? {
            let begun = Begun { subject: Subject::Deposit(deposit.id), round: 0, order: None };
            screenings::begin(&mut tx, begun, now).await?;
        }
    }
    tx.commit().await?;
    Ok(found.len())
}

/// Asks about every deposit that is due; gives how many were answered. A service that does not answer is left alone until the next look.
///
/// # Errors
/// [`StepError`]; what is left is asked at the next look.
pub async fn ask(context: &Context, screening: &Screening) -> Result<usize, StepError> {
    let due = screenings::due(&context.store, SubjectKind::Deposit, context.now(), ASKED).await?;
    let mut answered = 0;
    for there in due {
        let Subject::Deposit(id) = there.subject else { continue };
        let deposit = deposits::get(&context.store, id).await?;
        let Some(deposit) = deposit.filter(|deposit| is_final(deposit.status)) else {
            // A reorganisation took its block: it is asked about when it is final again.
            let next_try = context.now().plus(screening.settings.retry);
            let waits = Progress::Pending { reference: None, failure: None, next_try };
            write(context, id, there.round, there.attempts, &waits).await?;
            continue;
        };
        let answer = screening.ask(&inquiry(&deposit), there.round).await;
        let (heard, down) = heard(context, screening, there.attempts, answer);
        answered += usize::from(matches!(heard.progress, Progress::Complete { .. }));
        settle(context, &deposit, there.round, heard).await?;
        if down {
            return Ok(answered);
        }
    }
    Ok(answered)
}

const fn is_final(status: DepositStatus) -> bool {
    matches!(status, DepositStatus::PendingScreening | DepositStatus::Completed | DepositStatus::Frozen)
}

fn inquiry(deposit: &Deposit) -> Inquiry {
    let Deposit { id, network, asset, tx_id, index, address, from, amount, .. } = deposit.clone();
    Inquiry::Deposit { deposit: id, network, asset, tx_id, index, address, from, amount }
}

struct Heard {
    attempts: u32,
    progress: Progress,
    /// Whether people have to look, although it is asked again.
    overdue: bool,
}

/// What was heard, and whether the service seems to be away.
fn heard(
    context: &Context,
    screening: &Screening,
    attempts: u32,
    answer: Result<Answer, Unanswered>,
) -> (Heard, bool) {
    const KIND: &str = "DEPOSIT";
    let now = context.now();
    match answer {
        Ok(Answer::Complete { assessment, verdict }) => {
            count(KIND, outcome_of(assessment.outcome));
            let progress = Progress::Complete { assessment, verdict };
            (Heard { attempts, progress, overdue: false }, false)
        }
        Ok(Answer::Pending { reference, retry_after }) => {
            count(KIND, "pending");
            let next_try = now.plus(retry_after.clamp(screening.settings.retry, MAX_RETRY));
            let progress = Progress::Pending { reference: Some(reference), failure: None, next_try };
            (Heard { attempts: 0, progress, overdue: false }, false)
        }
        // The money is here: it is asked about until there is an answer, whatever people do meanwhile.
        Err(failure) if failure.is_transient() => {
            count(KIND, outcome(&failure));
            let attempts = attempts.saturating_add(1);
            let next_try = now.plus(screening.pause(attempts));
            let progress = Progress::Pending { reference: None, failure: Some(failure), next_try };
            (Heard { attempts, progress, overdue: attempts > screening.settings.retries }, true)
        }
        Err(failure) => {
            count(KIND, outcome(&failure));
            let progress = Progress::Failed(failure);
            (Heard { attempts: attempts.saturating_add(1), progress, overdue: true }, false)
        }
    }
}

/// Writes down what was heard, and what follows from it for the deposit.
async fn settle(context: &Context, deposit: &Deposit, round: u32, heard: Heard) -> Result<(), StoreError> {
    let Heard { attempts, progress, overdue } = heard;
    let now = context.now();
    let mut tx = context.store.write().await?;
    let subject = Subject::Deposit(deposit.id);
    // Another process was faster.
    if !screenings::put(&mut tx, subject, round, attempts, &progress, now).await? {
        return Ok(());
    }
    let reason = match &progress {
        Progress::Complete { assessment, .. } => standing::words(assessment),
        Progress::Pending { failure: Some(failure), .. } => {
            format!("{failure}; asked again (attempt {attempts})")
        }
        Progress::Pending { reference, .. } => {
            format!("the screening is under way ({})", reference.as_deref().unwrap_or("no reference"))
        }
        Progress::Failed(failure) => format!("{failure}; compliance has to decide"),
    };
    let to = match &progress {
        Progress::Complete { assessment, .. } if clears(assessment) => HoldState::Cleared,
        Progress::Complete { .. } => HoldState::Frozen,
        Progress::Pending { .. } | Progress::Failed(_) => HoldState::Asked,
    };
    // Not if an alert or compliance was faster: then this is only kept.
    if holds::advance(&mut tx, deposit, HoldState::Asked, to, Some(&reason), now).await? {
        follow(&mut tx, context, deposit, to, &reason, overdue, now).await?;
    } else if round > 0 && !matches!(progress, Progress::Pending { .. }) {
        // Somebody asked again. It stays as it is until people decide, who see this.
        let reason = format!("screened again: {reason}");
        let (subject, frozen) = (CaseSubject::Deposit(deposit.id), HoldState::Frozen);
        if holds::advance(&mut tx, deposit, frozen, frozen, Some(&reason), now).await? {
            let fresh = CaseId::new(context.ids.uuid());
            cases::open(&mut tx, fresh, Cause::Review, &subject, &reason, now).await?;
        }
    }
    tx.commit().await
}

async fn follow(
    tx: &mut WriteTx,
    context: &Context,
    deposit: &Deposit,
    to: HoldState,
    reason: &str,
    overdue: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subject = CaseSubject::Deposit(deposit.id);
    let fresh = || CaseId::new(context.ids.uuid());
    match to {
        HoldState::Cleared => {
            cases::close_about(tx, &subject, &[Cause::Outage], cases::BURSAR, reason, now).await?;
            events::append(tx, "deposit.cleared", None, now, &told(deposit, reason)).await
        }
        HoldState::Frozen => {
            cases::close_about(tx, &subject, &[Cause::Outage], cases::BURSAR, reason, now).await?;
            cases::open(tx, fresh(), Cause::Review, &subject, reason, now).await?;
            events::append(tx, "deposit.frozen", None, now, &told(deposit, reason)).await?;
            tracing::warn!(deposit = %deposit.id, wallet = %deposit.wallet, "deposit frozen: {reason}");
            Ok(())
        }
        // One case and its first reason, however often it is asked.
        _ if overdue && cases::open_about(tx, &subject, Cause::Outage).await?.is_none() => {
            cases::open(tx, fresh(), Cause::Outage, &subject, reason, now).await.map(|_| ())
        }
        _ => Ok(()),
    }
}

async fn write(
    context: &Context,
    id: DepositId,
    round: u32,
    attempts: u32,
    progress: &Progress,
) -> Result<(), StoreError> {
    let mut tx = context.store.write().await?;
    screenings::put(&mut tx, Subject::Deposit(id), round, attempts, progress, context.now()).await?;
    tx.commit().await
}

fn clears(assessment: &Assessment) -> bool {
    assessment.outcome == Screened::Clear && !assessment.sanctions
}

/// For events about what became of a deposit.
pub(crate) fn told(deposit: &Deposit, reason: &str) -> Value {
    json!({
        "depositId": deposit.id,
        "walletId": deposit.wallet,
        "network": deposit.network,
        "txId": deposit.tx_id,
        "index": deposit.index,
        "asset": deposit.asset,
        "amount": deposit.amount,
        "reason": reason,
    })
}
