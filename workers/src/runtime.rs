//! Everything that works in the background, started and stopped as one.

use crate::{context::Context, follower, queue, reconciler};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub struct Workers {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Workers {
    /// Starts the queue's worker, one follower for each chain, and the reconciler.
    pub fn start(context: Context) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for network in context.chains.keys().copied() {
            tasks.spawn(follower::run(context.clone(), network, stop.clone()));
        }
        tasks.spawn(reconciler::run(context.clone(), stop.clone()));
        tasks.spawn(queue::run(context, stop.clone()));
        tasks.close();
        Self { stop, tasks }
    }

    /// Takes no new work and waits until what is running has come to its next durable state.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
