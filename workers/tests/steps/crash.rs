//! Death at every await point, and two workers at once.

use crate::support::world::{DEPTH, ETHEREUM, World, XRP};
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

/// Looks in a row that must outlive their time before it is believed that no await point is left: how many there are
/// depends a little on how fast the database answers.
const SURVIVORS: usize = 5;

/// Dies at the first await point of a look, then at the second, … until looks survive; after each death another process
/// carries on to the end.
async fn die_everywhere(descriptor: &str, name: &str, from: Status) {
    let world = World::new(descriptor).await;
    let (mut deaths, mut survivors) = (0, 0);
    for polls in 0.. {
        let id = world.submit(&format!("{name}-{polls}")).await;
        world.until(id, from).await;
        if from >= Status::Broadcasting {
            for _ in 0..DEPTH {
                world.mine().await;
            }
        }
        match mortal(world.look(id), polls).await {
            None => (deaths, survivors) = (deaths + 1, 0),
            Some(_) => survivors += 1,
        }
        world.assert_paid_once(id).await;
        if survivors == SURVIVORS {
            break;
        }
    }
    assert!(deaths >= 4, "only {deaths} await points were met");
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
async fn workers_that_die_at_random__should_pay_once() {
    for seed in 0..8 {
        let world = World::ethereum().await;
        let id = world.submit(&format!("seed-{seed}")).await;
        // Two that look at the transfer, and one that follows the chain.
        let start = |index: usize| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            match index {
                2 => Box::pin(world.follow()),
                _ => Box::pin(async { drop(world.look(id).await) }),
            }
        };
        let mut workers = [start(0), start(1), start(2)];
        let mut dice = Dice(seed);
        for _ in 0..4000 {
            let chosen = usize::try_from(dice.roll(3)).unwrap();
            let ended = futures::poll!(&mut workers[chosen]).is_ready();
            // It has died, or its job comes again.
            if ended || dice.roll(60) == 0 {
                workers[chosen] = start(chosen);
            }
            match dice.roll(200) {
                0 => world.later(),
                1 => world.chain.mine(),
                2 if dice.roll(4) == 0 && world.chain.height() > 1 => world.chain.reorganise(1),
                _ => {}
            }
            // The store answers from threads of its own; waiting for it by the runtime's timer would take milliseconds.
            std::thread::sleep(Duration::from_micros(30));
            tokio::task::yield_now().await;
        }
        drop(workers);
        world.follow().await;
        world.assert_paid_once(id).await;
    }
}
