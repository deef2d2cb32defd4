//! Everything that works in the background, started and stopped as one.

use crate::{context::Context, deposits, follower, queue, reconciler, screening::watch, sealer};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const GIVE_BACK: Duration = Duration::from_secs(5);

pub struct Workers {
    stop: CancellationToken,
    hurry: CancellationToken,
    drain: Duration,
    tasks: TaskTracker,
}

impl Workers {
    /// Starts the queue's worker, one follower for each chain, the reconciler, and the audit's sealer.
    pub fn start(context: Context) -> Self {
        let (stop, hurry, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        let drain = context.settings.drain;
        for network in context.chains.keys().copied() {
            tasks.spawn(follower::run(context.clone(), network, stop.clone()));
        }
        tasks.spawn(reconciler::run(context.clone(), stop.clone()));
        tasks.spawn(sealer::run(context.store.clone(), stop.clone()));
        if let Some(screening) = context.screening.clone() {
            tasks.spawn(deposits::run(context.clone(), screening.clone(), stop.clone()));
            tasks.spawn(watch::run(context.clone(), screening, stop.clone()));
        }
        tasks.spawn(queue::run(context, stop.clone(), hurry.clone()));
        tasks.close();
        Self { stop, hurry, drain, tasks }
    }

    /// Takes no new work and waits until what is running has come to its next durable state; what takes longer than `drain` is
    /// given back to the queue.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if tokio::time::timeout(self.drain, self.tasks.wait()).await.is_err() {
            tracing::warn!("jobs are still running; giving them back to the queue");
            self.hurry.cancel();
            let _ = tokio::time::timeout(GIVE_BACK, self.tasks.wait()).await;
        }
    }
}
