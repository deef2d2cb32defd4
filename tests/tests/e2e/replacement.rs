//! Transactions in place of others, on real nodes: sped up, cancelled, closed; and payouts taken back before any was made.

use crate::{
    cli::Cli,
    gaps,
    world::{self, PATIENCE, Wallet, completed, text, until},
};
use anyhow::{Context as _, ensure};
use bursar::client::ClientError;
use bursar_domain::{lifecycle::Status, time::Timestamp};
use bursar_tests::{
    Environment,
    initiator::{payment, request, tagged},
    ledger::{final_on_node, units, wallet_balance},
    recipients::{self, BitcoinType},
};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn replacement__should_leave_one_transaction_of_each_transfer() -> world::Verdict {
    let options = |options: &mut bursar_tests::Options| {
        options.ethereum_block_seconds = None;
        options.xrp_close = None;
    };
    let (options, nodes) = world::prepare_with("replacement", options).await?;
    world::run_on(options, nodes, async |environment| {
        bitcoin(environment).await.context("bitcoin")?;
        let ethereum = ethereum(environment).await.context("ethereum")?;
        gaps::gap(environment).await.context("gap")?;
        xrp(environment).await.context("xrp")?;
        inconclusive(environment, &ethereum).await.context("inconclusive")?;
        batch(environment).await.context("batch")?;
        child(environment).await.context("child")
    })
    .await
}

async fn post(environment: &Environment, id: &str, verb: &str, body: Value) -> Result<Value, ClientError> {
    environment.api.client.post(&format!("/v1/transfers/{id}/{verb}"), &body).await
}

/// That the verb is answered with 409.
async fn refused(environment: &Environment, id: &str, verb: &str) -> anyhow::Result<()> {
    match post(environment, id, verb, json!({})).await {
        Err(ClientError::Refused { status, .. }) if status.as_u16() == 409 => Ok(()),
        other => anyhow::bail!("{verb}: {other:?}"),
    }
}

/// Until the transaction under way is another than `before`, for this purpose, and a node has it.
async fn gone_over(
    environment: &Environment,
    id: &str,
    before: &str,
    purpose: &str,
) -> anyhow::Result<String> {
    until(&format!("a transaction to {purpose} in place of {before}"), async || {
        let transfer = environment.api.transfer(id).await?;
        let now = &transfer["transaction"];
        ensure!(now["txId"].is_string() && now["txId"] != before && now["purpose"] == purpose, "{transfer}");
        ensure!(now["broadcastAt"].is_string(), "not accepted yet: {}", transfer["reason"]);
        text(now, "txId")
    })
    .await
}

/// All but the one under way have ended, and the proof of each names it.
fn others_ended(transfer: &Value, count: usize) -> anyhow::Result<()> {
    let winner = text(&transfer["transaction"], "txId")?;
    let all = transfer["transactions"].as_array().context("transactions")?;
    ensure!(all.len() == count, "{transfer}");
    for one in all.iter().filter(|one| one["txId"] != *winner) {
        let proof = one["proof"].as_str().unwrap_or_default();
        ensure!(one["ended"] == "superseded" && proof.contains(&winner), "{one}");
    }
    Ok(())
}

async fn sent(environment: &Environment, id: &str) -> anyhow::Result<String> {
    until("the transaction to be accepted by a node", async || {
        let transaction = &environment.api.transfer(id).await?["transaction"];
        ensure!(transaction["broadcastAt"].is_string(), "{transaction}");
        text(transaction, "txId")
    })
    .await
}

async fn bitcoin(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
    let bitcoind = &environment.nodes.bitcoind;
    let to = recipients::bitcoin(BitcoinType::P2tr);
    let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.04")]).await?;
    let first = sent(environment, &id).await?;
    refused(environment, &id, "abort").await?;
    post(environment, &id, "speed-up", json!({ "raisePercent": 100 })).await?;
    let second = gone_over(environment, &id, &first, "pay").await?;
    let pool = bitcoind.call("getrawmempool", json!([])).await?;
    ensure!(pool == json!([second]), "only the new one is in the mempool: {pool}");
    bitcoind.mine(2).await?;
    let done = completed(environment, &id).await?;
    ensure!(done["transaction"]["txId"] == *second, "{done}");
    others_ended(&done, 2)?;
    final_on_node(environment, &done).await?;
    ensure!(bitcoind.balance(&to).await? == 4_000_000, "paid once");
    refused(environment, &id, "cancel").await?;

    let before = wallet_balance(environment, &wallet, "BTC").await?;
    let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.03")]).await?;
    let payment = sent(environment, &id).await?;
    post(environment, &id, "cancel", json!({})).await?;
    let cancellation = gone_over(environment, &id, &payment, "cancel").await?;
    let pool = bitcoind.call("getrawmempool", json!([])).await?;
    ensure!(pool == json!([cancellation]), "{pool}");
    bitcoind.mine(2).await?;
    let ended = environment.api.await_status(&id, Status::Replaced, PATIENCE).await?;
    ensure!(ended["fundsMoved"] == "feeOnly" && ended["subStatus"] == "CANCELLED_ON_CHAIN", "{ended}");
    others_ended(&ended, 2)?;
    ensure!(bitcoind.balance(&to).await? == 4_000_000, "the second was not paid");
    let fee = units(&text(&ended["transaction"], "fee")?, "BTC")?;
    let left = wallet_balance(environment, &wallet, "BTC").await?;
    ensure!(left + fee == before, "{left} left of {before}, {fee} paid");
    Ok(())
}

async fn ethereum(environment: &Environment) -> anyhow::Result<Wallet> {
    let wallet = Wallet::ethereum(environment, 2, 0).await?;
    let anvil = &environment.nodes.anvil;
    let to = recipients::ethereum();
    let id = wallet.pay(environment, "ETH", vec![payment(&to, "0.5")]).await?;
    let first = sent(environment, &id).await?;
    post(environment, &id, "speed-up", json!({ "raisePercent": 50 })).await?;
    let second = gone_over(environment, &id, &first, "pay").await?;
    anvil.mine(2).await?;
    let done = completed(environment, &id).await?;
    ensure!(done["transaction"]["txId"] == *second, "{done}");
    others_ended(&done, 2)?;
    final_on_node(environment, &done).await?;
    ensure!(anvil.balance(&to).await? == units("0.5", "ETH")?, "paid once");

    let id = wallet.pay(environment, "ETH", vec![payment(&to, "0.25")]).await?;
    let payment = sent(environment, &id).await?;
    post(environment, &id, "cancel", json!({})).await?;
    gone_over(environment, &id, &payment, "cancel").await?;
    anvil.mine(2).await?;
    let ended = environment.api.await_status(&id, Status::Replaced, PATIENCE).await?;
    others_ended(&ended, 2)?;
    ensure!(anvil.balance(&to).await? == units("0.5", "ETH")?, "the second was not paid");
    Ok(wallet)
}

/// An open ledger keeps the first transaction of a Sequence: the cancellation loses, and that is what is reported.
async fn xrp(environment: &Environment) -> anyhow::Result<()> {
    let wallet = Wallet::xrp(environment, None, 100).await?;
    let xrpl = &environment.nodes.xrpl;
    let known = Wallet::xrp(environment, None, 20).await?.address;
    let id = wallet.pay(environment, "XRP", vec![tagged(&known, 7, "3")]).await?;
    sent(environment, &id).await?;
    post(environment, &id, "cancel", json!({})).await?;
    until("the cancellation to be signed", async || {
        let transfer = environment.api.transfer(&id).await?;
        let signed = |one: &Value| one["purpose"] == "cancel" && one["txId"].is_string();
        ensure!(transfer["transactions"].as_array().is_some_and(|all| all.iter().any(signed)), "{transfer}");
        Ok(())
    })
    .await?;
    xrpl.accept().await?;
    let ended = until("the transfer to end", async || {
        let transfer = environment.api.transfer(&id).await?;
        ensure!(transfer["status"] == "COMPLETED" || transfer["status"] == "REPLACED", "{transfer}");
        Ok(transfer)
    })
    .await?;
    others_ended(&ended, 2)?;
    let paid = if ended["status"] == "COMPLETED" { 23_000_000 } else { 20_000_000 };
    ensure!(xrpl.balance(&known).await? == paid, "{ended}");
    Ok(())
}

/// Co-signers that die in a session leave a nonce in doubt. Once the intent has expired it is closed by a transaction that pays
/// nobody, and the account goes on.
async fn inconclusive(environment: &mut Environment, wallet: &Wallet) -> anyhow::Result<()> {
    let to = recipients::ethereum();
    let mut unsigned = request(&wallet.id, "ETH", vec![payment(&to, "0.125")], "0.01")?;
    unsigned.expires_at = in_seconds(8);
    let signed = wallet.sign(environment, unsigned).await?;
    let created: Value =
        environment.api.client.post_once("/v1/transfers", &signed.external_id, &signed).await?;
    let id = text(&created, "id")?;
    until("a session to begin", async || {
        let transfer = environment.api.transfer(&id).await?;
        ensure!(transfer["transaction"]["signingStartedAt"].is_string(), "{transfer}");
        Ok(())
    })
    .await?;
    environment.cosigners.kill9(0)?;
    environment.cosigners.kill9(1)?;
    let transfer = until("the session to end", async || {
        let transfer = environment.api.transfer(&id).await?;
        let (status, why) = (&transfer["status"], &transfer["subStatus"]);
        ensure!(status != "PENDING_SIGNATURE" || why == "SIGNING_INCONCLUSIVE", "{status} {why}");
        Ok(transfer)
    })
    .await?;
    environment.cosigners.start_one(0)?;
    environment.cosigners.start_one(1)?;
    let ended = match text(&transfer, "status")?.as_str() {
        // The session was faster than the signal.
        "SIGNED" | "BROADCASTING" => {
            environment.nodes.anvil.mine(2).await?;
            completed(environment, &id).await?
        }
        _ => {
            refused(environment, &id, "abort").await?;
            until("the cancellation to be sent", async || {
                let transfer = environment.api.transfer(&id).await?;
                ensure!(transfer["transaction"]["purpose"] == "cancel", "{}", transfer["replacing"]);
                ensure!(transfer["transaction"]["broadcastAt"].is_string(), "{transfer}");
                Ok(())
            })
            .await?;
            environment.nodes.anvil.mine(2).await?;
            let ended = environment.api.await_status(&id, Status::Replaced, PATIENCE).await?;
            ensure!(ended["transactions"].as_array().map(Vec::len) == Some(2), "{ended}");
            ended
        }
    };
    let paid = if ended["status"] == "COMPLETED" { "0.125" } else { "0" };
    ensure!(environment.nodes.anvil.balance(&to).await? == units(paid, "ETH")?, "{ended}");
    let next = wallet.pay(environment, "ETH", vec![payment(&to, "0.0625")]).await?;
    sent(environment, &next).await?;
    environment.nodes.anvil.mine(2).await?;
    completed(environment, &next).await.map(drop)
}

#[expect(clippy::disallowed_methods, reason = "co-signers compare it with their own clocks")]
fn in_seconds(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let then = now + Duration::from_secs(seconds);
    let then = Timestamp::from_secs(i64::try_from(then.as_secs()).unwrap_or_default());
    bursar::api::wire::time(then)
}

/// One payout of three is taken back while too few co-signers are there to sign; the other two are made.
async fn batch(environment: &mut Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
    environment.cosigners.kill9(0)?;
    environment.cosigners.kill9(1)?;
    let to = [(); 3].map(|()| recipients::bitcoin(BitcoinType::P2tr));
    let payments = vec![payment(&to[0], "0.01"), payment(&to[1], "0.02"), payment(&to[2], "0.03")];
    let id = wallet.pay(environment, "BTC", payments).await?;
    until("waiting for co-signers", async || {
        let transfer = environment.api.transfer(&id).await?;
        ensure!(transfer["subStatus"] == "SIGNERS_OFFLINE", "{transfer}");
        Ok(())
    })
    .await?;
    let key = environment.initiator.file().display().to_string();
    let cli = Cli::new(environment);
    let recalled = cli.json(&["transfers", "recall", &id, "--payment", "1", "--key", &key, "--yes"]).await?;
    ensure!(recalled["payments"][1]["recalled"] == true, "{recalled}");
    ensure!(recalled["payments"][0]["recalled"].is_null(), "{recalled}");
    environment.cosigners.start_one(0)?;
    environment.cosigners.start_one(1)?;
    sent(environment, &id).await?;
    environment.nodes.bitcoind.mine(2).await?;
    completed(environment, &id).await?;
    for (address, satoshi) in to.iter().zip([1_000_000, 0, 3_000_000]) {
        let paid = environment.nodes.bitcoind.balance(address).await?;
        ensure!(paid == satoshi, "{address} was paid {paid}");
    }
    Ok(())
}

/// Where policy allows no replacement a child pays for what is stuck; both are mined, and nothing but their fees is gone.
async fn child(environment: &mut Environment) -> anyhow::Result<()> {
    let wallet = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
    let before = wallet_balance(environment, &wallet, "BTC").await?;
    environment.orchestrator.kill9()?;
    let config = environment.orchestrator.config();
    let policy = "\n[bitcoin.replacement]\nstuck_after_ms = 500\nmax_replacements = 0\n";
    std::fs::write(config, std::fs::read_to_string(config)? + policy)?;
    environment.orchestrator.start().await?;
    let to = recipients::bitcoin(BitcoinType::P2tr);
    let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.02")]).await?;
    let parent = sent(environment, &id).await?;
    let child = until("a child to be accepted by a node", async || {
        let transfer = environment.api.transfer(&id).await?;
        let all = transfer["transactions"].as_array().context("transactions")?;
        let child = all.iter().find(|one| one["purpose"] == "child").context(transfer.to_string())?;
        ensure!(child["broadcastAt"].is_string(), "{child}");
        ensure!(transfer["transaction"]["txId"] == *parent, "{transfer}");
        text(child, "txId")
    })
    .await?;
    let bitcoind = &environment.nodes.bitcoind;
    let family = bitcoind.call("getmempoolentry", json!([child])).await?;
    ensure!(family["ancestorcount"] == 2 && family["depends"] == json!([parent]), "{family}");
    bitcoind.mine(2).await?;
    completed(environment, &id).await?;
    let fees = until("the child to be final", async || {
        let transfer = environment.api.transfer(&id).await?;
        let all = transfer["transactions"].as_array().context("transactions")?;
        ensure!(all.len() == 2 && all.iter().all(|one| one["finalizedAt"].is_string()), "{transfer}");
        all.iter()
            .try_fold(units("0", "BTC")?, |sum, one| anyhow::Ok(sum + units(&text(one, "fee")?, "BTC")?))
    })
    .await?;
    ensure!(bitcoind.balance(&to).await? == 2_000_000, "paid once");
    let left = wallet_balance(environment, &wallet, "BTC").await?;
    ensure!(left + fees + units("0.02", "BTC")? == before, "{left} left of {before}, {fees} paid");
    // What the child made can be spent.
    let next = wallet.pay(environment, "BTC", vec![payment(&to, "0.07")]).await?;
    sent(environment, &next).await?;
    bitcoind.mine(2).await?;
    completed(environment, &next).await.map(drop)
}
