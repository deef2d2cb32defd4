//! The queue, the reconciler, and all of the workers together.

use crate::support::world::World;
use bursar_domain::{
    ids::TransferId,
    lifecycle::{Status, SubStatus},
    package::SigningPackage,
    ports::{SignError, ThresholdSigner},
    signing::{GroupKey, Scheme, SignatureBytes, SigningPayload},
    time::Clock as _,
};
use bursar_store::{
    events,
    jobs::{self, Outcome},
};
use bursar_workers::{Workers, engine::Next, reconciler};
use std::{sync::Arc, time::Duration};

/// Waits, bounded, until something holds; says the last state of the transfer if it never does.
async fn eventually(world: &World, id: TransferId, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(60), waiting).await.is_err() {
        panic!("{what} does not come true: {:?}", world.transfer(id).await);
    }
}

/// Time passes and blocks come while the workers are running.
async fn completed(world: &World, id: TransferId) {
    eventually(world, id, "completion", async || {
        world.clock.advance(Duration::from_secs(10));
        world.chain.mine();
        world.status(id).await.0 == Status::Completed
    })
    .await;
}

#[tokio::test]
async fn workers__should_take_a_transfer_to_its_end() {
    let world = World::ethereum().await;
    let workers = Workers::start(world.context.clone());
    let id = world.submit("workers").await;
    completed(&world, id).await;
    workers.shutdown().await;
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn step_that_panics__should_be_an_error_and_be_tried_again() {
    let world = World::ethereum().await;
    let id = world.submit("panics").await;
    world.until(id, Status::Queued).await;
    world.chain.panic_next(2);
    for attempt in 1..=2 {
        let workers = Workers::start(world.context.clone());
        eventually(&world, id, "a job that rests", async || {
            jobs::depth(world.store(), world.clock.now()).await.unwrap() == (0, 1)
        })
        .await;
        workers.shutdown().await;
        world.clock.advance(Duration::from_secs(10));
        let lease = Duration::from_secs(1);
        let claims = jobs::claim(world.store(), world.clock.now(), lease, 10).await.unwrap();
        assert_eq!(claims.iter().map(|claim| claim.attempt).collect::<Vec<_>>(), [attempt]);
        world.clock.advance(lease);
    }
    let workers = Workers::start(world.context.clone());
    completed(&world, id).await;
    workers.shutdown().await;
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn shutdown__should_wait_for_what_is_running_and_settle_it() {
    let world = World::ethereum().await;
    world.signer.close_gate();
    let id = world.submit("draining").await;
    let workers = Workers::start(world.context.clone());
    eventually(&world, id, "a session", async || world.signer.sessions() == 1).await;
    let mut stopping = Box::pin(workers.shutdown());
    for _ in 0..100 {
        assert!(futures::poll!(&mut stopping).is_pending(), "it stopped in the middle of a session");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.signer.open_gate();
    tokio::time::timeout(Duration::from_secs(60), stopping).await.expect("the workers stop");
    assert_eq!(world.status(id).await.0, Status::Broadcasting);
    // Its lease was given back: another process has it at once.
    world.clock.advance(Duration::from_secs(60));
    let claimed = jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|claim| claim.transfer).collect::<Vec<_>>(), [id]);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn idle_workers__should_stop() {
    let world = World::ethereum().await;
    let workers = Workers::start(world.context.clone());
    tokio::time::timeout(Duration::from_secs(60), workers.shutdown()).await.expect("the workers stop");
}

#[tokio::test]
async fn transfer_whose_job_was_lost__should_be_found() {
    let world = World::ethereum().await;
    let id = world.submit("forgotten").await;
    for claim in jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 10).await.unwrap() {
        assert!(jobs::settle(world.store(), &claim, world.clock.now(), Outcome::Done).await.unwrap());
    }
    assert_eq!(jobs::depth(world.store(), world.clock.now()).await.unwrap(), (0, 0));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 1);
    assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 0, "it has a job again");
    let claimed = jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 10).await.unwrap();
    assert_eq!(claimed.iter().map(|claim| claim.transfer).collect::<Vec<_>>(), [id]);
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn sweep__should_reach_all_of_them() {
    let world = World::ethereum().await;
    for n in 0..620 {
        world.submit(&format!("many-{n}")).await;
    }
    for claim in jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 1000).await.unwrap() {
        jobs::settle(world.store(), &claim, world.clock.now(), Outcome::Done).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 620);
}

/// A session that fails saves the transfer, which nudges it, which must not run the next session at once.
#[tokio::test]
async fn session_that_keeps_failing__should_not_run_without_a_break() {
    for started in [false, true] {
        let world = World::ethereum().await;
        let reasons = (0..1000).map(|n| SignError::Aborted { reason: format!("reason {n}"), started });
        world.signer.fail(reasons);
        let id = world.submit("hot").await;
        let workers = Workers::start(world.context.clone());
        for session in 1..=3 {
            eventually(&world, id, "a quiet queue", async || {
                let (due, all) = jobs::depth(world.store(), world.clock.now()).await.unwrap();
                world.signer.sessions() >= session && (due, all) == (0, 1)
            })
            .await;
            assert_eq!(world.signer.sessions(), session, "the clock stands still: {started}");
            world.clock.advance(Duration::from_secs(90));
        }
        workers.shutdown().await;
        let expected = match started {
            true => SubStatus::SigningFailed,
            false => SubStatus::SignerTimeout,
        };
        assert_eq!(world.status(id).await, (Status::PendingSignature, Some(expected)));
        let events = events::of_transfer(world.store(), id).await.unwrap().len();
        assert!(events < 20, "{events} events for three sessions");
    }
}

#[tokio::test]
async fn worker_that_loses_its_lease__should_leave_the_job_to_its_new_owner() {
    let mut world = World::ethereum().await;
    world.context.settings.concurrency = 1;
    world.context.settings.lease = Duration::from_millis(60);
    world.signer.close_gate();
    let id = world.submit("leased").await;
    let workers = Workers::start(world.context.clone());
    eventually(&world, id, "a session", async || world.signer.sessions() == 1).await;
    eventually(&world, id, "the end of the lease", async || {
        world.clock.advance(Duration::from_secs(1));
        let hour = Duration::from_secs(3600);
        !jobs::claim(world.store(), world.clock.now(), hour, 1).await.unwrap().is_empty()
    })
    .await;
    // The gate stays closed: the look ends because it was given up.
    tokio::time::timeout(Duration::from_secs(60), workers.shutdown()).await.expect("the workers stop");
    world.signer.open_gate();
    world.assert_paid_once(id).await;
}

/// No co-signer is online, on a database that another worker shares.
#[tokio::test]
async fn worker_without_cosigners__should_leave_signing_to_others_and_say_so_when_nobody_comes() {
    let mut world = World::ethereum().await;
    let id = world.submit("left").await;
    world.until(id, Status::PendingSignature).await;
    let signing = world.context.signer.clone();
    world.context.settings.leave_signing = true;
    world.context.settings.lease = Duration::from_secs(60);
    world.context.signer = Arc::new(Absent(signing.keys()));
    assert_eq!(world.look(id).await.unwrap(), Next::LeaveToSigner);
    assert_eq!(world.status(id).await, (Status::PendingSignature, None), "it says nothing yet");

    let workers = Workers::start(world.context.clone());
    let left = jobs::Takes::NotForSigner(Duration::from_secs(30));
    eventually(&world, id, "a job that only a signer takes", async || {
        let (now, lease) = (world.clock.now(), Duration::ZERO);
        // A job under lease is due at its end only.
        jobs::claim_of(world.store(), now, lease, 1, left).await.unwrap().is_empty()
            && jobs::next_due(world.store()).await.unwrap() == Some(now)
    })
    .await;
    world.clock.advance(Duration::from_secs(31));
    eventually(&world, id, "the reason why it waits", async || {
        world.status(id).await == (Status::PendingSignature, Some(SubStatus::SignersOffline))
    })
    .await;
    workers.shutdown().await;

    world.context.signer = signing;
    let workers = Workers::start(world.context.clone());
    completed(&world, id).await;
    workers.shutdown().await;
    world.assert_paid_once(id).await;
}

/// Co-signers of which none is online.
struct Absent(Vec<GroupKey>);
#[async_trait::async_trait]
impl ThresholdSigner for Absent {
    fn keys(&self) -> Vec<GroupKey> {
        self.0.clone()
    }
    fn online(&self, _: Scheme) -> u16 {
        0
    }
    async fn sign(&self, _: &SigningPackage, _: &[SigningPayload]) -> Result<Vec<SignatureBytes>, SignError> {
        unreachable!("nobody is online")
    }
}

#[tokio::test]
async fn job_that_takes_too_long_at_the_end__should_be_given_back() {
    let mut world = World::ethereum().await;
    world.context.settings.drain = Duration::from_millis(10);
    let id = world.submit("slow").await;
    world.signer.close_gate();
    let workers = Workers::start(world.context.clone());
    eventually(&world, id, "a session that does not end", async || world.signer.sessions() == 1).await;
    workers.shutdown().await;
    // Its lease would last for days.
    let claims = jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 10).await.unwrap();
    assert_eq!(claims.iter().map(|claim| claim.transfer).collect::<Vec<_>>(), [id]);
    assert!(jobs::settle(world.store(), &claims[0], world.clock.now(), Outcome::Done).await.unwrap());

    world.signer.open_gate();
    let workers = Workers::start(world.context.clone());
    completed(&world, id).await;
    workers.shutdown().await;
    world.assert_paid_once(id).await;
}

#[tokio::test]
async fn workers__should_work_on_no_more_transfers_at_once_than_they_are_told_to() {
    let mut world = World::ethereum().await;
    world.context.settings.concurrency = 2;
    let mut ids = Vec::new();
    for n in 0..8 {
        ids.push(world.submit(&format!("crowd-{n}")).await);
    }
    world.chain.close_gate();
    let workers = Workers::start(world.context.clone());
    eventually(&world, ids[0], "two questions", async || world.chain.readings() == 2).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(world.chain.readings(), 2, "places are free although nothing has ended");
    }
    world.chain.open_gate();
    for id in &ids {
        completed(&world, *id).await;
    }
    workers.shutdown().await;
    for id in ids {
        world.assert_paid_once(id).await;
    }
}

/// All want the next nonce of one account, and no reading is fresh any more when it comes to a second choice.
#[tokio::test]
async fn transfers_of_one_account_at_once__should_each_read_it_once() {
    const TRANSFERS: usize = 12;
    let mut world = World::ethereum().await;
    world.context.settings.concurrency = TRANSFERS;
    world.context.settings.package_lifetime = Duration::from_secs(1_000_000);
    let mut ids = Vec::new();
    for n in 0..TRANSFERS {
        ids.push(world.submit(&format!("rush-{n}")).await);
    }
    world.chain.close_gate();
    let workers = Workers::start(world.context.clone());
    eventually(&world, ids[0], "questions by all", async || world.chain.readings() == TRANSFERS).await;
    world.chain.open_gate();
    for id in &ids {
        eventually(&world, *id, "a broadcast", async || {
            world.clock.advance(Duration::from_secs(6));
            world.status(*id).await.0 == Status::Broadcasting
        })
        .await;
    }
    workers.shutdown().await;
    assert_eq!(world.chain.readings(), TRANSFERS, "what is read was read for a number that another took");
    for id in ids {
        world.assert_paid_once(id).await;
    }
}

/// Sessions that hang hold places of their own: what does not wait for co-signers goes on.
#[tokio::test]
async fn sessions_that_hang__should_not_hold_up_the_steps_of_others() {
    const HANGING: usize = 2;
    let mut world = World::ethereum().await;
    world.context.settings.concurrency = HANGING;
    world.context.settings.signing = HANGING;
    let sent = world.submit("sent-before").await;
    world.look(sent).await.unwrap();
    assert_eq!(world.status(sent).await.0, Status::Broadcasting);
    // Of one account only the lowest number is signed, so each has an account of its own.
    let mut ids = Vec::new();
    for n in 1..=HANGING + 1 {
        ids.push(world.submit_from(&format!("hangs-{n}"), u32::try_from(n).unwrap()).await);
    }
    world.signer.close_gate();
    let before = world.signer.sessions();
    let workers = Workers::start(world.context.clone());
    eventually(&world, ids[0], "all places for signing taken", async || {
        world.signer.sessions() == before + HANGING
    })
    .await;
    completed(&world, sent).await;
    // The one that found no place says so, with nothing begun.
    let mut waiting = Vec::new();
    eventually(&world, ids[HANGING], "one that waits for a place", async || {
        world.clock.advance(Duration::from_secs(6));
        waiting = Vec::new();
        for id in &ids {
            waiting.extend((world.status(*id).await.1 == Some(SubStatus::WaitsItsTurn)).then_some(*id));
        }
        waiting.len() == 1
    })
    .await;
    let told = world.transfer(waiting[0]).await.reason.unwrap();
    assert!(told.contains("2 signing sessions are under way"), "{told}");
    world.abort(waiting[0]).await.expect("no session began");
    // A new order is taken up to where it needs co-signers.
    let fresh = world.submit_from("fresh", 9).await;
    eventually(&world, fresh, "a frozen package", async || {
        world.clock.advance(Duration::from_secs(6));
        world.status(fresh).await.0 == Status::PendingSignature
    })
    .await;
    assert_eq!(world.signer.sessions(), before + HANGING, "no more than there are places for");
    world.signer.open_gate();
    for id in ids.iter().filter(|id| !waiting.contains(id)).chain([&fresh]) {
        completed(&world, *id).await;
    }
    workers.shutdown().await;
}
