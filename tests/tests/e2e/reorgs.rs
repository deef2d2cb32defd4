//! Blocks that are taken back: the same transaction is mined again, and pays once.

use crate::{
    ledger::{final_on_node, units, wallet_balance},
    world::{self, PATIENCE, Wallet, passed_through, text},
};
use anyhow::{Context as _, ensure};
use bursar_domain::lifecycle::Status;
use bursar_tests::{
    Environment,
    initiator::payment,
    recipients::{self, BitcoinType},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn reorg__should_mine_the_same_transaction_again() -> world::Verdict {
    let prepared = world::prepare_with("reorgs", |options| options.ethereum_block_seconds = None);
    let (options, nodes) = prepared.await?;
    world::run_on(options, nodes, async |environment| {
        bitcoin(environment).await.context("bitcoin")?;
        ethereum(environment).await.context("ethereum")
    })
    .await
}

async fn bitcoin(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
    let bitcoind = &environment.nodes.bitcoind;
    let to = recipients::bitcoin(BitcoinType::P2tr);
    let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.04")]).await?;
    in_mempool(environment, &id).await?;
    bitcoind.mine(1).await?;
    let first = environment.api.await_status(&id, Status::Confirming, PATIENCE).await?;

    // Below the finality depth.
    bitcoind.reorg(1).await?;
    let back = environment.api.await_status(&id, Status::Broadcasting, PATIENCE).await?;
    ensure!(passed_through(&back, "REORGED"), "{back}");
    in_mempool(environment, &id).await?;
    bitcoind.mine(2).await?;
    let second = world::completed(environment, &id).await?;
    ensure!(second["transaction"]["blockHash"] != first["transaction"]["blockHash"], "{second}");

    // Deeper than it: what was completed is open again, and ends well again.
    bitcoind.reorg(2).await?;
    reopened(environment, &id, &second).await?;
    in_mempool(environment, &id).await?;
    bitcoind.mine(2).await?;
    let done = world::completed(environment, &id).await?;
    for earlier in [&first, &second] {
        ensure!(done["transaction"]["txId"] == earlier["transaction"]["txId"], "{done}");
    }
    ensure!(done["transaction"]["blockHash"] != second["transaction"]["blockHash"], "{done}");
    final_on_node(environment, &done).await?;
    ensure!(bitcoind.balance(&to).await? == 4_000_000, "paid once");
    let fee = units(&text(&done["transaction"], "fee")?, "BTC")?;
    let left = wallet_balance(environment, &wallet, "BTC").await?;
    ensure!(left + fee == units("0.06", "BTC")?, "{left} left, {fee} paid");
    Ok(())
}

async fn ethereum(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 2, 0).await?;
    let anvil = &environment.nodes.anvil;
    // Blocks that may be taken back without the deposit.
    anvil.mine(3).await?;
    let to = recipients::ethereum();
    let id = wallet.pay(environment, "ETH", vec![payment(&to, "0.75")]).await?;
    known_to_anvil(environment, &id).await?;
    anvil.mine(1).await?;
    let first = environment.api.await_status(&id, Status::Confirming, PATIENCE).await?;

    // anvil forgets the transactions of blocks that it takes back.
    anvil.reorg(1).await?;
    let back = environment.api.await_status(&id, Status::Broadcasting, PATIENCE).await?;
    ensure!(passed_through(&back, "REORGED"), "{back}");
    known_to_anvil(environment, &id).await?;
    anvil.mine(2).await?;
    let done = world::completed(environment, &id).await?;
    ensure!(done["transaction"]["txId"] == first["transaction"]["txId"], "{done}");
    ensure!(done["transaction"]["blockHash"] != first["transaction"]["blockHash"], "{done}");
    final_on_node(environment, &done).await?;
    ensure!(anvil.balance(&to).await? == units("0.75", "ETH")?, "paid once");

    // Deeper than finality.
    anvil.reorg(2).await?;
    reopened(environment, &id, &done).await?;
    known_to_anvil(environment, &id).await?;
    anvil.mine(2).await?;
    let again = world::completed(environment, &id).await?;
    ensure!(again["transaction"]["txId"] == first["transaction"]["txId"], "{again}");
    ensure!(anvil.balance(&to).await? == units("0.75", "ETH")?, "paid once");
    let done = again;
    let fee = units(&text(&done["transaction"], "fee")?, "ETH")?;
    let left = wallet_balance(environment, &wallet, "ETH").await?;
    ensure!(left + fee == units("1.25", "ETH")?, "{left} left, {fee} paid");
    Ok(())
}

/// Until the completed transfer is open again; the alarm names the block that it had ended by.
async fn reopened(environment: &Environment, id: &str, done: &Value) -> anyhow::Result<()> {
    world::until("the completed transfer to reopen", async || {
        let transfer = environment.api.transfer(id).await?;
        ensure!(transfer["status"] != "COMPLETED", "still completed");
        Ok(())
    })
    .await?;
    let mut cursor = None::<String>;
    loop {
        let mut query = vec![("limit", "200".to_owned())];
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let page: Value = environment.api.client.get("/v1/events", &query).await?;
        let events = page["items"].as_array().context("items")?;
        let alarm = events.iter().find(|event| {
            event["type"] == "transfer.reopened"
                && event["payload"]["transferId"] == *id
                && event["payload"]["block"]["hash"] == done["transaction"]["blockHash"]
        });
        if let Some(alarm) = alarm {
            ensure!(alarm["payload"]["from"] == "COMPLETED", "{alarm}");
            return Ok(());
        }
        ensure!(!events.is_empty(), "no alarm in the event log");
        cursor = Some(page["next"].as_str().context("next")?.to_owned());
    }
}

/// Until the node holds the transfer's transaction unconfirmed.
async fn in_mempool(environment: &Environment, id: &str) -> anyhow::Result<()> {
    world::until("the transaction in the mempool", async || {
        let tx_id = tx_id(environment, id).await?;
        environment.nodes.bitcoind.call("getmempoolentry", json!([tx_id])).await?;
        Ok(())
    })
    .await
}

/// Until anvil holds the transfer's transaction unmined.
async fn known_to_anvil(environment: &Environment, id: &str) -> anyhow::Result<()> {
    world::until("the transaction in anvil's pool", async || {
        let tx_id = tx_id(environment, id).await?;
        let found: Value = environment.nodes.anvil.call("eth_getTransactionByHash", json!([tx_id])).await?;
        ensure!(found.is_object() && found["blockNumber"].is_null(), "{found}");
        Ok(())
    })
    .await
}

async fn tx_id(environment: &Environment, id: &str) -> anyhow::Result<String> {
    text(&environment.api.transfer(id).await?["transaction"], "txId")
}
