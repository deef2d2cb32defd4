//! ETH that contracts send on to our addresses: deposits like any other.

use crate::{
    ledger::units,
    reconcile::{of, reconcile},
    world::{self, Wallet, until},
};
use anyhow::{Context as _, ensure};
use bursar_regtest::Way;
use bursar_tests::{Environment, cosigners::Signing};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn contract_payment__should_be_a_deposit_unless_it_is_undone() -> world::Verdict {
    let prepared = world::prepare_with("contract_payments", |options| {
        options.ethereum_block_seconds = None;
        options.signing = Signing::DevelopmentSingleKey;
    });
    let (options, nodes) = prepared.await?;
    world::run_on(options, nodes, async |environment| {
        let wallet = Wallet::ethereum(environment, 1, 0).await?;
        let anvil = &environment.nodes.anvil;
        let contracts = anvil.deploy_contracts().await?;
        let send = async |way, ether| {
            let wei = units(ether, "ETH")?;
            anyhow::Ok(anvil.send_through(&contracts, way, &wallet.address, wei).await?)
        };
        let forwarded = send(Way::Forwarded, "0.25").await?;
        let undone = send(Way::Undone, "0.5").await?;
        let ended = send(Way::Ended, "0.125").await?;
        let newest = of_transaction(environment, &wallet, &ended, "DETECTED").await?;
        ensure!(newest["amount"] == "0.125", "{newest}");
        ensure!(newest["index"].as_u64() >= Some(1 << 31), "apart from all other credits: {newest}");
        let from = newest["from"].as_array().context("from")?;
        ensure!(from.len() == 2 && from[0] != from[1], "the contract and who called it: {newest}");
        anvil.mine(2).await?;
        for (id, amount) in [(&forwarded, "0.25"), (&ended, "0.125")] {
            let deposit = of_transaction(environment, &wallet, id, "COMPLETED").await?;
            ensure!(deposit["amount"] == amount && deposit["address"] == wallet.address, "{deposit}");
        }
        // All blocks up to here are walked, so what is not there now does not come.
        let all = deposits(environment, &wallet).await?;
        ensure!(all.iter().all(|deposit| deposit["txId"] != *undone), "{all:?}");
        ensure!(all.len() == 3, "with the first, direct one: {all:?}");
        ensure!(anvil.balance(&wallet.address).await? == units("1.375", "ETH")?, "the node agrees");

        let status: Value = environment.api.client.get("/v1/status", &[]).await?;
        let nodes = status["nodes"].as_array().context("nodes")?;
        let ethereum = nodes.iter().find(|node| node["contractPaymentsSeen"] == true);
        ensure!(ethereum.is_some_and(|node| node.get("untracedBlocks").is_none()), "{status}");

        let (code, found) = reconcile(environment, &[]).await?;
        let told = of(&found, "ethereum")?;
        ensure!(code == 0 && told["findings"] == json!([]), "ended with {code}: {told}");

        let taken_back = send(Way::Forwarded, "0.0625").await?;
        of_transaction(environment, &wallet, &taken_back, "DETECTED").await?;
        anvil.reorg(1).await?;
        until("the deposit to be taken back", async || {
            let all = deposits(environment, &wallet).await?;
            ensure!(all.iter().all(|deposit| deposit["txId"] != *taken_back), "{all:?}");
            ensure!(all.len() == 3, "the others stay: {all:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

async fn deposits(environment: &Environment, wallet: &Wallet) -> anyhow::Result<Vec<Value>> {
    let page: Value = environment.api.client.get(&format!("/v1/wallets/{}/deposits", wallet.id), &[]).await?;
    page["items"].as_array().cloned().context("items")
}

/// The one deposit of a transaction, once it has this status.
async fn of_transaction(
    environment: &Environment,
    wallet: &Wallet,
    tx_id: &str,
    status: &str,
) -> anyhow::Result<Value> {
    until("the deposit of a contract's payment", async || {
        let all = deposits(environment, wallet).await?;
        let found: Vec<&Value> = all.iter().filter(|deposit| deposit["txId"] == tx_id).collect();
        match found[..] {
            [deposit] if deposit["status"] == status => Ok(deposit.clone()),
            _ => anyhow::bail!("not one that is {status}: {all:?}"),
        }
    })
    .await
}
