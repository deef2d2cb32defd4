//! Wake-ups: a commit that queued a nudge or appended an event wakes who waits for it, in this process at once, and in others over
//! Postgres (NOTIFY, which reaches them only when it is committed). They save time and carry nothing: who waits also polls.

use sqlx::postgres::PgListener;
use std::{
    future::Future,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::Notify, task::AbortHandle, time::timeout};

const CHANNEL: &str = "bursar";
const JOBS: &str = "jobs";
const EVENTS: &str = "events";

/// A listener that has heard nothing for this long asks whether the server is still there.
const QUIET: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// What a transaction will wake when it is committed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wakes {
    pub jobs: bool,
    pub events: bool,
}

impl Wakes {
    /// For a transaction on Postgres, to be run before its COMMIT. Also when it wakes nobody: COMMIT of a transaction in which a
    /// statement failed answers with success and commits nothing, and this one fails then.
    pub const fn notify(self) -> &'static str {
        match self {
            Self { jobs: true, events: true } => {
                "SELECT pg_notify('bursar', 'jobs')::text, pg_notify('bursar', 'events')::text"
            }
            Self { jobs: true, events: false } => "SELECT pg_notify('bursar', 'jobs')::text",
            Self { jobs: false, events: true } => "SELECT pg_notify('bursar', 'events')::text",
            Self { jobs: false, events: false } => "SELECT 1",
        }
    }
}

/// Who waits in this process.
#[derive(Default)]
pub(crate) struct Signals {
    jobs: Arc<Notify>,
    events: Arc<Notify>,
}

impl Signals {
    pub fn wake(&self, wakes: Wakes) {
        if wakes.jobs {
            wake(&self.jobs);
        }
        if wakes.events {
            wake(&self.events);
        }
    }

    pub fn jobs(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.jobs).notified_owned()
    }

    pub fn events(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.events).notified_owned()
    }
}

/// Wakes all that wait, and leaves one permit for who is between looking and waiting.
fn wake(signal: &Notify) {
    signal.notify_waiters();
    signal.notify_one();
}

/// Listens for the commits of other processes from the first time that somebody here waits, until it is dropped.
pub(crate) struct Ear {
    url: String,
    signals: Arc<Signals>,
    listening: OnceLock<AbortHandle>,
}

impl Ear {
    pub fn new(url: String, signals: Arc<Signals>) -> Self {
        Self { url, signals, listening: OnceLock::new() }
    }

    /// Call it from within the runtime.
    pub fn open(&self) {
        self.listening
            .get_or_init(|| tokio::spawn(listen(self.url.clone(), Arc::clone(&self.signals))).abort_handle());
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(task) = self.listening.get() {
            task.abort();
        }
    }
}

async fn listen(url: String, signals: Arc<Signals>) {
    let mut told = false;
    loop {
        let Err(error) = hear(&url, &signals, &mut told).await;
        if !told {
            tracing::warn!(%error, "commits of other processes are not heard at once; polling until they are");
            told = true;
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Until the connection is lost.
async fn hear(
    url: &str,
    signals: &Signals,
    told: &mut bool,
) -> Result<std::convert::Infallible, sqlx::Error> {
    const ALL: Wakes = Wakes { jobs: true, events: true };
    let mut listener = PgListener::connect(url).await?;
    listener.listen(CHANNEL).await?;
    if std::mem::take(told) {
        tracing::info!("commits of other processes are heard again");
    }
    // What was committed while nobody listened.
    signals.wake(ALL);
    loop {
        match timeout(QUIET, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => signals.wake(Wakes {
                jobs: notification.payload() == JOBS,
                events: notification.payload() == EVENTS,
            }),
            // The connection was lost, and is there again.
            Ok(Ok(None)) => signals.wake(ALL),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let asked = sqlx::query("SELECT 1").execute(&mut listener);
                timeout(ANSWER_WITHIN, asked).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_say_what_listeners_read() {
        for (wakes, expected) in [
            (Wakes { jobs: true, events: true }, vec![JOBS, EVENTS]),
            (Wakes { jobs: true, events: false }, vec![JOBS]),
            (Wakes { jobs: false, events: true }, vec![EVENTS]),
            (Wakes::default(), vec![]),
        ] {
            let sql = wakes.notify();
            for payload in [JOBS, EVENTS] {
                let said = sql.contains(&format!("pg_notify('{CHANNEL}', '{payload}')"));
                assert_eq!(said, expected.contains(&payload), "{sql}");
            }
        }
    }
}
