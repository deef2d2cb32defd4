//! Co-signers that are away, and co-signers that say no.

use crate::world::{self, Miner, PATIENCE, Wallet, completed, passed_through, text};
use anyhow::{Context as _, ensure};
use bursar_domain::lifecycle::Status;
use bursar_tests::{
    Environment,
    cosigners::signer,
    initiator::{Initiator, descriptor, payment, request, tagged},
    orchestrator::run_json,
    recipients::{self, BitcoinType},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn cosigners_offline__should_be_passed_over_or_waited_for() -> world::Verdict {
    world::run("offline", async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let bitcoin = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
        let xrp = Wallet::xrp(environment, None, 100).await?;
        let (known, _) = recipients::xrp()?;
        environment.nodes.xrpl.fund(&known, 20_000_000).await?;

        // One away: any two of three sign.
        for away in 0..environment.cosigners.count() {
            environment.cosigners.kill9(away)?;
            let id = xrp.pay(environment, "XRP", vec![tagged(&known, 1, "1")]).await?;
            completed(environment, &id).await.with_context(|| format!("without co-signer {away}"))?;
            environment.cosigners.start_one(away)?;
            online(environment, 3).await?;
        }
        let has = environment.nodes.xrpl.balance(&known).await?;
        ensure!(has == 23_000_000, "{has} drops");

        // Two away: it waits in plain sight.
        environment.cosigners.kill9(0)?;
        environment.cosigners.kill9(1)?;
        online(environment, 1).await?;
        let to = recipients::bitcoin(BitcoinType::P2tr);
        let given_up = bitcoin.pay(environment, "BTC", vec![payment(&to, "0.05")]).await?;
        let patient = xrp.pay(environment, "XRP", vec![tagged(&known, 2, "2")]).await?;
        for id in [&given_up, &patient] {
            world::until("waiting for co-signers", async || {
                let transfer = environment.api.transfer(id).await?;
                ensure!(transfer["subStatus"] == "SIGNERS_OFFLINE", "{transfer}");
                ensure!(transfer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{transfer}");
                Ok(())
            })
            .await?;
        }
        ensure!(reserved(environment, &bitcoin).await? == "0.1", "its only output is claimed");

        let abort = async |id: &str| -> Result<Value, bursar::client::ClientError> {
            environment.api.client.post(&format!("/v1/transfers/{id}/abort"), &json!({})).await
        };
        let aborted = abort(&given_up).await?;
        ensure!(aborted["status"] == "CANCELLED", "{aborted}");
        ensure!(abort(&given_up).await?["status"] == "CANCELLED", "aborting twice is aborting once");
        ensure!(reserved(environment, &bitcoin).await? == "0", "what was claimed is free again");

        // One of them is back: what waited is paid, what was aborted is not.
        environment.cosigners.start_one(1)?;
        let done = completed(environment, &patient).await?;
        ensure!(passed_through(&done, "SIGNERS_OFFLINE"), "{done}");
        match abort(&patient).await {
            Err(bursar::client::ClientError::Refused { status, problem }) => {
                ensure!(status.as_u16() == 409, "{status} {problem}");
                ensure!(problem["type"] == "urn:bursar:problem:not-possible-now", "{problem}");
            }
            other => anyhow::bail!("a completed transfer was aborted: {other:?}"),
        }
        let again = bitcoin.pay(environment, "BTC", vec![payment(&to, "0.06")]).await?;
        completed(environment, &again).await.context("the freed output pays another transfer")?;
        let paid = environment.nodes.bitcoind.balance(&to).await?;
        ensure!(paid == 6_000_000, "{paid} satoshi");
        ensure!(environment.nodes.xrpl.balance(&known).await? == 25_000_000, "paid once");
        environment.cosigners.start_one(0)?;
        online(environment, 3).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cosigner_rules__should_reject_and_say_why() -> world::Verdict {
    world::run("rules", async |environment| {
        let ethereum = Wallet::ethereum(environment, 60, 0).await?;
        let info = environment.api.asset("ETH").await?;
        let to = recipients::ethereum();

        let rogue = Initiator::load_or_create(&environment.options.dir.join("rogue"))?;
        let unsigned = request(&ethereum.id, "ETH", vec![payment(&to, "0.1")], "0.01")?;
        let unknown = rogue.sign(unsigned, descriptor(&ethereum.view)?, &info)?;
        let created: Value =
            environment.api.client.post_once("/v1/transfers", &unknown.external_id, &unknown).await?;
        rejected(environment, &text(&created, "id")?, "UNKNOWN_INITIATOR")
            .await
            .context("an unknown initiator")?;

        let id = ethereum.pay(environment, "ETH", vec![payment(&to, "50.000000000000000001")]).await?;
        rejected(environment, &id, "AMOUNT_ABOVE_CAP").await.context("one wei above the cap")?;

        ensure!(environment.nodes.anvil.balance(&to).await?.is_zero(), "nothing was paid");
        ensure!(environment.api.balance(&ethereum.id, "ETH").await? == "60", "not even a fee");
        // The nonce that they had reserved is free: the next payment is mined.
        let id = ethereum.pay(environment, "ETH", vec![payment(&to, "50")]).await?;
        completed(environment, &id).await.context("exactly the cap")?;
        Ok(())
    })
    .await
}

/// The transfer ends as REJECTED with the reason, and each co-signer has written the refusal down.
async fn rejected(environment: &Environment, id: &str, code: &str) -> anyhow::Result<()> {
    let transfer = environment.api.await_status(id, Status::Rejected, PATIENCE).await?;
    ensure!(transfer["subStatus"] == "SIGNER_REJECTED", "{transfer}");
    ensure!(transfer["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{transfer}");
    for index in 0..environment.cosigners.count() {
        let dir = &environment.cosigners.party(index).dir;
        world::until("the refusal in the co-signer's own record", async || {
            let status = run_json(&mut signer(dir, "status")?)?;
            let refusals = status["activity"]["lastRefusals"].as_array().context("refusals")?;
            ensure!(refusals.iter().any(|refusal| refusal["code"] == code), "{code} not in {status}");
            Ok(())
        })
        .await
        .with_context(|| environment.cosigners.party(index).name.clone())?;
    }
    Ok(())
}

/// Until exactly so many co-signers are online.
async fn online(environment: &Environment, count: usize) -> anyhow::Result<()> {
    world::until("co-signers online", async || {
        let status = environment.api.status().await?;
        let parties = status["coSigners"].as_array().context("co-signers")?;
        let online = parties.iter().filter(|party| party["online"] == true).count();
        ensure!(online == count, "{online} of {count}");
        Ok(())
    })
    .await
}

async fn reserved(environment: &Environment, wallet: &Wallet) -> anyhow::Result<String> {
    let page: Value = environment.api.client.get(&format!("/v1/wallets/{}/balances", wallet.id), &[]).await?;
    text(&page["items"][0], "reserved")
}
