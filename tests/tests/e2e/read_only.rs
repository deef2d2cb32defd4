//! A database whose file system becomes read-only while the orchestrator runs, as one does after an error of its disk. No permission is
//! involved, so that it is the same for root ([`bursar_tests::faults`]).

use crate::{
    resources::{not_ready, paid_once, ready_again, run, submit, submitted},
    world::{self, Wallet, faults},
};
use anyhow::{Context as _, ensure};
use bursar_tests::{initiator::payment, recipients};

#[tokio::test(flavor = "multi_thread")]
async fn database_that_becomes_read_only__should_be_said_and_lose_nothing() -> world::Verdict {
    run("read_only", async |environment| {
        world::start_with_faults(environment).await?;
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = [recipients::ethereum(), recipients::ethereum(), recipients::ethereum()];
        let under_way = wallet.pay(environment, "ETH", vec![payment(&to[0], "0.01")]).await?;
        let asked = wallet.request(environment, "ETH", vec![payment(&to[1], "0.01")]).await?;
        let later = wallet.request(environment, "ETH", vec![payment(&to[2], "0.01")]).await?;

        faults(environment)?.read_only(true)?;
        // The writer finds out by a write that fails, opens the file anew for that, and may only read it then.
        let answer = submit(environment, &asked).await?;
        answer
            .ensure_unavailable("cannot be written")
            .or_else(|_| answer.ensure_unavailable("may only be read"))?;
        not_ready(&environment.api, "may only be read").await?;
        submit(environment, &asked).await?.ensure_unavailable("may only be read")?;
        environment.api.transfer(&under_way).await.context("reading goes on")?;
        // A block or two that cannot be written down.
        environment.nodes.anvil.mine(2).await?;
        ensure!(!environment.orchestrator.has_ended(), "it ended because it could not write");
        faults(environment)?.read_only(false)?;
        ready_again(&environment.api).await?;
        let first = submitted(environment, &asked).await?;

        // Once more, while nothing but blocks is written.
        faults(environment)?.read_only(true)?;
        not_ready(&environment.api, "may only be read").await?;
        environment.nodes.anvil.mine(2).await?;
        faults(environment)?.read_only(false)?;
        let second = submitted(environment, &later).await?;
        paid_once(environment, &[under_way, first, second], &to).await
    })
    .await
}
