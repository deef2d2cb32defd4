//! The benchmark still runs: a few transfers on an empty store and on one with history. What it measures is not looked at.

use crate::world::{Verdict, scratch};
use anyhow::ensure;
use bursar_tests::{
    bench::{
        scenario::{Scenario, StoreKind},
        throughput::{self, Load},
    },
    cosigners::Signing,
};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn bench__should_measure_an_empty_store_and_one_with_history() -> Verdict {
    Ok(measured().await?)
}

async fn measured() -> anyhow::Result<()> {
    let dir = scratch().join("bench");
    let scenario = Scenario {
        store: StoreKind::Sqlite,
        signing: Signing::DevelopmentSingleKey,
        history: 200,
        accounts: 2,
    };
    let load = Load {
        rates: vec![4],
        seconds: 1,
        repeats: 2,
        cosigner_transfers: 0,
        reads: 1,
        idle: Duration::from_secs(1),
    };
    let measured = throughput::measure(&dir, scenario, &load).await?;
    for (phase, history) in measured.phases.iter().zip([0, 200]) {
        let rate = &phase.rates[0];
        ensure!(phase.history == history && rate.completed == 8 && rate.runs == 2, "{phase:?}");
        let halves = phase.halves.iter().flatten().map(|half| (half.runs, half.completed));
        ensure!(halves.eq([(1, 4), (1, 4)]), "{:?}", phase.halves);
        ensure!(
            rate.calls_per_transfer.contains_key("eth_sendRawTransaction"),
            "{:?}",
            rate.calls_per_transfer
        );
        // Listings reach into the history, which the store decodes as its own.
        let items = |what: &str| phase.reads.iter().find(|reads| reads.what == what).map(|reads| reads.items);
        let expected = if history > 0 { Some(50) } else { items("list, 50 from half way down") };
        ensure!(items("list, 50 from half way down") == expected, "{:?}", phase.reads);
        ensure!(items("list, COMPLETED, half way down") == expected, "{:?}", phase.reads);
    }
    ensure!(measured.phases.len() == 2, "{} phases", measured.phases.len());
    Ok(std::fs::remove_dir_all(dir)?)
}
