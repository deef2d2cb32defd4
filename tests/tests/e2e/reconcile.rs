//! The chains against the database: nothing to find after payments, and what a database has lost that was restored from an older copy.

use crate::world::{Miner, Verdict, Wallet, completed, passed_through, prepare_with, run_on, until};
use anyhow::{Context as _, ensure};
use bursar_tests::{
    Environment,
    cosigners::Signing,
    environment::{TOKEN, program},
    initiator::payment,
    recipients::{self, BitcoinType},
};
use serde_json::Value;
use std::{fs, path::Path};

#[tokio::test(flavor = "multi_thread")]
async fn reconcile__should_be_clean_after_payments_and_find_what_the_database_has_lost() -> Verdict {
    let (options, nodes) =
        prepare_with("reconcile", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let wallets = Wallets {
            bitcoin: Wallet::bitcoin(environment, None, &[1_000_000, 2_000_000]).await?,
            ethereum: Wallet::ethereum(environment, 2, 50).await?,
            xrp: Wallet::xrp(environment, None, 100).await?,
        };
        wallets.pay_on_each(environment).await?;

        let (code, clean) = reconcile(environment, &[]).await?;
        ensure!(code == 0, "ended with {code}: {clean}");
        for (network, sent) in [("bitcoin", 1), ("ethereum", 2), ("xrp", 1)] {
            let told = of(&clean, network)?;
            ensure!(told["sent"] == sent && told["findings"] == serde_json::json!([]), "{told}");
        }
        let (code, again) = reconcile(environment, &[]).await?;
        ensure!(code == 0, "ended with {code}: {again}");
        ensure!(of(&again, "xrp")?["sent"] == 0, "goes on where the last one ended: {again}");

        // Payments of which the database knows nothing afterwards: it is an older copy.
        let data = environment.orchestrator.config().with_file_name("data");
        let copy = environment.orchestrator.config().with_file_name("copy");
        environment.orchestrator.kill9()?;
        copy_all(&data, &copy)?;
        environment.orchestrator.start().await?;
        wallets.pay_on_each(environment).await?;
        environment.orchestrator.kill9()?;
        fs::remove_dir_all(&data)?;
        copy_all(&copy, &data)?;
        environment.orchestrator.start().await?;

        let found = until("unknown transactions on each chain", async || {
            let (code, found) = reconcile(environment, &["--halt"]).await?;
            for network in ["bitcoin", "ethereum", "xrp"] {
                let told = of(&found, network)?;
                ensure!(codes(told).contains(&"UNKNOWN_OUTGOING"), "ended with {code}: {told}");
            }
            ensure!(code == 6, "ended with {code}: {found}");
            Ok(found)
        })
        .await?;
        ensure!(codes(of(&found, "ethereum")?).contains(&"BALANCE_DIFFERS"), "{found}");
        let about = &of(&found, "ethereum")?["findings"][0];
        ensure!(about["account"] == wallets.ethereum.address && about["txId"].is_string(), "{about}");

        let to = recipients::ethereum();
        let waits = wallets.ethereum.pay(environment, "ETH", vec![payment(&to, "0.1")]).await?;
        until("the halt to hold the next payment", async || {
            let transfer = environment.api.transfer(&waits).await?;
            ensure!(transfer["subStatus"] == "ACCOUNT_HALTED", "{transfer}");
            Ok(())
        })
        .await?;
        let (_, halts) = bursar(environment, &["--json", "halts"]).await?;
        let standing = halts["items"].as_array().context("a list of halts")?;
        ensure!(standing.iter().any(|halt| halt["account"] == wallets.ethereum.address), "{halts}");
        for halt in standing {
            let id = halt["id"].to_string();
            let (code, lifted) =
                bursar(environment, &["--json", "resume", &id, "--reason", "an older copy"]).await?;
            ensure!(code == 0 && lifted["lifted"]["reason"] == "an older copy", "{lifted}");
        }
        let paid = completed(environment, &waits).await?;
        ensure!(passed_through(&paid, "ACCOUNT_HALTED"), "{paid}");

        // Whether a break halts is asked for by each run, or by the configuration for all.
        let standing = async || -> anyhow::Result<bool> {
            let (_, halts) = bursar(environment, &["--json", "halts"]).await?;
            let mut items = halts["items"].as_array().context("a list of halts")?.iter();
            Ok(items.any(|halt| halt["account"] == wallets.ethereum.address))
        };
        let (code, found) = reconcile(environment, &[]).await?;
        ensure!(code == 6 && !standing().await?, "halts although nobody wants it: {code}: {found}");
        let config = environment.orchestrator.config();
        let text = fs::read_to_string(config)?;
        fs::write(config, format!("{text}\n[reconcile]\nhalt_on_break = true\n"))?;
        let (code, found) = reconcile(environment, &[]).await?;
        ensure!(code == 6 && standing().await?, "does not halt as configured: {code}: {found}");
        Ok(())
    })
    .await
}

struct Wallets {
    bitcoin: Wallet,
    ethereum: Wallet,
    xrp: Wallet,
}

impl Wallets {
    /// To the end, and one more look of the follower at a final block.
    async fn pay_on_each(&self, environment: &Environment) -> anyhow::Result<()> {
        let mut paid = Vec::new();
        for (wallet, asset, to, amount) in [
            (&self.bitcoin, "BTC", recipients::bitcoin(BitcoinType::P2tr), "0.001"),
            (&self.ethereum, "ETH", recipients::ethereum(), "0.5"),
            (&self.ethereum, TOKEN, recipients::ethereum(), "7"),
            (&self.xrp, "XRP", recipients::xrp()?.0, "20"),
        ] {
            paid.push(wallet.pay(environment, asset, vec![payment(&to, amount)]).await?);
        }
        for id in &paid {
            completed(environment, id).await?;
        }
        Ok(())
    }
}

pub fn of<'a>(found: &'a Value, chain: &str) -> anyhow::Result<&'a Value> {
    let mut networks = found["networks"].as_array().into_iter().flatten();
    networks
        .find(|network| network["network"].as_str().is_some_and(|name| name.starts_with(chain)))
        .with_context(|| format!("{chain} is not in {found}"))
}

fn codes(network: &Value) -> Vec<&str> {
    network["findings"].as_array().into_iter().flatten().filter_map(|found| found["code"].as_str()).collect()
}

pub async fn reconcile(environment: &Environment, options: &[&str]) -> anyhow::Result<(i32, Value)> {
    let config = environment.orchestrator.config().display().to_string();
    bursar(environment, &[&["--json", "reconcile", "--config", &config], options].concat()).await
}

/// Exit code and what was printed.
async fn bursar(environment: &Environment, arguments: &[&str]) -> anyhow::Result<(i32, Value)> {
    let mut command = tokio::process::Command::new(program("bursar")?);
    command
        .args(arguments)
        .env("BURSAR_URL", environment.orchestrator.url())
        .env("BURSAR_API_KEY", &environment.api.key);
    let output = command.output().await?;
    let text = String::from_utf8(output.stdout)?;
    let printed = serde_json::from_str(&text).with_context(|| {
        format!("{arguments:?} printed {text}{}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok((output.status.code().context("it was not killed")?, printed))
}

fn copy_all(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}
