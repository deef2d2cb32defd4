//! Somebody in the middle of something: a future that is polled only when it is its turn, and that dies when it is dropped.

use crate::shared::basics::lock;
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tokio::sync::Notify;

/// As long as somebody may wait for what another holds (the database's one writer) before the scheduler lets others go on.
const BLOCKED_AFTER: Duration = Duration::from_millis(4);

#[derive(Default)]
struct Alarm {
    woken: Mutex<bool>,
    notify: Notify,
}
impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        *lock(&self.woken) = true;
        self.notify.notify_one();
    }
}
impl Alarm {
    /// Ends when it was woken; `false` when that takes too long.
    async fn rung(&self) -> bool {
        let ring = async {
            while !std::mem::take(&mut *lock(&self.woken)) {
                self.notify.notified().await;
            }
        };
        tokio::time::timeout(BLOCKED_AFTER, ring).await.is_ok()
    }
}

type Work = Pin<Box<dyn Future<Output = String> + Send>>;

#[derive(Default)]
pub struct Actor {
    work: Option<(&'static str, Work)>,
    alarm: Arc<Alarm>,
}

impl Actor {
    pub fn is_idle(&self) -> bool {
        self.work.is_none()
    }
    pub fn begin(&mut self, what: &'static str, work: impl Future<Output = String> + Send + 'static) {
        self.work = Some((what, Box::pin(work)));
    }
    /// Gives what died.
    pub fn crash(&mut self) -> Option<&'static str> {
        self.work.take().map(|(what, _)| what)
    }

    /// To its next scheduling point, which is wherever it waits for anything.
    pub async fn point(&mut self) -> Point {
        let Some((what, work)) = &mut self.work else { return Point::Idle };
        let waker = Waker::from(self.alarm.clone());
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => {
                let what = *what;
                self.work = None;
                Point::Ended(format!("{what}: {result}"))
            }
            Poll::Pending => match self.alarm.rung().await {
                true => Point::Reached,
                false => Point::Blocked,
            },
        }
    }
}

pub enum Point {
    Idle,
    Reached,
    /// Somebody else has what it needs.
    Blocked,
    Ended(String),
}
