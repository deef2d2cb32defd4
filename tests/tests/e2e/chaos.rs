//! The short form of `./dev chaos`, with a seed of its own so that two runs of the tests do the same.

use crate::world;
use anyhow::ensure;
use bursar_tests::chaos::{self, Plan, Proxies};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn everything_dies_at_random__should_pay_each_recipient_once() -> world::Verdict {
    let (mut options, nodes) = world::prepare("chaos").await?;
    let proxies = Proxies::start(&nodes, &mut options).await?;
    world::run_on(options, nodes, async |environment| {
        let plan = Plan {
            seed: 20_261_121,
            duration: Duration::from_secs(20),
            per_chain: 4,
            patience: Duration::from_secs(240),
        };
        let report = chaos::run(environment, &proxies, None, &plan, |line| eprintln!("{line}")).await?;
        ensure!(report.blows.values().sum::<u32>() > 10, "hardly anything happened: {:?}", report.blows);
        ensure!(
            report.statuses.get("COMPLETED") > Some(&8),
            "hardly anything was paid: {:?}",
            report.outcomes
        );
        Ok(())
    })
    .await
}
