//! Threads for protocols, which compute for seconds between two messages.
//!
//! Every session has a thread, because sessions wait for one another across machines: were a session to keep a place
//! in a fixed pool while it waits, two co-signers could each wait for a session that the other has not begun. Instead
//! a session holds a core only while it computes.

use super::ProtocolError;
use futures::future::{Either, select};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Condvar, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use tokio::sync::oneshot;

/// A session costs a stack and little else; a co-signer that has this many has lost touch with its peers.
const MAX_SESSIONS: usize = 64;

/// Key generation keeps large proofs on the stack.
const STACK: usize = 16 << 20;

/// Runs the protocol that `start` makes on a thread of its own. Dropping the returned future ends it at its next wait.
pub(super) async fn run<T, F>(start: impl FnOnce() -> F + Send + 'static) -> Result<T, ProtocolError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ProtocolError>>,
{
    let place = Session::begin()?;
    let (mut done, outcome) = oneshot::channel();
    thread::Builder::new()
        .name("threshold".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            let _place = place;
            let finished = futures::executor::block_on(async {
                let mut protocol = Box::pin(start());
                let metered = poll_fn(move |context| {
                    let _core = CORES.acquire();
                    protocol.as_mut().poll(context)
                });
                match select(metered, pin!(done.closed())).await {
                    Either::Left((result, _)) => Some(result),
                    Either::Right(((), _)) => None,
                }
            });
            if let Some(result) = finished {
                // The caller may have left in this very moment; then nobody wants the result.
                let _ = done.send(result);
            }
        })
        .map_err(|_| ProtocolError::Busy { limit: MAX_SESSIONS })?;
    outcome.await.map_err(|_| ProtocolError::Crashed)?
}

struct Session;

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

impl Session {
    fn begin() -> Result<Self, ProtocolError> {
        let step = |running| (running < MAX_SESSIONS).then_some(running + 1);
        SESSIONS
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, step)
            .map(|_| Self)
            .map_err(|_| ProtocolError::Busy { limit: MAX_SESSIONS })
    }
}
impl Drop for Session {
    fn drop(&mut self) {
        SESSIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

static CORES: LazyLock<Cores> = LazyLock::new(|| Cores {
    free: Mutex::new(thread::available_parallelism().map_or(1, usize::from)),
    freed: Condvar::new(),
});

struct Cores {
    free: Mutex<usize>,
    freed: Condvar,
}

struct Core<'a>(&'a Cores);

impl Cores {
    fn acquire(&self) -> Core<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Core(self)
    }
}
impl Drop for Core<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_crash_is_an_error_of_its_session_only() {
        async fn crash() -> Result<(), ProtocolError> {
            panic!("a bug")
        }
        assert!(matches!(run(crash).await, Err(ProtocolError::Crashed)));
        assert!(matches!(run(|| async { Ok(1) }).await, Ok(1)));
    }

    #[tokio::test]
    async fn dropping_the_future_ends_the_thread() {
        let (held, mut gone) = oneshot::channel::<()>();
        let session = run(move || async move {
            let _held = held;
            std::future::pending::<Result<(), ProtocolError>>().await
        });
        tokio::select! {
            _ = session => unreachable!("a pending protocol has no outcome"),
            () = tokio::task::yield_now() => {}
        }
        let ended = tokio::time::timeout(std::time::Duration::from_secs(30), &mut gone).await;
        assert!(ended.expect("the thread went on").is_err());
    }
}
