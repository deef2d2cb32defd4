//! The task beside the queue, off the way of any payment: it tells the service what was paid, so that alerts come for it, and asks for
//! those alerts.
//!
//! What was paid is read off the event log by a cursor, so nothing is missed however long the service or this process was away, and the
//! payment itself knows nothing of it. A registration is written down before it is asked for, and asked for again until it is answered.

use super::{
    Screening,
    alerts::{self, AlertError, Origin},
    asking::{outcome, outcome_of},
    count, standing,
};
use crate::{context::Context, engine::StepError, transition::advance_in};
use bursar_domain::{
    ids::{CaseId, TransferId},
    lifecycle::{Fact, Transfer},
    package::Purpose,
    screening::{Answer, Assessment, Inquiry, MAX_RETRY, Payee, Screened},
    time::Timestamp,
};
use bursar_store::{
    WriteTx, cases,
    cases::{CaseSubject, Cause},
    events, screenings,
    screenings::{Begun, Progress, Subject, SubjectKind},
    transactions::{self, TransactionRecord},
    transfers,
};
use serde_json::json;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Events that are read, registrations that are asked for, and pages of alerts, at most in one round.
const EVENTS: u32 = 500;
const REGISTRATIONS: u32 = 50;
const PAGES: usize = 20;

/// Up to which event it is known what was paid.
const PAID: &str = "paid";
/// Up to where alerts were taken.
const ALERTS: &str = "alerts";

pub async fn run(context: Context, screening: Screening, stop: CancellationToken) {
    loop {
        match context.store.leads("screening").await {
            Ok(true) => round(&context, &screening).await,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "cannot tell who watches the screening; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(screening.settings.poll) => {}
        }
    }
}

async fn round(context: &Context, screening: &Screening) {
    if let Err(error) = note_payments(context).await {
        tracing::warn!(%error, "cannot note what was paid; trying again");
    }
    if let Err(error) = register(context, screening).await {
        tracing::warn!(%error, "cannot register what was paid; trying again");
    }
    if let Err(error) = poll(context, screening).await {
        tracing::warn!(%error, "cannot take the screening's alerts; trying again");
    }
}

/// Writes down what is to be registered, from the events since the last look. The first look begins with what happens from then on.
pub async fn note_payments(context: &Context) -> Result<usize, StepError> {
    let store = &context.store;
    let Some(cursor) = screenings::cursor(store, PAID).await? else {
        return first_look(context).await.map(|()| 0);
    };
    let mut cursor: i64 = cursor.parse().unwrap_or_default();
    let mut noted = 0;
    loop {
        let page = events::after(store, cursor, EVENTS).await?;
        let Some(last) = page.last() else { return Ok(noted) };
        let (end, full) = (last.sequence, page.len() == EVENTS as usize);
        let sent = |event: &&events::Event| {
            let to = event.payload.get("to").and_then(|to| to.as_str()).unwrap_or_default();
            event.kind == "transfer.status_changed"
                && matches!(to, "BROADCASTING" | "CONFIRMING" | "COMPLETED")
        };
        let moved: BTreeSet<TransferId> =
            page.iter().filter(sent).filter_map(|event| event.transfer).collect();
        let mut found = Vec::new();
        for id in moved {
            let Some(transfer) = transfers::get(store, id).await? else { continue };
            let records = transactions::of_transfer(store, id).await?;
            found.extend(records.into_iter().filter(pays).map(|record| (transfer.clone(), record)));
        }
        let now = context.now();
        let mut tx = store.write().await?;
        for (transfer, record) in &found {
            let order = Some((transfer.id, transfer.intent.intent.digest()));
            let begun = Begun { subject: Subject::Broadcast(record.id), round: 0, order };
            noted += usize::from(screenings::begin(&mut tx, begun, now).await?);
        }
        screenings::set_cursor(&mut tx, PAID, &end.to_string()).await?;
        tx.commit().await?;
        cursor = end;
        if !full {
            return Ok(noted);
        }
    }
}

/// Notes from where on is to be read.
async fn first_look(context: &Context) -> Result<(), StepError> {
    let last = events::last(&context.store).await?;
    let mut tx = context.store.write().await?;
    screenings::set_cursor(&mut tx, PAID, &last.to_string()).await?;
    Ok(tx.commit().await?)
}

/// Whether it is signed, and pays somebody else than us.
fn pays(record: &TransactionRecord) -> bool {
    record.signed.is_some()
        && record.purpose != Purpose::Cancel
        && !record.is_child()
        && !record.effects.payments.is_empty()
}

/// Asks for every registration that is due; gives how many were answered.
pub async fn register(context: &Context, screening: &Screening) -> Result<usize, StepError> {
    let due = screenings::due(&context.store, SubjectKind::Broadcast, context.now(), REGISTRATIONS).await?;
    let mut answered = 0;
    for there in due {
        let (Subject::Broadcast(transaction), Some(transfer)) = (there.subject, there.transfer) else {
            continue;
        };
        let Some(transfer) = transfers::get(&context.store, transfer).await? else { continue };
        let Some(record) = transactions::get(&context.store, transaction).await? else { continue };
        let Some(inquiry) = inquiry(&transfer, &record) else { continue };
        let answer = screening.ask(&inquiry, there.round).await;
        let now = context.now();
        let attempts = there.attempts.saturating_add(1);
        let again = |pause| now.plus(pause);
        let progress = match answer {
            Ok(Answer::Complete { assessment, verdict }) => {
                count(inquiry.kind(), outcome_of(assessment.outcome));
                answered += 1;
                Progress::Complete { assessment, verdict }
            }
            Ok(Answer::Pending { reference, retry_after }) => {
                count(inquiry.kind(), "pending");
                let next_try = again(retry_after.clamp(screening.settings.retry, MAX_RETRY));
                Progress::Pending { reference: Some(reference), failure: None, next_try }
            }
            // The money has moved: it is asked for until the service knows of it.
            Err(failure) if failure.is_transient() => {
                count(inquiry.kind(), outcome(&failure));
                let next_try = again(screening.pause(attempts));
                Progress::Pending { reference: None, failure: Some(failure), next_try }
            }
            Err(failure) => {
                count(inquiry.kind(), outcome(&failure));
                Progress::Failed(failure)
            }
        };
        write(context, there.subject, there.round, attempts, &transfer, &progress, now).await?;
    }
    Ok(answered)
}

async fn write(
    context: &Context,
    subject: Subject,
    round: u32,
    attempts: u32,
    transfer: &Transfer,
    progress: &Progress,
    now: Timestamp,
) -> Result<(), StepError> {
    let mut tx = context.store.write().await?;
    // Another process was faster.
    if !screenings::put(&mut tx, subject, round, attempts, progress, now).await? {
        return Ok(());
    }
    let told = match progress {
        Progress::Pending { .. } => None,
        Progress::Complete { assessment, .. } => {
            let flagged = flag(&mut tx, context, transfer.id, assessment, now).await?;
            Some(("screening.registered", assessment.reference.clone(), flagged))
        }
        Progress::Failed(failure) => Some(("screening.not_registered", failure.to_string(), None)),
    };
    if let Some((kind, text, flagged)) = told {
        let payload = json!({
            "transferId": transfer.id,
            "transactionId": subject.to_string(),
            "text": text,
            "caseId": flagged,
        });
        events::append(&mut tx, kind, Some(transfer.id), now, &payload).await?;
    }
    Ok(tx.commit().await?)
}

/// What was found once it was sent, and was not known when it was let through, is as an alert about it: it is flagged, and people get a case,
/// whose id this gives. It is valid whatever anybody does.
async fn flag(
    tx: &mut WriteTx,
    context: &Context,
    id: TransferId,
    found: &Assessment,
    now: Timestamp,
) -> Result<Option<CaseId>, StepError> {
    let before = screenings::answered_in(tx, Subject::Transfer(id)).await?;
    let before = match before.map(|round| round.progress) {
        Some(Progress::Complete { assessment, .. }) => gravity(&assessment),
        // It was let through without an answer.
        _ => (false, Screened::Clear),
    };
    if gravity(found) <= before {
        return Ok(None);
    }
    let Some(transfer) = transfers::get_in(tx, id).await? else { return Ok(None) };
    // It ended without paying, which nothing that is found changes.
    if transfer.clone().apply(Fact::AlertRaised, now).is_err() {
        return Ok(None);
    }
    let reason = format!("screened after it was sent: {}", standing::words(found));
    let (subject, fresh) = (CaseSubject::Transfer(id), CaseId::new(context.ids.uuid()));
    let case = cases::open(tx, fresh, Cause::Alert, &subject, &reason, now).await?.id();
    if !transfer.already_says(&Fact::AlertRaised) {
        advance_in(tx, transfer, Fact::AlertRaised, now).await?;
    }
    tracing::warn!(transfer = %id, %case, "{reason}");
    Ok(Some(case))
}

fn gravity(assessment: &Assessment) -> (bool, Screened) {
    (assessment.sanctions, assessment.outcome)
}

fn inquiry(transfer: &Transfer, record: &TransactionRecord) -> Option<Inquiry> {
    let asset = transfer.intent.intent.asset;
    let payments = record.effects.payments.iter().map(|payment| Payee {
        address: payment.destination.address.clone(),
        tag: payment.destination.tag,
        asset,
        amount: payment.amount,
    });
    Some(Inquiry::Broadcast {
        transfer: transfer.id,
        intent: transfer.intent.intent.digest(),
        network: record.network,
        tx_id: record.signed.as_ref()?.tx_id.clone(),
        payments: payments.collect(),
    })
}

/// Takes the alerts since the last look; gives how many were new. One that makes no sense is left out, and counted;
/// one whose signature does not count now is asked for again, from where it is.
pub async fn poll(context: &Context, screening: &Screening) -> Result<usize, StepError> {
    let mut taken = 0;
    for _ in 0..PAGES {
        let cursor = screenings::cursor(&context.store, ALERTS).await?;
        let asked = screening.service.alerts(cursor.as_deref());
        let page = match tokio::time::timeout(screening.settings.timeout, asked).await {
            Ok(Ok(page)) => page,
            Ok(Err(failure)) => {
                tracing::warn!(%failure, "the screening gives no alerts; asking again");
                return Ok(taken);
            }
            Err(_) => {
                tracing::warn!("the screening gives no alerts in time; asking again");
                return Ok(taken);
            }
        };
        if let Err(invalid) = page.check() {
            tracing::warn!(%invalid, "the screening's alerts make no sense; asking again");
            return Ok(taken);
        }
        for signed in &page.alerts {
            match alerts::take(context, signed, Origin::Poll).await {
                Ok(alert) => taken += usize::from(alert.new),
                // Try again, from the same place.
                Err(AlertError::Step(error)) => return Err(error),
                // Whose signatures count can change: it waits, and what comes after it, until this one does.
                Err(refused @ (AlertError::NotScreener(_) | AlertError::NoScreener)) => {
                    metrics::counter!("bursar_screening_alerts_stopped_total").increment(1);
                    tracing::warn!(
                        alert = signed.alert.id, %refused,
                        "an alert's signature does not count; it and those after it wait until it does"
                    );
                    return Ok(taken);
                }
                Err(refused) => tracing::warn!(alert = signed.alert.id, %refused, "alert not taken"),
            }
        }
        let Some(next) = page.next.filter(|next| cursor.as_ref() != Some(next)) else { return Ok(taken) };
        let mut tx = context.store.write().await?;
        screenings::set_cursor(&mut tx, ALERTS, &next).await?;
        tx.commit().await?;
        if page.alerts.is_empty() {
            return Ok(taken);
        }
    }
    Ok(taken)
}
