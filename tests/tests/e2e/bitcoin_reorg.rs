//! A block below the finality depth is taken back: the same transaction is mined again.

use crate::{
    ledger::{final_on_node, units, wallet_balance},
    world::{self, PATIENCE, Wallet, passed_through, text},
};
use anyhow::ensure;
use bursar_domain::lifecycle::Status;
use bursar_tests::{
    initiator::payment,
    recipients::{self, BitcoinType},
};

#[tokio::test(flavor = "multi_thread")]
async fn bitcoin_reorg__should_confirm_the_same_transaction_again() -> world::Verdict {
    world::run("reorg", async |environment| {
        let wallet = Wallet::bitcoin(environment, None, &[10_000_000]).await?;
        let bitcoind = &environment.nodes.bitcoind;
        let to = recipients::bitcoin(BitcoinType::P2tr);
        let id = wallet.pay(environment, "BTC", vec![payment(&to, "0.04")]).await?;
        environment.api.await_status(&id, Status::Broadcasting, PATIENCE).await?;
        in_mempool(environment, &id).await?;
        bitcoind.mine(1).await?;
        let first = environment.api.await_status(&id, Status::Confirming, PATIENCE).await?;

        bitcoind.reorg(1).await?;
        let back = environment.api.await_status(&id, Status::Broadcasting, PATIENCE).await?;
        ensure!(passed_through(&back, "REORGED"), "{back}");
        ensure!(back["transaction"]["txId"] == first["transaction"]["txId"], "{back}");
        in_mempool(environment, &id).await?;

        bitcoind.mine(2).await?;
        let done = world::completed(environment, &id).await?;
        ensure!(done["transaction"]["txId"] == first["transaction"]["txId"], "{done}");
        ensure!(done["transaction"]["blockHash"] != first["transaction"]["blockHash"], "{done}");
        final_on_node(environment, &done).await?;
        ensure!(bitcoind.balance(&to).await? == 4_000_000, "paid once");
        let fee = units(&text(&done["transaction"], "fee")?, "BTC")?;
        let left = wallet_balance(environment, &wallet, "BTC").await?;
        ensure!(left + fee == units("0.06", "BTC")?, "{left} left, {fee} paid");
        Ok(())
    })
    .await
}

/// Until the node holds the transfer's transaction unconfirmed.
async fn in_mempool(environment: &bursar_tests::Environment, id: &str) -> anyhow::Result<()> {
    world::until("the transaction in the mempool", async || {
        let transfer = environment.api.transfer(id).await?;
        let tx_id = text(&transfer["transaction"], "txId")?;
        environment.nodes.bitcoind.call("getmempoolentry", serde_json::json!([tx_id])).await?;
        Ok(())
    })
    .await
}
