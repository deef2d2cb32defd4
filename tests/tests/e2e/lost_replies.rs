//! A reply that never came says nothing about the payment: it is looked for and the same bytes are sent again.

use crate::{
    ledger::pay_exactly,
    world::{self, Miner, Wallet},
};
use anyhow::{Context as _, ensure};
use bursar_regtest::{Fault, FaultProxy, Rule};
use bursar_tests::{
    initiator::{payment, tagged},
    recipients::{self, BitcoinType},
};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn lost_broadcast_reply__should_pay_once() -> world::Verdict {
    let (mut options, nodes) = world::prepare("lost-replies").await?;
    let bitcoin = FaultProxy::start(nodes.bitcoind.rpc_url()).await?;
    let ethereum = FaultProxy::start(nodes.anvil.rpc_url()).await?;
    options.urls = world::urls(Some(bitcoin.url()), Some(ethereum.url()));
    world::run_on(options, nodes, async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let wallet = Wallet::bitcoin(environment, None, &[30_000_000]).await?;
        for fault in faults() {
            let to = recipients::bitcoin(BitcoinType::P2wpkh);
            let asked = wallet.request(environment, "BTC", vec![payment(&to, "0.01")]).await?;
            bitcoin.add(Rule::new(fault.clone()).method("sendrawtransaction").once());
            let hit = bitcoin.faults();
            let (transfer, _) =
                pay_exactly(environment, &wallet, asked).await.with_context(|| format!("BTC {fault:?}"))?;
            ensure!(bitcoin.faults() > hit, "{fault:?} hit nothing");
            bitcoin.clear();
            maybe_sent(&transfer, &fault)?;
        }

        let wallet = Wallet::ethereum(environment, 5, 0).await?;
        for fault in faults() {
            let to = recipients::ethereum();
            let asked = wallet.request(environment, "ETH", vec![payment(&to, "0.5")]).await?;
            ethereum.add(Rule::new(fault.clone()).method("eth_sendRawTransaction").once());
            let hit = ethereum.faults();
            let (transfer, _) =
                pay_exactly(environment, &wallet, asked).await.with_context(|| format!("ETH {fault:?}"))?;
            ensure!(ethereum.faults() > hit, "{fault:?} hit nothing");
            ethereum.clear();
            maybe_sent(&transfer, &fault)?;
        }

        let wallet = Wallet::xrp(environment, None, 500).await?;
        let (to, _) = recipients::xrp()?;
        let asked = wallet.request(environment, "XRP", vec![tagged(&to, 9, "20")]).await?;
        environment.nodes.xrpl.call("standin_fault", json!({ "lose_submit_reply": 1 })).await?;
        let (transfer, _) = pay_exactly(environment, &wallet, asked).await.context("XRP")?;
        maybe_sent(&transfer, &Fault::DropReply)?;
        let armed = environment.nodes.xrpl.call("standin_fault", json!({})).await?;
        ensure!(!armed.to_string().contains("\"lose_submit_reply\":1"), "the fault hit nothing: {armed}");
        Ok(())
    })
    .await
}

fn faults() -> [Fault; 4] {
    [Fault::DropReply, Fault::Duplicate, Fault::Refuse, Fault::Status(503)]
}

/// The doubt is on the timeline, with its cause; a second copy of the request leaves none.
fn maybe_sent(transfer: &Value, fault: &Fault) -> anyhow::Result<()> {
    let timeline = transfer["timeline"].as_array().context("a transfer has a timeline")?;
    let doubted =
        timeline.iter().any(|entry| entry["subStatus"] == "MAYBE_SENT" && entry["reason"].is_string());
    let expected = *fault != Fault::Duplicate;
    ensure!(doubted || !expected, "no doubt after {fault:?}: {timeline:?}");
    Ok(())
}
