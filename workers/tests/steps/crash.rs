//! Death at every await point, and two workers at once.

use crate::support::world::{ETHEREUM, World, XRP};
use bursar_domain::lifecycle::Status;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A future that dies at its `polls`-th await point: `None`.
struct Mortal<F> {
    future: Pin<Box<F>>,
    polls: usize,
}

impl<F: Future> Future for Mortal<F> {
    type Output = Option<F::Output>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if self.polls == 0 => Poll::Ready(None),
            Poll::Pending => {
                self.polls -= 1;
                Poll::Pending
            }
        }
    }
}

fn mortal<F: Future>(future: F, polls: usize) -> Mortal<F> {
    Mortal { future: Box::pin(future), polls }
}

/// Dies at the first await point of a look, then at the second, … until a look survives; after each death another process
/// carries on to the end.
async fn die_everywhere(descriptor: &str, name: &str, from: Status) {
    let world = World::new(descriptor).await;
    let mut deaths = 0;
    loop {
        let id = world.submit(&format!("{name}-{deaths}")).await;
        world.until(id, from).await;
        if from >= Status::Broadcasting {
            for _ in 0..crate::support::world::DEPTH {
                world.mine().await;
            }
        }
        let survived = mortal(world.look(id), deaths).await.is_some();
        world.assert_paid_once(id).await;
        if survived {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 10, "only {deaths} await points were met");
}

#[tokio::test]
async fn death_before_the_package_is_frozen__should_pay_once() {
    die_everywhere(ETHEREUM, "submitted", Status::Submitted).await;
}

#[tokio::test]
async fn death_between_signing_and_broadcast__should_pay_once() {
    die_everywhere(ETHEREUM, "signing", Status::PendingSignature).await;
}

#[tokio::test]
async fn death_between_signing_and_broadcast_on_ledgers__should_pay_once() {
    die_everywhere(XRP, "ledgers", Status::PendingSignature).await;
}

#[tokio::test]
async fn death_while_confirming__should_pay_once() {
    die_everywhere(ETHEREUM, "confirming", Status::Broadcasting).await;
}

/// Numbers that look random and are the same in every run (Knuth, MMIX).
struct Dice(u64);
impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test]
async fn two_workers_that_die_at_random__should_pay_once() {
    for seed in 0..12 {
        let world = World::ethereum().await;
        let id = world.submit(&format!("seed-{seed}")).await;
        let mut dice = Dice(seed);
        let mut workers = [Box::pin(world.look(id)), Box::pin(world.look(id))];
        for _ in 0..3000 {
            let chosen = usize::try_from(dice.roll(2)).unwrap();
            let ended = futures::poll!(&mut workers[chosen]).is_ready();
            // It has died, or its job comes again.
            if ended || dice.roll(60) == 0 {
                workers[chosen] = Box::pin(world.look(id));
            }
            match dice.roll(40) {
                0 => world.later(),
                1 => world.chain.mine(),
                _ => {}
            }
            // The store works on threads of its own.
            tokio::time::sleep(Duration::from_micros(50)).await;
        }
        drop(workers);
        world.follow().await;
        world.assert_paid_once(id).await;
    }
}
