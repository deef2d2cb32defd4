//! What the machine runs out of: space, the database's lock, the right to write, the database server. Nothing is lost, and the API
//! says what is lacking (docs/operations.md).

use crate::{
    many_machines::Second,
    world::{self, Wallet, completed},
};
use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_regtest::{Postgres, PostgresOptions, Process, free_port};
use bursar_store::Store;
use bursar_tests::{
    Api, Environment, Options,
    cosigners::Signing,
    environment::{Nodes, install_tls, program},
    initiator::payment,
    recipients,
};
use serde_json::Value;
use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

/// An attempt to submit, without the client's own reading of the answer.
pub struct Answer {
    pub status: u16,
    retry_after: Option<String>,
    body: Value,
}

impl Answer {
    pub fn ensure_unavailable(&self, word: &str) -> anyhow::Result<()> {
        let Self { status, retry_after, body } = self;
        ensure!(*status == 503 && body["type"] == "urn:bursar:problem:unavailable", "{status}: {body}");
        ensure!(retry_after.as_deref() == Some("5"), "Retry-After: {retry_after:?}");
        ensure!(body["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{body}");
        Ok(())
    }
}

pub async fn submit(environment: &Environment, request: &TransferRequest) -> anyhow::Result<Answer> {
    submit_to(&environment.api, request).await
}

async fn submit_to(api: &Api, request: &TransferRequest) -> anyhow::Result<Answer> {
    let response = api
        .http
        .post(format!("{}/v1/transfers", api.url))
        .bearer_auth(&api.key)
        .header("idempotency-key", &request.external_id)
        .json(request)
        .send()
        .await?;
    Answer::of(response).await
}

impl Answer {
    async fn of(response: reqwest::Response) -> anyhow::Result<Self> {
        let header = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = header.map(str::to_owned);
        Ok(Self { status: response.status().as_u16(), retry_after, body: response.json().await? })
    }
}

/// What `/ready` says.
async fn ready(api: &Api) -> anyhow::Result<Answer> {
    Answer::of(api.http.get(format!("{}/ready", api.url)).send().await?).await
}

/// Until `/ready` says that the database lacks something, and what.
pub async fn not_ready(api: &Api, word: &str) -> anyhow::Result<()> {
    world::until("/ready to say what is lacking", async || ready(api).await?.ensure_unavailable(word)).await
}

pub async fn ready_again(api: &Api) -> anyhow::Result<()> {
    world::until("/ready to be content", async || {
        let Answer { status, body, .. } = ready(api).await?;
        ensure!(status == 200, "{status}: {body}");
        Ok(())
    })
    .await
}

/// Until it is accepted; the transfer's id.
pub async fn submitted(environment: &Environment, request: &TransferRequest) -> anyhow::Result<String> {
    submitted_to(&environment.api, request).await
}

async fn submitted_to(api: &Api, request: &TransferRequest) -> anyhow::Result<String> {
    world::until("the transfer to be accepted", async || {
        let answer = submit_to(api, request).await?;
        ensure!(answer.status < 300, "{}: {}", answer.status, answer.body);
        world::text(&answer.body, "id")
    })
    .await
}

/// Each of these was paid 0.01 ETH, once, by a transfer of its own.
pub async fn paid_once(environment: &Environment, ids: &[String], to: &[String]) -> anyhow::Result<()> {
    for id in ids {
        completed(environment, id).await?;
    }
    for to in to {
        let wei = environment.nodes.anvil.balance(to).await?.to_string();
        ensure!(wei == "10000000000000000", "{to} has {wei} wei");
    }
    let page: Value = environment.api.client.get("/v1/transfers", &[("limit", "200".into())]).await?;
    let count = page["items"].as_array().map_or(0, Vec::len);
    ensure!(count == ids.len(), "{count} transfers: {page}");
    Ok(())
}

pub async fn run(
    name: &str,
    test: impl AsyncFnOnce(&mut Environment) -> anyhow::Result<()>,
) -> world::Verdict {
    let prepared = world::prepare_with(name, |options| options.signing = Signing::DevelopmentSingleKey);
    let (options, nodes) = prepared.await?;
    world::run_on(options, nodes, test).await
}

/// The largest size to which the orchestrator may write any file.
fn limit_files(environment: &Environment, limit: &str) -> anyhow::Result<()> {
    environment.orchestrator.pids().into_iter().try_for_each(|pid| limit_files_of(pid, limit))
}

/// The same of one process (`prlimit(1)`, util-linux).
fn limit_files_of(pid: u32, limit: &str) -> anyhow::Result<()> {
    let limit = format!("--fsize={limit}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).output()?;
    ensure!(done.status.success(), "prlimit: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_without_space__should_be_said_and_lose_nothing() -> world::Verdict {
    run("full_disk", async |environment| {
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = [recipients::ethereum(), recipients::ethereum()];
        let under_way = wallet.pay(environment, "ETH", vec![payment(&to[0], "0.01")]).await?;
        let asked = wallet.request(environment, "ETH", vec![payment(&to[1], "0.01")]).await?;
        // Not a byte more, in any file: neither in the database nor in the log.
        limit_files(environment, "1")?;
        submit(environment, &asked).await?.ensure_unavailable("cannot be written")?;
        not_ready(&environment.api, "cannot be written").await?;
        environment.api.transfer(&under_way).await.context("reading goes on")?;
        // A block or two that cannot be written down.
        environment.nodes.anvil.mine(2).await?;
        submit(environment, &asked).await?.ensure_unavailable("cannot be written")?;
        ensure!(!environment.orchestrator.has_ended(), "it ended for want of space");
        limit_files(environment, "unlimited")?;
        ready_again(&environment.api).await?;
        let id = submitted(environment, &asked).await?;
        paid_once(environment, &[under_way, id], &to).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn database_that_somebody_holds__should_be_waited_for() -> world::Verdict {
    run("busy_database", async |environment| {
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = [recipients::ethereum(), recipients::ethereum()];
        let first = wallet.request(environment, "ETH", vec![payment(&to[0], "0.01")]).await?;
        let second = wallet.request(environment, "ETH", vec![payment(&to[1], "0.01")]).await?;
        let file = environment.options.dir.join("orchestrator/data/bursar.db");
        let other = Store::open(&format!("sqlite://{}", file.canonicalize()?.display())).await?;

        let held = other.write().await?;
        let release = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(held);
            Ok(())
        };
        let (answer, ()) = tokio::try_join!(submit(environment, &first), release)?;
        ensure!(answer.status < 300, "it waits for seconds: {}: {}", answer.status, answer.body);
        let first = world::text(&answer.body, "id")?;

        // For longer than anybody waits: until that is said.
        let held = other.write().await?;
        let answer = submit(environment, &second).await?;
        // The latter where others of its process wait before it for as long.
        answer.ensure_unavailable("busy").or_else(|_| answer.ensure_unavailable("took too long"))?;
        not_ready(&environment.api, "busy").await?;
        environment.api.transfer(&first).await.context("reading goes on")?;
        ensure!(!environment.orchestrator.has_ended(), "it ended while somebody held its database");
        drop(held);
        ready_again(&environment.api).await?;
        let second = submitted(environment, &second).await?;
        paid_once(environment, &[first, second], &to).await
    })
    .await
}

/// With one of three away both of the others must sign, and one of these cannot write down that it takes part.
#[tokio::test(flavor = "multi_thread")]
async fn cosigner_without_space__should_say_so_and_sign_when_there_is_some() -> world::Verdict {
    world::run("full_cosigner", async |environment| {
        let wallet = Wallet::xrp(environment, None, 100).await?;
        environment.cosigners.kill9(0)?;
        let full = environment.cosigners.process(1).context("it was started")?.pid();
        limit_files_of(full, "1")?;
        let (to, _) = recipients::xrp()?;
        let id = wallet.pay(environment, "XRP", vec![payment(&to, "20")]).await?;
        world::until("the transfer to say what is lacking", async || {
            let transfer = environment.api.transfer(&id).await?;
            let reason = transfer["reason"].as_str().unwrap_or_default();
            ensure!(reason.contains("INTERNAL: this party's store cannot be read or written"), "{transfer}");
            Ok(())
        })
        .await?;
        let running = environment.cosigners.process(1).is_some_and(|process| process.exited().is_none());
        ensure!(running, "it ended for want of space");
        limit_files_of(full, "unlimited")?;
        completed(environment, &id).await?;
        let has = environment.nodes.xrpl.balance(&to).await?;
        ensure!(has == 20_000_000, "{to} has {has} drops");
        Ok(())
    })
    .await
}

/// An environment on a Postgres server of its own, and the options by which that server starts again on its port.
async fn on_postgres(name: &str) -> anyhow::Result<(Options, Nodes, PostgresOptions, Postgres)> {
    let prepared = world::prepare_with(name, |options| {
        options.signing = Signing::DevelopmentSingleKey;
    });
    let (mut options, nodes) = prepared.await?;
    let mut cluster = PostgresOptions::new(options.dir.join("postgres"));
    let server = Postgres::start(cluster.clone()).await?;
    cluster.port = Some(server.port());
    options.urls.database = Some(server.url().to_owned());
    Ok((options, nodes, cluster, server))
}

/// How long Postgres is away.
const AWAY: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn postgres_gone_for_a_minute_under_load__should_be_said_and_lose_nothing() -> world::Verdict {
    let (options, nodes, cluster, server) = on_postgres("postgres_minute").await?;
    world::run_on(options, nodes, async |environment| {
        let mut server = server;
        let mut second = Second::start(environment).await?;
        let wallet = Wallet::ethereum(environment, 5, 0).await?;
        let mut asked = Vec::new();
        for _ in 0..20 {
            let to = recipients::ethereum();
            let request = wallet.request(environment, "ETH", vec![payment(&to, "0.01")]).await?;
            asked.push((to, request));
        }
        let (before, meanwhile) = asked.split_at(12);
        let mut ids = Vec::new();
        for (n, (_, request)) in before.iter().enumerate() {
            let api = if n % 2 == 0 { &environment.api } else { &second.api };
            ids.push(submitted_to(api, request).await?);
        }

        server.process().kill9()?;
        // Its sessions outlive the postmaster for a moment, and answer.
        not_ready(&environment.api, "the database").await?;
        not_ready(&second.api, "the database").await?;
        let back = tokio::time::Instant::now() + AWAY;
        let mut refused = 0;
        while tokio::time::Instant::now() < back {
            for (_, request) in meanwhile {
                let (one, other) = (&environment.api, &second.api);
                let (first, next, told, other_told) = tokio::try_join!(
                    submit_to(one, request),
                    submit_to(other, request),
                    ready(one),
                    ready(other)
                )?;
                for answer in [first, next, told, other_told] {
                    answer.ensure_unavailable("the database")?;
                    refused += 1;
                }
                if tokio::time::Instant::now() >= back {
                    break;
                }
            }
        }
        ensure!(refused >= 8, "{refused} requests while Postgres was away");
        ensure!(!environment.orchestrator.has_ended(), "the first ended with its database");
        ensure!(second.process.exited().is_none(), "the second ended with its database");
        server = Postgres::start(cluster.clone()).await?;
        ready_again(&environment.api).await?;
        ready_again(&second.api).await?;
        for (n, (_, request)) in meanwhile.iter().enumerate() {
            let api = if n % 2 == 0 { &second.api } else { &environment.api };
            ids.push(submitted_to(api, request).await?);
        }
        let to: Vec<String> = asked.iter().map(|(to, _)| to.clone()).collect();
        paid_once(environment, &ids, &to).await?;
        second.process.stop(Duration::from_secs(40)).await?;
        drop(server);
        Ok(())
    })
    .await
}

/// What a fail-over to a standby looks like that is not promoted yet: it answers, and takes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_that_may_only_be_read_for_a_while__should_be_said_and_lose_nothing() -> world::Verdict {
    let (options, nodes, cluster, server) = on_postgres("postgres_standby").await?;
    world::run_on(options, nodes, async |environment| {
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = [recipients::ethereum(), recipients::ethereum()];
        let under_way = wallet.pay(environment, "ETH", vec![payment(&to[0], "0.01")]).await?;
        let asked = wallet.request(environment, "ETH", vec![payment(&to[1], "0.01")]).await?;
        server.stop().await?;
        let server = Postgres::start(cluster.clone().as_standby()).await?;
        not_ready(&environment.api, "may only be read").await?;
        submit(environment, &asked).await?.ensure_unavailable("may only be read")?;
        environment.api.transfer(&under_way).await.context("reading goes on")?;
        environment.nodes.anvil.mine(2).await?;
        submit(environment, &asked).await?.ensure_unavailable("may only be read")?;
        ensure!(!environment.orchestrator.has_ended(), "it ended because it could not write");
        server.promote().await?;
        ready_again(&environment.api).await?;
        let id = submitted(environment, &asked).await?;
        paid_once(environment, &[under_way, id], &to).await
    })
    .await
}

/// A file that SQLite may only read: its format says so (write version 3, sqlite.org/fileformat2.html#the_database_header), which also
/// holds for root.
#[tokio::test(flavor = "multi_thread")]
async fn database_that_may_only_be_read__should_be_said() -> world::Verdict {
    install_tls();
    let port = free_port()?;
    let folder = tempfile::tempdir()?;
    let (config, database) = (folder.path().join("bursar.toml"), folder.path().join("bursar.db"));
    let text = format!(
        "[store]\nurl = \"sqlite://{}\"\n[api]\nlisten = \"127.0.0.1:{port}\"\n\
         [ethereum]\nchain_id = 31337\nurl = \"http://127.0.0.1:1\"\n\
         [signer]\ndevelopment_single_key = true\nseed_file = \"{}\"\n",
        database.display(),
        folder.path().join("seed").display()
    );
    fs::write(&config, text)?;
    let make_key = || -> anyhow::Result<Output> {
        let mut bursar = Command::new(program("bursar")?);
        bursar.args(["api-keys", "create", "--name", "a", "--config"]).arg(&config);
        Ok(bursar.output()?)
    };
    let made = make_key()?;
    ensure(made.status.success(), &made)?;
    // All of it into the one file, whose header counts then.
    let whole = Command::new("sqlite3").arg(&database).arg("PRAGMA wal_checkpoint(TRUNCATE);").output()?;
    ensure(whole.status.success(), &whole)?;
    let mut bytes = fs::read(&database)?;
    let writable = std::mem::replace(&mut bytes[18], 3);
    fs::write(&database, &bytes)?;
    let refused = make_key()?;
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure(!refused.status.success() && errors.contains("readonly"), &refused)?;
    let mut serve = Command::new(program("bursar")?);
    serve.args(["serve", "--config"]).arg(&config);
    let serving = Process::spawn("bursar serve", serve, folder.path().join("serve.log"))?;
    not_ready(&Api::new(format!("http://127.0.0.1:{port}"), "unused")?, "may only be read").await?;
    serving.stop(Duration::from_secs(20)).await?;
    bytes[18] = writable;
    fs::write(&database, &bytes)?;
    let made = make_key()?;
    ensure(made.status.success(), &made)
}

fn ensure(holds: bool, output: &Output) -> world::Verdict {
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(anyhow::Context::context(holds.then_some(()), format!("{}: {errors}", output.status))?)
}
