//! Three XRP nodes, two of which must agree. No package ships an XRPL server, so they are stand-ins: two show one ledger, and one
//! has ledgers of its own, forked off when the wallet was funded. What it says is false, and fits together.

use crate::{
    ledger::final_on_node,
    world::{self, Wallet, completed, until},
};
use anyhow::{Context as _, ensure};
use bursar_regtest::{Fault, FaultProxy, Rule, XrpLedger, XrpLedgerOptions, free_port, rpc::RpcClient};
use bursar_tests::{Environment, cosigners::Signing, initiator::tagged, recipients};
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};

/// Ledgers that the laggard is behind.
const LAG: u32 = 3;
/// More than the orchestrator gives a payment (`ledger_window` is 60).
const PAST_EXPIRY: u32 = 70;
/// So many questions the liar is asked while the payment must not move.
const QUESTIONS: usize = 100;

#[tokio::test(flavor = "multi_thread")]
async fn xrp_nodes_that_lag_lie_or_are_gone__should_neither_fail_a_paid_transfer_nor_send_another()
-> world::Verdict {
    let prepared = world::prepare_with("xrp-nodes", |options| {
        options.signing = Signing::DevelopmentSingleKey;
        options.xrp_close = None;
        options.xrp_views = 1;
    });
    let (mut options, nodes) = prepared.await?;
    let port = free_port()?;
    let way = FaultProxy::start(nodes.xrpl.rpc_url()).await?;
    let ear = FaultProxy::start(format!("http://127.0.0.1:{port}")).await?;
    let laggard = nodes.xrpl.views().first().context("one view was asked for")?.clone();
    options.urls.xrp_nodes = vec![ear.url(), way.url(), laggard.url().to_owned()];
    let forked = XrpLedgerOptions::new(options.dir.join("nodes/liar")).with_port(port);
    world::run_on(options, nodes, async |environment| {
        let wallet = Wallet::xrp(environment, None, 1_000).await?;
        let liar = environment.nodes.xrpl.fork(forked.clone()).await?;
        let trio = Trio { way: &way, laggard: &laggard, ear: &ear, liar: &liar };
        trio.laggard.call("standin_fault", json!({ "stale": LAG })).await?;
        called_failed(environment, &wallet, &trio).await.context("a node says that it failed")?;
        called_dead(environment, &wallet, &trio).await.context("a node says that it never was")?;
        Ok(())
    })
    .await
}

struct Trio<'a> {
    /// To the honest node.
    way: &'a FaultProxy,
    laggard: &'a RpcClient,
    /// To the liar: counts what it is asked.
    ear: &'a FaultProxy,
    liar: &'a XrpLedger,
}

impl Trio<'_> {
    async fn lies(&self, faults: Value) -> anyhow::Result<()> {
        self.liar.call("standin_fault", faults).await?;
        Ok(())
    }
}

/// In the liar's ledgers the payment is there and failed: its fee and its Sequence are gone.
async fn called_failed(environment: &Environment, wallet: &Wallet, trio: &Trio<'_>) -> anyhow::Result<()> {
    trio.lies(json!({ "flip_provisional": 1_000 })).await?;
    let (to, _) = recipients::xrp()?;
    let id = wallet.pay(environment, "XRP", vec![tagged(&to, 1, "20")]).await?;
    let transfer = tokio::select! {
        closed = close(environment, trio) => match closed? {},
        transfer = completed(environment, &id) => transfer?,
    };
    final_on_node(environment, &transfer).await?;
    let lie = trio.liar.call("tx", json!({ "transaction": transfer["transaction"]["txId"] })).await?;
    ensure!(lie["meta"]["TransactionResult"] == "tecUNFUNDED_PAYMENT" && lie["validated"] == true, "{lie}");
    let members = xrp(&environment.api.status().await?)?["members"].clone();
    ensure!(members[0]["condition"] == "UP" && members[1]["outvoted"] == 0, "{members}");
    paid(environment, wallet, &to, 20_000_000, 1).await
}

/// Ledgers now and then, on both branches.
async fn close(environment: &Environment, trio: &Trio<'_>) -> anyhow::Result<Infallible> {
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        accept(environment, trio, 1).await?;
    }
}

async fn accept(environment: &Environment, trio: &Trio<'_>, ledgers: u32) -> anyhow::Result<()> {
    for _ in 0..ledgers {
        tokio::try_join!(environment.nodes.xrpl.accept(), trio.liar.accept())?;
    }
    Ok(())
}

/// In the liar's ledgers, which are far ahead, it never was, and its Sequence is unused; to the laggard it was not yet.
async fn called_dead(environment: &Environment, wallet: &Wallet, trio: &Trio<'_>) -> anyhow::Result<()> {
    trio.lies(json!({ "reset": true, "drop_provisional": 1_000 })).await?;
    // Far enough from where the branches part that the laggard is beyond it, too.
    accept(environment, trio, 4 * LAG).await?;
    let (to, _) = recipients::xrp()?;
    let id = wallet.pay(environment, "XRP", vec![tagged(&to, 2, "21")]).await?;
    // It may be sent as soon as it is BROADCASTING, and is when the ledger has its id.
    let tx_id = until("the payment to be at the honest node", async || {
        let transfer = environment.api.transfer(&id).await?;
        let tx_id = world::text(&transfer["transaction"], "txId")?;
        environment.nodes.xrpl.call("tx", json!({ "transaction": tx_id })).await?;
        Ok(tx_id)
    })
    .await?;
    trio.way.add(Rule::new(Fault::Refuse));
    trio.laggard.call("standin_fault", json!({ "stale": PAST_EXPIRY + LAG })).await?;
    accept(environment, trio, PAST_EXPIRY).await?;
    let truth = environment.nodes.xrpl.call("tx", json!({ "transaction": tx_id })).await?;
    ensure!(truth["validated"] == true && truth["meta"]["TransactionResult"] == "tesSUCCESS", "{truth}");
    held(environment, trio, &id).await.context("one lags, one lies, one is gone")?;

    // The laggard has caught up: it has the payment, and the liar has a proof that it cannot be.
    trio.laggard.call("standin_fault", json!({ "stale": 0 })).await?;
    held(environment, trio, &id).await.context("one lies, one is gone")?;

    trio.way.clear();
    let transfer = completed(environment, &id).await?;
    ensure!(transfer["transaction"]["txId"] == tx_id.as_str(), "{transfer}");
    ensure!(transfer["transactions"].as_array().is_some_and(|all| all.len() == 1), "{transfer}");
    final_on_node(environment, &transfer).await?;
    paid(environment, wallet, &to, 21_000_000, 2).await
}

/// It stays as it is, however often it is looked at, and the doubt is in plain sight.
async fn held(environment: &Environment, trio: &Trio<'_>, id: &str) -> anyhow::Result<()> {
    let asked = || trio.ear.calls().values().sum::<usize>();
    let before = asked();
    until("the nodes to be asked again and again", async || {
        let status = environment.api.status().await?;
        let xrp = xrp(&status)?;
        ensure!(xrp["reachable"] == false && xrp["members"][1]["condition"] == "DOWN", "{xrp}");
        let questions = asked() - before;
        ensure!(questions >= QUESTIONS, "{questions} of {QUESTIONS}");
        Ok(())
    })
    .await?;
    let transfer = environment.api.transfer(id).await?;
    ensure!(transfer["status"] == "BROADCASTING", "{transfer}");
    ensure!(transfer["transactions"].as_array().is_some_and(|all| all.len() == 1), "{transfer}");
    Ok(())
}

/// The recipient has it once, and the wallet has sent `sent` transactions, in order and no more.
async fn paid(
    environment: &Environment,
    wallet: &Wallet,
    to: &str,
    drops: u64,
    sent: usize,
) -> anyhow::Result<()> {
    let node = &environment.nodes.xrpl;
    let has = node.balance(to).await?;
    ensure!(has == drops, "{to} has {has} of {drops} drops");
    let history = node.call("account_tx", json!({ "account": wallet.address, "limit": 100 })).await?;
    let all = history["transactions"].as_array().context("a history has transactions")?;
    let own = all.iter().filter(|entry| entry["tx"]["Account"] == wallet.address.as_str()).count();
    ensure!(own == sent, "{own} transactions of the wallet: {history}");
    Ok(())
}

fn xrp(status: &Value) -> anyhow::Result<&Value> {
    let of = |view: &&Value| view["network"].as_str().is_some_and(|network| network.starts_with("xrp"));
    let found = status["nodes"].as_array().and_then(|chains| chains.iter().find(of));
    found.with_context(|| format!("no XRP in {status}"))
}
