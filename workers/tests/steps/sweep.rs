//! The sweep: what does not move is told of once, what waits in plain sight is not, and nothing depends on a job.

use crate::support::world::World;
use bursar_domain::{
    lifecycle::{Status, SubStatus},
    time::Clock as _,
};
use bursar_store::{
    events,
    halts::{self, HaltCode},
    jobs::{self, Outcome},
};
use bursar_workers::reconciler;
use std::{sync::atomic::Ordering, time::Duration};

async fn alarms(world: &World) -> Vec<serde_json::Value> {
    let all = events::after(world.store(), 0, 10_000).await.unwrap();
    all.into_iter().filter(|event| event.kind == "transfer.stalled").map(|event| event.payload).collect()
}

/// Past the patience of the alarm.
pub fn long_after(world: &World) {
    let settings = &world.context.settings;
    world.clock.advance(settings.sweep.saturating_mul(settings.stalled_sweeps) + Duration::from_secs(1));
}

/// As if no worker were there to do it: every job is lost.
async fn lose_jobs(world: &World) {
    let lease = Duration::from_secs(1);
    for job in jobs::claim(world.store(), world.clock.now(), lease, 100).await.unwrap() {
        assert!(jobs::settle(world.store(), &job, world.clock.now(), Outcome::Done).await.unwrap());
    }
}

#[tokio::test]
async fn transfer_that_should_have_moved__should_raise_one_alarm_for_each_version() {
    let world = World::ethereum().await;
    let id = world.submit("forgotten").await;
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 0, "not yet");
    long_after(&world);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 1);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 1);
    let told = alarms(&world).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["status"], &told[0]["transferId"]), (&"SUBMITTED".into(), &id.to_string().into()));
    world.until(id, Status::Signed).await;
    long_after(&world);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 1);
    assert_eq!(alarms(&world).await[1]["status"], "SIGNED");
    world.assert_paid_once(id).await;
    long_after(&world);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 0);
}

#[tokio::test]
async fn failing_step__should_raise_an_alarm_with_its_error() {
    let world = World::ethereum().await;
    let id = world.submit("fails").await;
    world.until(id, Status::Queued).await;
    let claims = jobs::claim(world.store(), world.clock.now(), Duration::from_secs(1), 1).await.unwrap();
    let failed = Outcome::Failed { at: world.clock.now(), error: "a defect".into() };
    assert!(jobs::settle(world.store(), &claims[0], world.clock.now(), failed).await.unwrap());
    long_after(&world);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 1);
    assert_eq!(alarms(&world).await[0]["error"], "a defect");
}

#[tokio::test]
async fn what_says_why_it_waits__should_raise_no_alarm() {
    let world = World::ethereum().await;
    let offline = world.submit("offline").await;
    world.until(offline, Status::PendingSignature).await;
    world.signer.online.store(0, Ordering::SeqCst);
    world.look(offline).await.unwrap();
    assert_eq!(world.status(offline).await.1, Some(SubStatus::SignersOffline));
    let mut tx = world.store().write().await.unwrap();
    let now = world.clock.now();
    halts::halt(&mut tx, world.network, None, HaltCode::Operator, "look", now).await.unwrap();
    tx.commit().await.unwrap();
    let halted = world.submit("halted").await;
    world.look(halted).await.unwrap();
    assert_eq!(world.status(halted).await.1, Some(SubStatus::AccountHalted));
    lose_jobs(&world).await;
    long_after(&world);
    assert_eq!(reconciler::stalled(&world.context).await.unwrap(), 0);
}

#[tokio::test]
async fn sweep__should_find_what_has_no_job_in_every_state_that_moves() {
    for status in [
        Status::Submitted,
        Status::PendingScreening,
        Status::PendingAuthorization,
        Status::Queued,
        Status::PendingSignature,
        Status::Signed,
        Status::Broadcasting,
        Status::Confirming,
    ] {
        let world = World::ethereum().await;
        let id = world.submit("lost").await;
        world.until(id, status).await;
        lose_jobs(&world).await;
        world.later();
        assert_eq!(jobs::depth(world.store(), world.clock.now()).await.unwrap().1, 0, "{status}");
        assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 1, "{status}");
        assert_eq!(jobs::depth(world.store(), world.clock.now()).await.unwrap().1, 1, "{status}");
        world.assert_paid_once(id).await;
    }
}

/// The nudge that comes with a deep reorganisation is a job as any other: it may be lost.
#[tokio::test]
async fn sweep__should_find_what_a_deep_reorganisation_took_back() {
    let world = World::ethereum().await;
    let id = world.submit("taken-back").await;
    world.assert_paid_once(id).await;
    lose_jobs(&world).await;
    assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 0, "it is over");
    world.chain.reorganise(usize::try_from(world.chain.height()).unwrap());
    world.follow().await;
    lose_jobs(&world).await;
    assert_eq!(world.status(id).await.0, Status::Completed, "nobody has looked yet");
    assert_eq!(reconciler::sweep(&world.context).await.unwrap(), 1);
    assert_eq!(jobs::depth(world.store(), world.clock.now()).await.unwrap().1, 1);
    world.look(id).await.unwrap();
    assert!(world.status(id).await.0 != Status::Completed, "it is open again");
}
