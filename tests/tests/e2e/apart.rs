//! API and workers as processes of their own, which share nothing but the database.

use crate::world::{self, Wallet, completed};
use anyhow::ensure;
use bursar_tests::{initiator::payment, recipients};

#[tokio::test(flavor = "multi_thread")]
async fn api_and_worker_apart__should_pay() -> world::Verdict {
    world::run("apart", async |environment| {
        environment.orchestrator.kill9()?;
        environment.orchestrator.start_apart().await?;
        // A wallet needs the co-signers' key, which the API's process can have from the worker's through the store only.
        let api = &environment.api;
        world::until("three keys", async || {
            let keys = api.status().await?["keys"].as_array().map_or(0, Vec::len);
            ensure!(keys == 3, "{keys} keys");
            Ok(())
        })
        .await?;
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = recipients::ethereum();
        let id = wallet.pay(environment, "ETH", vec![payment(&to, "0.75")]).await?;
        completed(environment, &id).await?;
        let received = environment.nodes.anvil.balance(&to).await?.to_string();
        ensure!(received == "750000000000000000", "{to} has {received} wei");
        let status = environment.api.status().await?;
        ensure!(status["coSigners"].is_null(), "the API's process hosts no relay: {status}");
        Ok(())
    })
    .await
}
