//! Death at every await point, and two workers at once.

use crate::support::world::{DEPTH, ETHEREUM, World, XRP};
use bursar_domain::{
    ids::TransferId,
    lifecycle::{Status, Verb},
};
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

/// A look that dies at its `polls`-th await point, and whether it outlived that.
///
/// A commit that was under way at the death may still land, as it may in the database of a process that dies. This waits for it, so that
/// the next look is of another process that comes later; two at once are a test of their own.
pub async fn outlives(world: &World, id: TransferId, polls: usize) -> bool {
    let outlived = Mortal { future: Box::pin(world.look(id)), polls }.await.is_some();
    drop(world.store().write().await.unwrap());
    outlived
}

/// Looks in a row that must outlive their time before it is believed that no await point is left: how many there are
/// depends a little on how fast the database answers.
pub const SURVIVORS: usize = 5;

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
        match outlives(&world, id, polls).await {
            false => (deaths, survivors) = (deaths + 1, 0),
            true => survivors += 1,
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

/// As [`die_everywhere`], from a transaction under way with another asked for in its place.
async fn die_replacing(descriptor: &str, verb: Verb, ended: Status) {
    let world = World::new(descriptor).await;
    let (mut deaths, mut survivors) = (0, 0);
    for polls in 0.. {
        let id = world.broadcast(&format!("replaced-{polls}")).await;
        world.ask(id, verb).await.unwrap();
        match outlives(&world, id, polls).await {
            false => (deaths, survivors) = (deaths + 1, 0),
            true => survivors += 1,
        }
        world.later();
        world.look(id).await.unwrap();
        world.assert_ended(id, ended).await;
        if survivors == SURVIVORS {
            break;
        }
    }
    assert!(deaths >= 8, "only {deaths} await points were met");
}

#[tokio::test]
async fn death_while_speeding_up__should_pay_once() {
    die_replacing(ETHEREUM, Verb::SpeedUp { raise_percent: Some(50) }, Status::Completed).await;
}

#[tokio::test]
async fn death_while_cancelling__should_pay_nobody() {
    die_replacing(XRP, Verb::Cancel, Status::Replaced).await;
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
    die_at_random(false).await;
}

/// The same while transactions are called stuck, sped up and cancelled all the time.
#[tokio::test]
async fn workers_that_die_at_random_while_replacing__should_end_with_one_transaction() {
    die_at_random(true).await;
}

async fn die_at_random(replacing: bool) {
    for seed in 0..8 {
        let mut world = World::ethereum().await;
        world.policy(|policy| policy.automatic = replacing);
        let world = &world;
        let id = world.submit(&format!("seed-{seed}")).await;
        // Two that look at the transfer, one that follows the chain, and someone who asks for this and that.
        let start = |index: usize| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            match index {
                2 => Box::pin(world.follow()),
                3 => Box::pin(futures::future::pending()),
                _ => Box::pin(async { drop(world.look(id).await) }),
            }
        };
        let ask = |verb| -> Pin<Box<dyn Future<Output = ()> + '_>> {
            Box::pin(async move { drop(world.ask(id, verb).await) })
        };
        let mut workers = [start(0), start(1), start(2), start(3)];
        let mut dice = Dice(seed);
        for _ in 0..4000 {
            let chosen = usize::try_from(dice.roll(if replacing { 4 } else { 3 })).unwrap();
            let ended = futures::poll!(&mut workers[chosen]).is_ready();
            // It has died, or its job comes again.
            if ended || dice.roll(60) == 0 {
                workers[chosen] = start(chosen);
            }
            match dice.roll(200) {
                0 => world.later(),
                1 => world.chain.mine(),
                2 if dice.roll(4) == 0 && world.chain.height() > 1 => world.chain.reorganise(1),
                3 if replacing => workers[3] = ask(Verb::SpeedUp { raise_percent: None }),
                4 if replacing && dice.roll(4) == 0 => workers[3] = ask(Verb::Cancel),
                _ => {}
            }
            // The store answers from threads of its own; waiting for it by the runtime's timer would take milliseconds.
            std::thread::sleep(Duration::from_micros(30));
            tokio::task::yield_now().await;
        }
        drop(workers);
        world.follow().await;
        match replacing {
            true => drop(world.assert_at_most_one(id).await),
            false => world.assert_paid_once(id).await,
        }
    }
}
