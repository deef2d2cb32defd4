//! The short forms of `./dev chaos`, with seeds of their own so that two runs of the tests do the same.

use crate::world;
use anyhow::ensure;
use bursar_regtest::PostgresOptions;
use bursar_tests::chaos::{self, Database, Plan, Proxies};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn everything_dies_at_random__should_pay_each_recipient_once() -> world::Verdict {
    let plan = Plan {
        seed: 20_261_121,
        duration: Duration::from_secs(20),
        per_chain: 4,
        patience: Duration::from_secs(240),
    };
    let (mut options, nodes) = world::prepare("chaos").await?;
    let proxies = Proxies::start(&nodes, &mut options).await?;
    world::run_on(options, nodes, async |environment| {
        kept(&chaos::run(environment, &proxies, None, &plan, |line| eprintln!("{line}")).await?)
    })
    .await
}

/// With a second machine, and a database server that dies, too.
#[tokio::test(flavor = "multi_thread")]
async fn everything_dies_at_random_on_postgres__should_pay_each_recipient_once() -> world::Verdict {
    let plan = Plan {
        seed: 20_261_122,
        duration: Duration::from_secs(15),
        per_chain: 4,
        patience: Duration::from_secs(240),
    };
    let (mut options, nodes) = world::prepare("chaos_postgres").await?;
    let mut database = Database::start(PostgresOptions::new(options.dir.join("postgres"))).await?;
    options.urls.database = Some(database.server.url().to_owned());
    let proxies = Proxies::start(&nodes, &mut options).await?;
    world::run_on(options, nodes, async |environment| {
        let database = Some(&mut database);
        kept(&chaos::run(environment, &proxies, database, &plan, |line| eprintln!("{line}")).await?)
    })
    .await
}

/// A report says that every promise was kept; this, that they were hard to keep.
fn kept(report: &chaos::Report) -> anyhow::Result<()> {
    ensure!(report.blows.values().sum::<u32>() > 10, "hardly anything happened: {:?}", report.blows);
    ensure!(report.statuses.get("COMPLETED") > Some(&8), "hardly anything was paid: {:?}", report.outcomes);
    Ok(())
}
