//! The development signer in place of co-signers: a payment on each chain, and plain sight of what signs.

use crate::world::{Miner, Verdict, Wallet, completed, prepare_with, run_on};
use bursar_tests::{
    cosigners::Signing,
    initiator::payment,
    recipients::{self, BitcoinType},
};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn development_single_key__should_pay_on_each_chain_and_say_what_it_is() -> Verdict {
    let (options, nodes) =
        prepare_with("development-signer", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        let health: Value =
            environment.api.http.get(format!("{}/health", environment.api.url)).send().await?.json().await?;
        let status = environment.api.status().await?;
        for shown in [&health, &status] {
            assert_eq!(shown["insecureSigner"], "development_single_key", "{shown}");
        }
        let log = std::fs::read_to_string(environment.orchestrator.log_file())?;
        assert!(log.contains("DEVELOPMENT SIGNER"), "no warning in the log");

        let miner = Miner::start(&environment.nodes.bitcoind)?;
        let bitcoin = Wallet::bitcoin(environment, None, &[1_000_000]).await?;
        let ethereum = Wallet::ethereum(environment, 2, 0).await?;
        let xrp = Wallet::xrp(environment, None, 100).await?;
        let mut paid = Vec::new();
        for (wallet, asset, to, amount) in [
            (&bitcoin, "BTC", recipients::bitcoin(BitcoinType::P2tr), "0.001"),
            (&ethereum, "ETH", recipients::ethereum(), "0.5"),
            (&xrp, "XRP", recipients::xrp()?.0, "20"),
        ] {
            paid.push(wallet.pay(environment, asset, vec![payment(&to, amount)]).await?);
        }
        for id in &paid {
            completed(environment, id).await?;
        }
        drop(miner);
        Ok(())
    })
    .await
}
