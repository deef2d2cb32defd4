//! Everything that works in the background, started and stopped as one.

use crate::{context::Context, follower, queue, reconciler};
use std::time::Duration;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long jobs that are running may take to come to their end when the process is told to stop. Service managers kill after 90
/// seconds, container runtimes after 10 or 30 unless told otherwise.
const DRAIN: Duration = Duration::from_secs(20);
const GIVE_BACK: Duration = Duration::from_secs(5);

pub struct Workers {
    stop: CancellationToken,
    hurry: CancellationToken,
    tasks: TaskTracker,
}

impl Workers {
    /// Starts the queue's worker, one follower for each chain, and the reconciler.
    pub fn start(context: Context) -> Self {
        let (stop, hurry, tasks) = (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
        for network in context.chains.keys().copied() {
            tasks.spawn(follower::run(context.clone(), network, stop.clone()));
        }
        tasks.spawn(reconciler::run(context.clone(), stop.clone()));
        tasks.spawn(queue::run(context, stop.clone(), hurry.clone()));
        tasks.close();
        Self { stop, hurry, tasks }
    }

    /// Takes no new work and waits until what is running has come to its next durable state; what takes longer than [`DRAIN`] is
    /// given back to the queue.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if tokio::time::timeout(DRAIN, self.tasks.wait()).await.is_err() {
            tracing::warn!("jobs are still running; giving them back to the queue");
            self.hurry.cancel();
            let _ = tokio::time::timeout(GIVE_BACK, self.tasks.wait()).await;
        }
    }
}
