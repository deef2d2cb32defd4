//! Every lifecycle step run twice, and failed once.

use crate::support::{chain::Relay, world::World};
use bursar_domain::{
    lifecycle::{Status, Step},
    ports::SignError,
};
use bursar_workers::engine::{self, StepError};

/// Each step with a status in which it is next.
const STEPS: [(Step, Status); 9] = [
    (Step::Screen, Status::Submitted),
    (Step::Screen, Status::PendingScreening),
    (Step::Authorize, Status::PendingAuthorization),
    (Step::Prepare, Status::Queued),
    (Step::Sign, Status::PendingSignature),
    (Step::Broadcast, Status::Signed),
    (Step::Broadcast, Status::Broadcasting),
    (Step::Confirm, Status::Confirming),
    (Step::Confirm, Status::Confirming),
];

/// Runs `test` for every step with a transfer for which it is next; the last one of them is about to be final.
async fn every_step(test: impl AsyncFn(&World, Step, bursar_domain::lifecycle::Transfer)) {
    for (index, (step, status)) in STEPS.into_iter().enumerate() {
        let world = World::ethereum().await;
        let id = world.submit(&format!("step-{index}")).await;
        let mut transfer = world.until(id, status).await;
        if index == STEPS.len() - 1 {
            for _ in 0..crate::support::world::DEPTH {
                world.mine().await;
            }
            transfer = world.transfer(id).await;
        }
        assert_eq!(transfer.state.next_step(), Some(step));
        test(&world, step, transfer).await;
        world.assert_paid_once(id).await;
    }
}

#[tokio::test]
async fn step_run_twice__should_change_nothing_more() {
    every_step(async |world, step, transfer| {
        let id = transfer.id;
        engine::run_step(&world.context, transfer.clone()).await.unwrap();
        let once = world.snapshot(id).await;
        // A worker that had read the same version before, and comes late.
        match engine::run_step(&world.context, transfer).await {
            Ok(_) | Err(StepError::Move(_)) => {}
            Err(error) => panic!("{step:?}: {error}"),
        }
        assert_eq!(world.snapshot(id).await, once, "{step:?}");
    })
    .await;
}

#[tokio::test]
async fn step_whose_port_fails__should_recover() {
    every_step(async |world, step, transfer| {
        let id = transfer.id;
        let before = transfer.status();
        match step {
            Step::Screen | Step::Review | Step::Authorize => {}
            Step::Prepare | Step::Confirm => world.chain.set_down(true),
            Step::Sign => {
                world
                    .signer
                    .fail([SignError::Aborted { reason: "party 1 went offline".into(), started: true }]);
            }
            Step::Broadcast => world.chain.relay(&[Relay::LoseRequest]),
        }
        world.later();
        let result = engine::run_step(&world.context, transfer).await;
        let after = world.transfer(id).await;
        match step {
            Step::Screen | Step::Review | Step::Authorize => assert_ne!(after.status(), before),
            Step::Prepare | Step::Sign => {
                assert_eq!(after.status(), before);
                assert!(after.reason.is_some(), "it does not say why it waits: {after:?}");
            }
            Step::Broadcast => {
                assert_eq!(after.status(), Status::Broadcasting);
                assert_eq!(after.reason.as_deref(), Some("the connection was reset"));
            }
            Step::Confirm => {
                assert!(matches!(result, Err(StepError::Node(_))), "{result:?}");
                assert_eq!(after.status(), before);
            }
        }
        world.chain.set_down(false);
    })
    .await;
}
