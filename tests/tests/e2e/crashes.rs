//! `kill -9` at any moment: everything still completes, and nothing is paid twice.

use crate::{
    ledger::{balance, final_on_node, units},
    world::{self, Miner, Wallet, completed, text},
};
use anyhow::{Context as _, ensure};
use bursar::{client::ClientError, intake::TransferRequest};
use bursar_tests::{
    Environment,
    api::Api,
    environment::TOKEN,
    initiator::{payment, tagged},
    orchestrator::Orchestrator,
    recipients::{self, BitcoinType},
};
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use std::{collections::BTreeSet, time::Duration};

const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn orchestrator_and_cosigners_killed__should_complete_everything_once() -> world::Verdict {
    let seed = match std::env::var("BURSAR_E2E_SEED") {
        Ok(seed) => seed.parse().context("BURSAR_E2E_SEED is a number")?,
        Err(_) => rand::rngs::OsRng.next_u64(),
    };
    eprintln!("BURSAR_E2E_SEED={seed} kills at the same moments again");
    let mut rng = StdRng::seed_from_u64(seed);
    world::run("crashes", async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let wallets = Wallets {
            bitcoin: Wallet::bitcoin(environment, None, &[20_000_000, 20_000_000, 20_000_000]).await?,
            ethereum: Wallet::ethereum(environment, 10, 1_000).await?,
            xrp: Wallet::xrp(environment, None, 1_000).await?,
        };

        let asked = wallets.requests(environment).await?;
        let Environment { orchestrator, api, .. } = &mut *environment;
        let (ids, ()) = tokio::try_join!(submit(api, &asked), kill_orchestrator(orchestrator, &mut rng))?;
        all_paid_once(environment, &asked, &ids).await.context("the orchestrator was killed")?;

        let asked = wallets.requests(environment).await?;
        let ids = submit(&environment.api, &asked).await?;
        for _ in 0..KILLS {
            let victim = rng.gen_range(0..environment.cosigners.count());
            tokio::time::sleep(Duration::from_millis(rng.gen_range(0..1_500))).await;
            environment.cosigners.kill9(victim)?;
            tokio::time::sleep(Duration::from_millis(rng.gen_range(0..800))).await;
            environment.cosigners.start_one(victim)?;
        }
        all_paid_once(environment, &asked, &ids).await.context("co-signers were killed")
    })
    .await
}

struct Wallets {
    bitcoin: Wallet,
    ethereum: Wallet,
    xrp: Wallet,
}

impl Wallets {
    /// Eight signed requests over all chains, to fresh recipients.
    async fn requests(&self, environment: &Environment) -> anyhow::Result<Vec<TransferRequest>> {
        let mut asked = Vec::new();
        for kind in [BitcoinType::P2tr, BitcoinType::P2wpkh, BitcoinType::P2sh] {
            let to = recipients::bitcoin(kind);
            asked.push(self.bitcoin.request(environment, "BTC", vec![payment(&to, "0.0123")]).await?);
        }
        for (asset, amount) in [("ETH", "0.5"), ("ETH", "0.25"), (TOKEN, "12.5")] {
            let to = recipients::ethereum();
            asked.push(self.ethereum.request(environment, asset, vec![payment(&to, amount)]).await?);
        }
        for tag in [1, 2] {
            let (to, _) = recipients::xrp()?;
            asked.push(self.xrp.request(environment, "XRP", vec![tagged(&to, tag, "12.5")]).await?);
        }
        Ok(asked)
    }
}

/// Asks until there is an answer, as a customer's system does whose connection breaks.
async fn submit(api: &Api, asked: &[TransferRequest]) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for request in asked {
        let id = world::until("an answer", async || {
            let answer: Result<Value, ClientError> =
                api.client.post_once("/v1/transfers", &request.external_id, request).await;
            match answer {
                // Not worth asking again: told to the caller at once.
                Err(error @ ClientError::Refused { .. }) => Ok(Err(error)),
                answer => Ok(Ok(text(&answer?, "id")?)),
            }
        })
        .await??;
        ids.push(id);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    Ok(ids)
}

async fn kill_orchestrator(orchestrator: &mut Orchestrator, rng: &mut StdRng) -> anyhow::Result<()> {
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(rng.gen_range(50..1_500))).await;
        orchestrator.kill9()?;
        orchestrator.start().await?;
    }
    Ok(())
}

async fn all_paid_once(
    environment: &Environment,
    asked: &[TransferRequest],
    ids: &[String],
) -> anyhow::Result<()> {
    for id in ids {
        let transfer = completed(environment, id).await?;
        final_on_node(environment, &transfer).await?;
    }
    for request in asked {
        let payment = &request.payments[0];
        let has = balance(environment, &request.asset, &payment.address).await?;
        let due = units(&payment.amount, &request.asset)?;
        ensure!(has == due, "{} was to get {due} {}, and has {has}", payment.address, request.asset);
    }
    ensure!(ids.iter().collect::<BTreeSet<_>>().len() == asked.len(), "one transfer each: {ids:?}");
    let page: Value = environment.api.client.get("/v1/transfers", &[("limit", "200".into())]).await?;
    let known: BTreeSet<_> =
        page["items"].as_array().into_iter().flatten().map(|item| item["externalId"].to_string()).collect();
    ensure!(page["items"].as_array().map_or(0, Vec::len) == known.len(), "{page}");
    Ok(())
}
