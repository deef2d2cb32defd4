//! Clocks that are wrong, and are set right.

use super::{action::Action, world::World};
use bursar_domain::{lifecycle::Status, network::Chain};

const DAY: i64 = 86_400;

/// A process whose clock is a day ahead leases jobs, puts them off and dies; or all clocks were a day ahead and are set back.
#[tokio::test]
async fn clock_that_ran_ahead__should_hold_nothing_up() {
    for set_back in [
        [Action::Skew { process: 0, seconds: DAY }, Action::Skew { process: 0, seconds: 0 }],
        [Action::Time { seconds: DAY / 2 }, Action::Time { seconds: -DAY / 2 }],
    ] {
        for points in [3, 40, 600] {
            let mut world = World::new(Chain::Ethereum).await;
            world.perform(&set_back[0]).await.unwrap();
            world.perform(&Action::Offline(true)).await.unwrap();
            for _ in 0..2 {
                world.perform(&Action::Run { actor: 0, points }).await.unwrap();
            }
            world.perform(&set_back[1]).await.unwrap();
            world.heal().await;
            // Minutes, not a day.
            for _ in 0..12 {
                world.round().await;
            }
            assert_eq!(
                world.ends().await,
                [Status::Completed; 2],
                "{set_back:?} {points}\n{}",
                world.report().await
            );
        }
    }
}
