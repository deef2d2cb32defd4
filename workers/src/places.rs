//! Places of workers: how many transfers are worked on at once, and how many wait for co-signers.
//!
//! A session may hang until it times out. Whoever waits for co-signers therefore gives the engine's place back and holds one of those
//! for signing, which are counted apart: however many sessions hang, the steps of all other transfers go on. What finds no place for
//! signing does not wait for one, for it would hold the engine's meanwhile; it says so on the transfer, and is looked at again.
//!
//! The places are the queue's. Outside of it nothing is limited.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Those of one worker.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    engine: Arc<Semaphore>,
    signing: Arc<Semaphore>,
    for_signing: usize,
}

/// The place of a job that is being worked on.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    all: Places,
    /// Absent while it waits for co-signers.
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

/// A place for waiting on co-signers.
#[derive(Debug)]
pub(crate) struct ToSign {
    _permit: Option<OwnedSemaphorePermit>,
}

/// As many sessions are under way here as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} signing sessions are under way here, which is as many as may be; it has its turn when one has ended"
)]
pub(crate) struct NoPlace(usize);

tokio::task_local! {
    static HERE: Place;
}

impl Places {
    pub fn new(engine: usize, signing: usize) -> Self {
        let (engine, signing) = (engine.max(1), signing.max(1));
        Self {
            engine: Arc::new(Semaphore::new(engine)),
            signing: Arc::new(Semaphore::new(signing)),
            for_signing: signing,
        }
    }

    /// The next place of the engine that is free. `None`: never, they are closed.
    pub async fn take(&self) -> Option<Place> {
        let permit = self.engine.clone().acquire_owned().await.ok()?;
        Some(self.place(permit))
    }

    /// A place that is free now.
    pub fn try_take(&self) -> Option<Place> {
        let permit = self.engine.clone().try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    fn place(&self, permit: OwnedSemaphorePermit) -> Place {
        Place { all: self.clone(), held: Arc::new(Mutex::new(Some(permit))) }
    }
}

impl Place {
    /// Runs a job at this place, and frees it.
    pub async fn run<T>(self, job: impl Future<Output = T>) -> T {
        HERE.scope(self, job).await
    }

    fn give_back(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    async fn take_again(&self) {
        // Nobody closes them; without a place it goes on all the same.
        let permit = self.all.engine.clone().acquire_owned().await.ok();
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = permit;
    }
}

/// A place for signing, without waiting for one. Asked for before it is written down that a session may begin.
pub(crate) fn to_sign() -> Result<ToSign, NoPlace> {
    let Ok(all) = HERE.try_with(|place| place.all.clone()) else { return Ok(ToSign { _permit: None }) };
    match all.signing.try_acquire_owned() {
        Ok(permit) => Ok(ToSign { _permit: Some(permit) }),
        Err(_) => Err(NoPlace(all.for_signing)),
    }
}

impl ToSign {
    /// Waits for co-signers at this place. The engine's is free meanwhile, and taken again before anything else is done.
    pub async fn wait<T>(self, asking: impl Future<Output = T>) -> T {
        let Ok(place) = HERE.try_with(Clone::clone) else { return asking.await };
        place.give_back();
        let answer = asking.await;
        drop(self);
        place.take_again().await;
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test]
    async fn who_waits_for_co_signers_leaves_the_place_to_others() {
        let places = Places::new(1, 1);
        let place = places.take().await.unwrap();
        assert!(places.try_take().is_none());
        let (answer, answered) = tokio::sync::oneshot::channel::<()>();
        let mut signing = Box::pin(place.run(async { to_sign().unwrap().wait(answered).await }));
        assert!((&mut signing).now_or_never().is_none());
        let other = places.try_take().expect("the place is free while co-signers are waited for");
        let refused = places.clone();
        other.run(async { assert_eq!(to_sign().err(), Some(NoPlace(1))) }).await;
        let other = refused.try_take().unwrap();
        answer.send(()).unwrap();
        assert!((&mut signing).now_or_never().is_none(), "the engine's place is taken");
        drop(other);
        (&mut signing).now_or_never().expect("it goes on").unwrap();
        assert!(places.try_take().is_some());
        assert!(places.signing.available_permits() == 1);
    }

    #[tokio::test]
    async fn who_gives_up_holds_nothing() {
        let places = Places::new(1, 1);
        let place = places.take().await.unwrap();
        let mut signing = Box::pin(place.run(async {
            to_sign().unwrap().wait(std::future::pending::<()>()).await;
        }));
        assert!((&mut signing).now_or_never().is_none());
        drop(signing);
        assert_eq!((places.engine.available_permits(), places.signing.available_permits()), (1, 1));
    }

    #[tokio::test]
    async fn outside_of_the_queue_nothing_is_limited() {
        let first = to_sign().unwrap();
        assert!(to_sign().is_ok());
        assert_eq!(first.wait(async { 7 }).await, 7);
    }
}
