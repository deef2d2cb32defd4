//! The job queue: apalis workers over our own table. The only module that names apalis.
//!
//! apalis gives the worker, its layers and its shutdown. Where jobs live is ours, because money needs what its SQL backends lack:
//! a lease with a fencing token that is renewed while the handler runs, jobs written in the caller's transaction, errors that
//! wait with growing pauses and are never dropped, and a panic that counts as an error.

use crate::{
    context::Context,
    engine::{self, Next},
    places::{Place, Places},
};
use apalis_core::{
    backend::{Backend, BackendConfig, finalize::Ephemeral},
    error::BoxDynError,
    task::{Task, builder::TaskBuilder},
    worker::{builder::WorkerBuilder, context::WorkerContext},
};
use bursar_domain::{ids::TransferId, time::Timestamp};
use bursar_store::jobs::{self, Claim, Outcome, Takes};
use futures::{FutureExt, future::BoxFuture};
use std::{
    panic::AssertUnwindSafe,
    task::{Poll, ready},
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Works on jobs until `stop`; jobs that are running then are finished first. At `hurry` they are given back as they are, for
/// another worker: every step may be cut off anywhere, as a crash would.
pub async fn run(context: Context, stop: CancellationToken, hurry: CancellationToken) {
    let worker = WorkerBuilder::new("transfers")
        .backend(LeasedJobs::new(context.clone(), stop))
        .build(Look { context, hurry });
    if let Err(error) = worker.run().await {
        tracing::error!(%error, "the worker has stopped");
    }
}

/// The longest pause between two tries of a failing job.
pub(crate) const MAX_PAUSE: Duration = Duration::from_secs(300);

/// 1 s, 2 s, 4 s, … up to five minutes.
fn pause_after(attempt: u32) -> Duration {
    Duration::from_secs(1).saturating_mul(1 << attempt.min(9)).min(MAX_PAUSE)
}

/// A claimed job, and the place that it takes until it is settled (except while co-signers are waited for).
struct Leased {
    claim: Claim,
    place: Place,
}

/// Claims a row only when there is a place for it to run, so that no claimed job waits in a buffer while its lease runs out.
struct LeasedJobs {
    ready: mpsc::Receiver<Leased>,
}

impl LeasedJobs {
    fn new(context: Context, stop: CancellationToken) -> Self {
        let (slots, ready) = mpsc::channel(1);
        tokio::spawn(feed(context, slots, stop));
        Self { ready }
    }
}

/// Ends when cancelled, which closes the channel and so stops the worker.
async fn feed(context: Context, ready: mpsc::Sender<Leased>, stop: CancellationToken) {
    let places = Places::new(context.settings.concurrency, context.settings.signing);
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = places.take() => match place { Some(place) => place, None => return },
        };
        // Listening starts before the table is read, so a commit in between is not missed.
        let notified = context.store.notified();
        tokio::pin!(notified);
        let takes = takes(&context);
        // One claim for all places that are free now. A place that is taken meanwhile is not waited for.
        let mut free = vec![place];
        free.extend(std::iter::from_fn(|| places.try_take()));
        let limit = u32::try_from(free.len()).unwrap_or(u32::MAX);
        let claimed =
            jobs::claim_of(&context.store, context.now(), context.settings.lease, limit, takes).await;
        let pause = match claimed {
            Ok(claims) if !claims.is_empty() => {
                for (claim, place) in claims.into_iter().zip(free) {
                    if ready.send(Leased { claim, place }).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            // What is due and not for this worker would keep it awake.
            Ok(_) if takes != Takes::All => context.settings.queue_poll,
            Ok(_) => idle(&context).await,
            Err(error) => {
                tracing::warn!(%error, "cannot read the job table; trying again");
                context.settings.queue_poll.saturating_mul(4)
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = notified => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A worker that reaches too few co-signers leaves what was left to a signer alone, for half a lease: longer than a signer that is
/// busy needs, and not much more than one that died.
fn takes(context: &Context) -> Takes {
    match context.settings.leave_signing && !context.signs() {
        true => Takes::NotForSigner(context.settings.lease / 2),
        false => Takes::All,
    }
}

/// How long to sleep when nothing is due: until the next job is, at most one poll interval.
async fn idle(context: &Context) -> Duration {
    let next = jobs::next_due(&context.store).await.ok().flatten();
    let left = next.map_or(context.settings.queue_poll, |due| due.since(context.now()));
    left.clamp(Duration::from_millis(5), context.settings.queue_poll)
}

#[derive(Debug, thiserror::Error)]
#[error("the job feed has ended")]
struct FeedEnded;

impl Backend for LeasedJobs {
    type Task = Task<Leased>;
    type Error = FeedEnded;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), FeedEnded>> {
        Poll::Ready(Ok(()))
    }
    fn poll_next(
        &mut self,
        cx: &mut std::task::Context<'_>,
        worker: &WorkerContext,
    ) -> Poll<Option<Result<Task<Leased>, FeedEnded>>> {
        let leased = ready!(self.ready.poll_recv(cx));
        if leased.is_none() {
            // The end of its backend alone does not end a worker: it would wait for ever to be told to stop.
            if let Err(error) = worker.stop() {
                tracing::warn!(%error, "the worker does not stop");
            }
        }
        Poll::Ready(leased.map(|leased| Ok(TaskBuilder::new(leased).build())))
    }
    fn poll_close(
        &mut self,
        _: &mut std::task::Context<'_>,
        _: &WorkerContext,
    ) -> Poll<Result<(), FeedEnded>> {
        self.ready.close();
        Poll::Ready(Ok(()))
    }
}

impl BackendConfig for LeasedJobs {
    type Args = Leased;
    type Id = TransferId;
    type Kind = Ephemeral;
    type Config = ();
    type Layer = tower::layer::util::Identity;

    fn config(&self) -> &() {
        &()
    }
    fn middleware(&mut self, _: &mut WorkerContext) -> tower::layer::util::Identity {
        tower::layer::util::Identity::new()
    }
}

/// Looks at a transfer while its lease holds, and settles the job before the worker's slot is freed.
#[derive(Clone)]
struct Look {
    context: Context,
    hurry: CancellationToken,
}

impl tower::Service<Task<Leased>> for Look {
    type Response = ();
    type Error = BoxDynError;
    type Future = BoxFuture<'static, Result<(), BoxDynError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), BoxDynError>> {
        Poll::Ready(Ok(()))
    }
    fn call(&mut self, task: Task<Leased>) -> Self::Future {
        let Self { mut context, hurry } = self.clone();
        let Leased { claim, place } = task.args;
        // Nobody took it from this worker: then the transfer says why it waits.
        context.settings.leave_signing &= !claim.for_signer;
        Box::pin(async move {
            place.run(work(&context, &claim, &hurry)).await;
            Ok(())
        })
    }
}

async fn work(context: &Context, claim: &Claim, hurry: &CancellationToken) {
    let mut served = claim.clone();
    let looking = AssertUnwindSafe(look(context, &mut served)).catch_unwind();
    let outcome = tokio::select! {
        result = looking => outcome(context.now(), claim, result),
        () = hurry.cancelled() => Outcome::Again(context.now()),
        // Another worker has it now; whatever it does, compare-and-set keeps the two apart.
        () = keep_lease(context, claim) => {
            tracing::warn!(transfer = %claim.transfer, "lost the lease; leaving the job to its new owner");
            return;
        }
    };
    match jobs::settle(&context.store, &served, context.now(), outcome).await {
        Ok(true) => {}
        Ok(false) => tracing::debug!(transfer = %claim.transfer, "the job had another owner at its end"),
        Err(error) => {
            tracing::warn!(transfer = %claim.transfer, %error, "cannot settle the job; its lease will run out")
        }
    }
}

/// How often a transfer is looked at again before its job is settled.
const MORE_LOOKS: usize = 3;

/// Looks until nothing has nudged the transfer since the last look began, so that its own steps, which nudge it too, do not
/// bring the job back. What is left after some looks the queue brings back.
async fn look(context: &Context, claim: &mut Claim) -> Result<Next, engine::StepError> {
    let mut next = engine::look_at(context, claim.transfer).await?;
    for _ in 0..MORE_LOOKS {
        if next == Next::LeaveToSigner {
            break;
        }
        match jobs::wanted(&context.store, claim).await {
            Ok(Some(wanted)) if wanted != claim.wanted => claim.wanted = wanted,
            _ => break,
        }
        next = engine::look_at(context, claim.transfer).await?;
    }
    Ok(next)
}

/// Returns when the lease is lost.
async fn keep_lease(context: &Context, claim: &Claim) {
    let lease = context.settings.lease;
    loop {
        tokio::time::sleep(lease / 3).await;
        if let Ok(false) = jobs::renew(&context.store, claim, context.now().plus(lease)).await {
            return;
        }
    }
}

type Looked = std::thread::Result<Result<Next, engine::StepError>>;

fn outcome(now: Timestamp, claim: &Claim, result: Looked) -> Outcome {
    let error = match result {
        Ok(Ok(Next::Rest)) => return Outcome::Done,
        Ok(Ok(Next::LookAgain(pause))) => return Outcome::Again(now.plus(pause)),
        Ok(Ok(Next::LeaveToSigner)) => return Outcome::ForSigner,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the step panicked".to_owned(),
    };
    metrics::counter!("bursar_job_failures_total").increment(1);
    tracing::warn!(transfer = %claim.transfer, attempt = claim.attempt, error, "the step failed; trying again later");
    Outcome::Failed { at: now.plus(pause_after(claim.attempt)), error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause_after(0), Duration::from_secs(1));
        assert_eq!(pause_after(3), Duration::from_secs(8));
        assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
    }
}
