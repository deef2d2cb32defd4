//! Several processes on one Postgres, as on several machines: they share nothing else.

use crate::{
    ledger::{balance, final_on_node, units},
    world::{Miner, Verdict, Wallet, completed, prepare, prepare_with, run_on, text, until},
};
use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_regtest::{Authority, Postgres, PostgresOptions, Process, free_port};
use bursar_tests::{
    Api, Environment, Options,
    cosigners::Signing,
    initiator::{payment, tagged},
    recipients::{self, BitcoinType},
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, time::Duration};

async fn postgres(options: &mut Options) -> anyhow::Result<Postgres> {
    let server = Postgres::start(PostgresOptions::new(options.dir.join("postgres"))).await?;
    options.urls.database = Some(server.url().to_owned());
    Ok(server)
}

/// Whether a process has moved a transfer, as its log says.
fn has_worked(environment: &Environment, log: &str) -> bool {
    let dir = environment.orchestrator.config().parent().unwrap_or(Path::new("."));
    fs::read_to_string(dir.join(log)).is_ok_and(|log| log.contains("transfer moved"))
}

/// A transfer to a fresh recipient, asked for until there is an answer.
async fn ask(
    environment: &Environment,
    wallet: &Wallet,
    n: u32,
) -> anyhow::Result<(String, TransferRequest)> {
    let chain = text(&wallet.view, "network")?;
    let request = match chain.split(':').next() {
        Some("bitcoin") => {
            let to = recipients::bitcoin(BitcoinType::P2tr);
            wallet.request(environment, "BTC", vec![payment(&to, "0.0123")]).await?
        }
        Some("ethereum") => {
            wallet.request(environment, "ETH", vec![payment(&recipients::ethereum(), "0.25")]).await?
        }
        _ => wallet.request(environment, "XRP", vec![tagged(&recipients::xrp()?.0, n, "12.5")]).await?,
    };
    let id = until("an answer", async || {
        let created: Value =
            environment.api.client.post_once("/v1/transfers", &request.external_id, &request).await?;
        text(&created, "id")
    })
    .await?;
    Ok((id, request))
}

async fn paid_once(environment: &Environment, asked: &[(String, TransferRequest)]) -> anyhow::Result<()> {
    for (id, request) in asked {
        let transfer = completed(environment, id).await?;
        final_on_node(environment, &transfer).await?;
        let payment = &request.payments[0];
        let has = balance(environment, &request.asset, &payment.address).await?;
        let due = units(&payment.amount, &request.asset)?;
        ensure!(has == due, "{} was to get {due} {}, and has {has}", payment.address, request.asset);
    }
    let ids: BTreeSet<_> = asked.iter().map(|(id, _)| id).collect();
    ensure!(ids.len() == asked.len(), "one transfer each");
    Ok(())
}

struct Wallets([Wallet; 3]);

impl Wallets {
    async fn fund(environment: &Environment) -> anyhow::Result<Self> {
        Ok(Self([
            Wallet::bitcoin(environment, None, &[5_000_000; 8]).await?,
            Wallet::ethereum(environment, 10, 0).await?,
            Wallet::xrp(environment, None, 1_000).await?,
        ]))
    }

    /// `rounds` transfers on each chain.
    async fn ask(
        &self,
        environment: &Environment,
        rounds: u32,
        asked: &mut Vec<(String, TransferRequest)>,
    ) -> anyhow::Result<()> {
        for n in 0..rounds {
            for wallet in &self.0 {
                asked.push(ask(environment, wallet, n).await?);
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_postgres_killed__should_complete_everything_once() -> Verdict {
    let change = |options: &mut Options| options.signing = Signing::DevelopmentSingleKey;
    let (mut options, nodes) = prepare_with("many-machines", change).await?;
    let mut server = postgres(&mut options).await?;
    run_on(options, nodes, async |environment| {
        // In place of the one process: an API and two workers.
        environment.orchestrator.kill9()?;
        let start = |environment: &Environment, command: &str, log: &str| {
            environment.orchestrator.also(command, "bursar.toml", log)
        };
        let _api = start(environment, "api", "api.log")?;
        let mut one = start(environment, "worker", "one.log")?;
        let _two = start(environment, "worker", "two.log")?;
        until("the API", async || environment.api.status().await.map(drop)).await?;
        let _miner = Miner::start(&environment.nodes.bitcoind)?;
        let wallets = Wallets::fund(environment).await?;

        let mut asked = Vec::new();
        for _ in 0..40 {
            wallets.ask(environment, 1, &mut asked).await?;
            if has_worked(environment, "one.log") && has_worked(environment, "two.log") {
                break;
            }
        }
        one.kill9()?;
        wallets.ask(environment, 1, &mut asked).await?;
        paid_once(environment, &asked).await.context("a worker was killed")?;
        ensure!(has_worked(environment, "one.log"), "the first worker did nothing");
        ensure!(has_worked(environment, "two.log"), "the second worker did nothing");

        let _one = start(environment, "worker", "one-again.log")?;
        let mut asked = Vec::new();
        wallets.ask(environment, 1, &mut asked).await?;
        let port = server.port();
        server.process().kill9()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let dir = environment.options.dir.join("postgres");
        server = Postgres::start(PostgresOptions::new(dir).with_port(port)).await?;
        wallets.ask(environment, 1, &mut asked).await?;
        paid_once(environment, &asked).await.context("Postgres was killed")?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn worker_without_cosigners__should_leave_signing_to_the_one_that_has_them() -> Verdict {
    let (mut options, nodes) = prepare("one-relay").await?;
    let server = postgres(&mut options).await?;
    run_on(options, nodes, async |environment| {
        // The co-signers dial the first process; the second has no relay at all.
        let listen = format!("127.0.0.1:{}", free_port()?);
        let config = fs::read_to_string(environment.orchestrator.config())?;
        let (without_relay, _) = config.split_once("\n[relay]").context("the relay comes last")?;
        let dir = environment.orchestrator.config().parent().context("it is in a folder")?;
        fs::write(dir.join("second.toml"), format!("{without_relay}\n[worker]\nlisten = \"{listen}\"\n"))?;
        let second: Process = environment.orchestrator.also("worker", "second.toml", "second.log")?;
        until("the second worker's metrics", async || {
            let text = reqwest::get(format!("http://{listen}/metrics")).await?.text().await?;
            ensure!(text.contains("bursar_jobs_total"), "{text}");
            Ok(())
        })
        .await?;

        let wallet = Wallet::ethereum(environment, 10, 0).await?;
        let mut asked = Vec::new();
        while asked.is_empty() || (asked.len() < 40 && !has_worked(environment, "second.log")) {
            asked.push(ask(environment, &wallet, 0).await?);
        }
        ensure!(has_worked(environment, "second.log"), "the second worker did nothing");
        // It drains and goes, and what it held is done by the first.
        asked.push(ask(environment, &wallet, 0).await?);
        let status = second.stop(Duration::from_secs(40)).await?;
        ensure!(status.success(), "the second worker ended with {status}");
        paid_once(environment, &asked).await?;
        let held = server.psql("bursar", "SELECT count(*) FROM jobs WHERE for_signer = 1").await?;
        ensure!(held == "0", "{held} jobs still wait for a signer");
        Ok(())
    })
    .await
}

/// Another `bursar serve` on the same database, with an address of its own, and a relay where the first has one.
pub struct Second {
    pub process: Process,
    pub api: Api,
    /// Where co-signers reach it.
    relay: String,
}

impl Second {
    pub async fn start(environment: &Environment) -> anyhow::Result<Self> {
        let orchestrator = &environment.orchestrator;
        let (listen, relay) = (format!("127.0.0.1:{}", free_port()?), format!("127.0.0.1:{}", free_port()?));
        let first = orchestrator.url();
        let first = first.trim_start_matches("http://");
        let config = fs::read_to_string(orchestrator.config())?;
        let config = config.replace(first, &listen).replace(&orchestrator.relay_address(), &relay);
        fs::write(orchestrator.config().with_file_name("second.toml"), config)?;
        let process = orchestrator.also("serve", "second.toml", "second.log")?;
        let api = Api::new(format!("http://{listen}"), orchestrator.api_key())?;
        until("the second machine", async || api.status().await.map(drop)).await?;
        Ok(Self { process, api, relay })
    }
}

/// Until this API shows so many co-signers at its own relay.
async fn online(api: &Api, count: usize) -> anyhow::Result<()> {
    until("co-signers at the relay", async || {
        let status = api.status().await?;
        let parties = status["coSigners"].as_array().context("co-signers")?;
        let online = parties.iter().filter(|party| party["online"] == true).count();
        ensure!(online == count, "{online} of {count}: {}", status["coSigners"]);
        Ok(())
    })
    .await
}

/// A machine each with a relay, and co-signers that list both; the database is reached by TLS only, and checked.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_relays_gone__should_leave_signing_to_the_other() -> Verdict {
    let (mut options, nodes) = prepare("two-relays").await?;
    let authority = Authority::new("the database's")?;
    let (certificate, key) = authority.issue(&["127.0.0.1"])?;
    let trusted = options.dir.join("db-ca.pem");
    fs::write(&trusted, authority.certificate())?;
    let cluster = PostgresOptions::new(options.dir.join("postgres")).with_tls(certificate, key);
    let server = Postgres::start(cluster).await?;
    let ask_for = format!("sslmode=verify-full&sslrootcert={}", trusted.canonicalize()?.display());
    options.urls.database = Some(format!("{}?{ask_for}", server.url()));
    run_on(options, nodes, async |environment| {
        let mut second = Second::start(environment).await?;
        for index in 0..environment.cosigners.count() {
            let file = environment.cosigners.party(index).dir.join("signer.toml");
            let text = fs::read_to_string(&file)?;
            let (_, relay) = text.split_once("[[relays]]").context("a relay is listed")?;
            let relay = relay.split("[[").next().unwrap_or_default();
            let other = relay.replace(&environment.orchestrator.relay_address(), &second.relay);
            ensure!(other != relay, "not the first relay: {relay}");
            fs::write(&file, format!("{text}\n[[relays]]{other}"))?;
            environment.cosigners.kill9(index)?;
            environment.cosigners.start_one(index)?;
        }
        online(&second.api, 3).await?;
        online(&environment.api, 3).await?;
        let connections = |encrypted: &str| {
            let sql = format!(
                "SELECT count(*) > 0 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE datname = 'bursar' AND pid <> pg_backend_pid() AND ssl = {encrypted}"
            );
            let server = &server;
            async move { server.psql("bursar", &sql).await }
        };
        ensure!(connections("true").await? == "t" && connections("false").await? == "f", "all by TLS");

        let wallet = Wallet::ethereum(environment, 10, 0).await?;
        let mut asked = Vec::new();
        asked.push(ask(environment, &wallet, 0).await?);
        // What is under way at the first goes on at the second.
        for _ in 0..3 {
            asked.push(ask(environment, &wallet, 0).await?);
        }
        environment.orchestrator.kill9()?;
        std::mem::swap(&mut environment.api, &mut second.api);
        asked.push(ask(environment, &wallet, 0).await?);
        paid_once(environment, &asked).await.context("the first is gone")?;
        ensure!(has_worked(environment, "second.log"), "the second did nothing");

        // And the other way round.
        environment.orchestrator.start().await?;
        std::mem::swap(&mut environment.api, &mut second.api);
        online(&environment.api, 3).await?;
        second.process.kill9()?;
        let asked = [ask(environment, &wallet, 0).await?];
        paid_once(environment, &asked).await.context("the second is gone")
    })
    .await
}
