//! The orchestrator's wall clock jumps an hour forward and back while it runs, and while it is down ([`bursar_tests::faults`]). What was
//! ordered before, meanwhile and after is paid once, and nothing waits until the clock has caught up. (Differing clocks of several
//! processes, at any point: `workers/tests/model`.)

use crate::{
    resources::{submit, submitted},
    world::{self, Wallet, completed, faults, until},
};
use anyhow::ensure;
use bursar::intake::TransferRequest;
use bursar_tests::{
    Environment,
    cosigners::Signing,
    initiator::{payment, request},
    recipients,
};
use std::time::Duration;

const AHEAD: Duration = Duration::from_secs(3600);

/// A payment of 0.01 ETH that may be signed for so many minutes by the true clock.
async fn request_for(
    environment: &Environment,
    wallet: &Wallet,
    to: &str,
    minutes: i64,
) -> anyhow::Result<TransferRequest> {
    let mut unsigned = request(&wallet.id, "ETH", vec![payment(to, "0.01")], "0.01")?;
    unsigned.expires_at = (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(minutes)).to_string();
    wallet.sign(environment, unsigned).await
}

/// Orders one that may be signed for a day; its id.
async fn order(environment: &Environment, wallet: &Wallet, to: &str) -> anyhow::Result<String> {
    submitted(environment, &request_for(environment, wallet, to, DAY).await?).await
}

const DAY: i64 = 24 * 60;

/// Until a node has it, and no block.
async fn sent(environment: &Environment, id: &str) -> anyhow::Result<()> {
    until("the node to have it", async || {
        let transfer = environment.api.transfer(id).await?;
        let there =
            transfer["status"] == "BROADCASTING" && transfer["transaction"]["broadcastAt"].is_string();
        ensure!(there, "{transfer}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_clock_that_jumps__should_lose_nothing_and_hold_nothing_up() -> world::Verdict {
    let prepared = world::prepare_with("wall_clock", |options| {
        options.signing = Signing::DevelopmentSingleKey;
        options.ethereum_block_seconds = None;
    });
    let (options, nodes) = prepared.await?;
    world::run_on(options, nodes, async |environment| {
        world::start_with_faults(environment).await?;
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to: [String; 6] = std::array::from_fn(|_| recipients::ethereum());

        // Forward, with one under way.
        let before = order(environment, &wallet, &to[0]).await?;
        sent(environment, &before).await?;
        let half_an_hour = request_for(environment, &wallet, &to[5], 30).await?;
        faults(environment)?.clock_ahead(AHEAD)?;
        let answer = submit(environment, &half_an_hour).await?;
        ensure!(answer.status == 422, "its time is over by the clock that is ahead: {}", answer.status);
        let meanwhile = order(environment, &wallet, &to[1]).await?;
        sent(environment, &meanwhile).await?;

        // And back: what was put off, leased and counted by the time that was ahead is not waited for.
        faults(environment)?.clock_ahead(Duration::ZERO)?;
        let after = order(environment, &wallet, &to[2]).await?;
        sent(environment, &after).await?;
        let short = submitted(environment, &half_an_hour).await?;
        sent(environment, &short).await?;
        environment.nodes.anvil.mine(3).await?;
        for id in [&before, &meanwhile, &after, &short] {
            completed(environment, id).await?;
        }

        // It dies while it is ahead, right after it has taken an order and with one under way.
        faults(environment)?.clock_ahead(AHEAD)?;
        let under_way = order(environment, &wallet, &to[3]).await?;
        sent(environment, &under_way).await?;
        let taken = order(environment, &wallet, &to[4]).await?;
        environment.orchestrator.kill9()?;
        faults(environment)?.clock_ahead(Duration::ZERO)?;
        environment.orchestrator.start().await?;
        sent(environment, &taken).await?;
        environment.nodes.anvil.mine(3).await?;
        for id in [&under_way, &taken] {
            completed(environment, id).await?;
        }

        for to in &to {
            let wei = environment.nodes.anvil.balance(to).await?.to_string();
            ensure!(wei == "10000000000000000", "{to} has {wei} wei");
        }
        Ok(())
    })
    .await
}
