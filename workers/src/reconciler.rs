//! Finds every transfer that should move and has no job, and tells of those that do not move although they should. Takes no
//! input; the rows are the truth.
//!
//! What a person must do (a review, a halt, an unexplained spend) and what the world must do (funds, fees, co-signers) waits in plain
//! sight, with its sub-status, and is no alarm here.

use crate::{context::Context, engine::StepError, gaps};
use bursar_domain::{
    lifecycle::{State, SubStatus},
    time::Timestamp,
};
use bursar_store::{
    StoreError, halts, jobs,
    sweep::{self, Idle},
    transfers,
};
use tokio_util::sync::CancellationToken;

const BATCH: u32 = 500;
/// What rests in a block has no job either and is found each time, so one batch might never reach the rest. What was nudged
/// just now is not found again unless a worker was faster; this bounds that.
const MAX_BATCHES: usize = 200;

pub async fn run(context: Context, stop: CancellationToken) {
    loop {
        if let Err(error) = show_halts(&context).await {
            tracing::warn!(%error, "cannot read the halts; trying again");
        }
        match sweep(&context).await {
            Ok(0) => {}
            Ok(found) => tracing::debug!(found, "nudged transfers that had no job"),
            Err(error) => tracing::warn!(%error, "cannot sweep; trying again"),
        }
        if let Err(error) = show_gaps(&context).await {
            tracing::warn!(%error, "cannot look for gaps; trying again");
        }
        match stalled(&context).await {
            Ok(found) => metrics::gauge!("bursar_stalled_transfers").set(found as f64),
            Err(error) => tracing::warn!(%error, "cannot look for what has stalled; trying again"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(context.settings.sweep) => {}
        }
    }
}

async fn show_gaps(context: &Context) -> Result<(), StepError> {
    for network in context.chains.keys() {
        let found = gaps::sweep(context, *network).await?.len();
        metrics::gauge!("bursar_account_gaps", "network" => network.to_string()).set(found as f64);
    }
    Ok(())
}

async fn show_halts(context: &Context) -> Result<(), StoreError> {
    for network in context.chains.keys() {
        let standing = halts::standing(&context.store, *network).await?.len();
        metrics::gauge!("bursar_halts", "network" => network.to_string()).set(standing as f64);
    }
    Ok(())
}

/// Longer than anything is ever put off or leased: what seems to be is the work of a clock that ran ahead.
fn far_off(context: &Context) -> std::time::Duration {
    2 * context.settings.lease.max(context.settings.package_lifetime).max(crate::queue::MAX_PAUSE)
}

/// Nudges what has no job, and says how many there were.
pub async fn sweep(context: &Context) -> Result<usize, StoreError> {
    let now = context.now();
    let reined = jobs::rein_in(&context.store, now, far_off(context)).await?;
    if reined > 0 {
        tracing::warn!(reined, "jobs were put off or leased by a clock that ran ahead; looking at them now");
    }
    let mut found = 0;
    for _ in 0..MAX_BATCHES {
        // Whenever they were touched, by whatever clock.
        let forgotten =
            transfers::unfinished(&context.store, now.plus(std::time::Duration::MAX), BATCH).await?;
        if forgotten.is_empty() {
            break;
        }
        let mut tx = context.store.write().await?;
        for transfer in &forgotten {
            jobs::nudge(&mut tx, *transfer, now).await?;
        }
        tx.commit().await?;
        found += forgotten.len();
    }
    for network in context.chains.keys() {
        let unsettled = sweep::unsettled(&context.store, *network).await?;
        if unsettled.is_empty() {
            continue;
        }
        let mut tx = context.store.write().await?;
        for transfer in &unsettled {
            jobs::nudge(&mut tx, *transfer, now).await?;
        }
        tx.commit().await?;
        found += unsettled.len();
    }
    Ok(found)
}

/// Raises an alarm for each transfer that should have moved and has not for the last sweeps, and says how many there are.
pub async fn stalled(context: &Context) -> Result<usize, StoreError> {
    let now = context.now();
    let patience = context.settings.sweep.saturating_mul(context.settings.stalled_sweeps);
    let patience = i64::try_from(patience.as_micros()).unwrap_or(i64::MAX);
    let before = Timestamp(now.micros().saturating_sub(patience));
    let (mut found, mut last): (usize, Option<Idle>) = (0, None);
    for _ in 0..MAX_BATCHES {
        let idle = sweep::idle(&context.store, before, last.as_ref(), BATCH).await?;
        for transfer in &idle {
            let Some(why) = should_have_moved(transfer) else { continue };
            found += 1;
            let mut tx = context.store.write().await?;
            if sweep::stalled(&mut tx, transfer, why, now).await? {
                tx.commit().await?;
                tracing::error!(
                    transfer = %transfer.id, status = %transfer.state.status(), why, error = transfer.error, "transfer has stalled"
                );
            }
        }
        match idle.len() {
            full if full == BATCH as usize => last = idle.into_iter().next_back(),
            _ => break,
        }
    }
    Ok(found)
}

/// Why a transfer that has not changed for long should have; `None` if it says itself what it waits for.
fn should_have_moved(idle: &Idle) -> Option<&'static str> {
    use SubStatus as Sub;
    if idle.attempts > 0 {
        return Some("its step fails each time");
    }
    match &idle.state {
        // These wait for people, and say so.
        State::PendingAuthorization
            if matches!(
                idle.sub_status,
                Some(
                    Sub::AwaitingApprovals
                        | Sub::AwaitingScreening
                        | Sub::AwaitingWindow
                        | Sub::PolicyDelay
                        | Sub::SignerNotYet
                        | Sub::Frozen
                        | Sub::RecallLapsed
                )
            ) =>
        {
            None
        }
        State::PendingScreening
            if matches!(idle.sub_status, Some(Sub::ScreeningPending | Sub::TravelRulePending)) =>
        {
            None
        }
        State::Submitted | State::PendingScreening | State::PendingAuthorization | State::Signed { .. } => {
            Some("nothing holds it here")
        }
        State::Queued | State::PendingSignature { .. } => match idle.sub_status {
            None | Some(Sub::NotScreened | Sub::NotAuthorized) => Some("nothing holds it here"),
            Some(Sub::Signing) => Some("its signing session does not end"),
            Some(Sub::SigningFailed | Sub::SignerTimeout) => Some("its signing sessions give no signature"),
            Some(Sub::InvalidTransaction) => Some("what is built for it is refused by our own decoder"),
            Some(_) => None,
        },
        State::Broadcasting { maybe_sent: true, .. } => Some("no node has clearly taken it"),
        State::Confirming { block, .. } if block.height <= idle.final_height => Some("its block is final"),
        _ => None,
    }
}
