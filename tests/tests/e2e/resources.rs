//! What the machine runs out of: space, the database's lock, the right to write, the database server. Nothing is lost, and the API
//! says what is lacking (docs/operations.md).

use crate::{
    many_machines::Second,
    world::{self, Wallet, completed},
};
use anyhow::{Context as _, ensure};
use bursar::intake::TransferRequest;
use bursar_domain::lifecycle::Status;
use bursar_regtest::{Postgres, PostgresOptions, Process, SmallDisk, free_port};
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

/// How a running process is left without space.
enum Space {
    /// No file may grow by a byte, neither database nor log: each write is refused at once (EFBIG).
    Limit { pid: u32 },
    /// The file system of its folder is full (ENOSPC): what its files hold already may be written again for a while.
    Disk { disk: SmallDisk, pid: u32 },
}

impl Space {
    fn take(&self) -> anyhow::Result<()> {
        match self {
            Self::Limit { pid } => limit_files(*pid, "1"),
            Self::Disk { disk, pid } => Ok(disk.fill(*pid)?),
        }
    }

    fn give(&self) -> anyhow::Result<()> {
        match self {
            Self::Limit { pid } => limit_files(*pid, "unlimited"),
            Self::Disk { disk, pid } => Ok(disk.clear(*pid)?),
        }
    }
}

/// The largest size to which a process may write any file (`prlimit(1)`, util-linux).
fn limit_files(pid: u32, limit: &str) -> anyhow::Result<()> {
    let limit = format!("--fsize={limit}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).output()?;
    ensure!(done.status.success(), "prlimit: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// Where a file system cannot be made for a test, that is said, and the limits remain.
fn skipped(refusal: Option<String>) -> bool {
    if let Some(reason) = &refusal {
        println!("SKIPPED: a full file system, because none can be made here without privileges: {reason}");
    }
    refusal.is_some()
}

fn pid(environment: &Environment) -> anyhow::Result<u32> {
    environment.orchestrator.pids().first().copied().context("it was started")
}

/// Seconds between Ethereum blocks; none are made with 0.
async fn blocks_each(environment: &Environment, seconds: u64) -> anyhow::Result<()> {
    environment.nodes.anvil.call("evm_setIntervalMining", serde_json::json!([seconds])).await?;
    Ok(())
}

/// Orders of 0.01 ETH that were accepted, and to whom they go.
#[derive(Default)]
struct Ordered {
    ids: Vec<String>,
    to: Vec<String>,
}

impl Ordered {
    /// How many may be accepted while files still hold room inside.
    const ROOM_LEFT: usize = 100;

    async fn one(&mut self, environment: &Environment, wallet: &Wallet) -> anyhow::Result<String> {
        let recipient = recipients::ethereum();
        let id = wallet.pay(environment, "ETH", vec![payment(&recipient, "0.01")]).await?;
        self.to.push(recipient);
        self.ids.push(id.clone());
        Ok(id)
    }

    /// Until one is refused, which is to be sent again when there is space.
    async fn until_refused(
        &mut self,
        environment: &Environment,
        wallet: &Wallet,
    ) -> anyhow::Result<TransferRequest> {
        while self.ids.len() < Self::ROOM_LEFT {
            let recipient = recipients::ethereum();
            let request = wallet.request(environment, "ETH", vec![payment(&recipient, "0.01")]).await?;
            self.to.push(recipient);
            let answer = submit(environment, &request).await?;
            if answer.status >= 300 {
                answer.ensure_unavailable("cannot be written: its disk is full")?;
                return Ok(request);
            }
            self.ids.push(world::text(&answer.body, "id")?);
        }
        anyhow::bail!("nothing was refused although there is no space")
    }

    /// There is space again: all of them are paid once, and the one that was refused, too.
    async fn end(mut self, environment: &mut Environment, refused: &TransferRequest) -> anyhow::Result<()> {
        ready_again(&environment.api).await?;
        self.ids.push(submitted(environment, refused).await?);
        paid_once(environment, &self.ids, &self.to).await?;
        ensure!(!environment.orchestrator.has_ended(), "it ended after there was space again");
        Ok(())
    }
}

/// One payment is sent and in no block when the space goes.
async fn without_space(environment: &mut Environment, space: Space) -> anyhow::Result<()> {
    let wallet = Wallet::ethereum(environment, 5, 0).await?;
    blocks_each(environment, 0).await?;
    let mut ordered = Ordered::default();
    let under_way = ordered.one(environment, &wallet).await?;
    environment.api.await_status(&under_way, Status::Broadcasting, world::PATIENCE).await?;

    space.take()?;
    let refused = ordered.until_refused(environment, &wallet).await?;
    not_ready(&environment.api, "cannot be written: its disk is full").await?;
    // Blocks that would end the payment, if they could be written down.
    environment.nodes.anvil.mine(5).await?;
    for _ in 0..20 {
        submit(environment, &refused).await?.ensure_unavailable("cannot be written")?;
        not_ready(&environment.api, "cannot be written").await?;
        let transfer = environment.api.transfer(&under_way).await.context("reading goes on")?;
        ensure!(transfer["status"] == Status::Broadcasting.to_string(), "it waits: {transfer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(!environment.orchestrator.has_ended(), "it ended for want of space");

    space.give()?;
    blocks_each(environment, 1).await?;
    ordered.end(environment, &refused).await
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_without_space__should_be_said_and_lose_nothing() -> world::Verdict {
    run("full_disk", async |environment| {
        let space = Space::Limit { pid: pid(environment)? };
        without_space(environment, space).await
    })
    .await
}

/// For the orchestrator's database: less than the WAL's share is written in one test.
const DATABASE_MEBIBYTES: u32 = 128;
/// For a cluster: 40 of it are there from the start, and 16 of WAL.
const CLUSTER_MEBIBYTES: u32 = 160;

#[tokio::test(flavor = "multi_thread")]
async fn full_file_system__should_be_said_and_lose_nothing() -> world::Verdict {
    if skipped(SmallDisk::refusal()) {
        return Ok(());
    }
    run("full_file_system", async |environment| {
        let orchestrator = &mut environment.orchestrator;
        orchestrator.kill9()?;
        let disk = SmallDisk::over(orchestrator.data(), DATABASE_MEBIBYTES)?;
        orchestrator.small_disk = Some(disk.clone());
        orchestrator.start().await?;
        let space = Space::Disk { disk, pid: pid(environment)? };
        without_space(environment, space).await
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

/// Postgres refuses what would make a file longer, and changes rows in place as before: some of what is written is taken, among it what
/// `/ready` tries out.
#[tokio::test(flavor = "multi_thread")]
async fn full_file_system_of_postgres__should_be_said_and_lose_nothing() -> world::Verdict {
    if skipped(Postgres::small_disk_refusal()) {
        return Ok(());
    }
    let prepared = world::prepare_with("full_postgres", |options| {
        options.signing = Signing::DevelopmentSingleKey;
    });
    let (mut options, nodes) = prepared.await?;
    let mut cluster = PostgresOptions::new(options.dir.join("postgres"));
    cluster.small_disk = Some(CLUSTER_MEBIBYTES);
    let mut server = Postgres::start(cluster).await?;
    options.urls.database = Some(server.url().to_owned());
    let disk = server.small_disk().context("it was started with one")?.clone();
    let space = Space::Disk { disk, pid: server.process().pid() };
    // A server whose write-ahead log has no room ends: what the test writes is to fit into a new segment of it, which is there as a whole.
    server.psql("postgres", "SELECT pg_switch_wal()").await?;
    world::run_on(options, nodes, async |environment| {
        let wallet = Wallet::ethereum(environment, 5, 0).await?;
        let mut ordered = Ordered::default();
        let under_way = ordered.one(environment, &wallet).await?;
        space.take()?;
        let refused = ordered.until_refused(environment, &wallet).await?;
        environment.api.transfer(&under_way).await.context("reading goes on")?;
        environment.nodes.anvil.mine(5).await?;
        ensure!(!environment.orchestrator.has_ended(), "it ended for want of space");
        space.give()?;
        ordered.end(environment, &refused).await?;
        ensure!(server.process().exited().is_none(), "Postgres ended");
        Ok(())
    })
    .await
}

/// The co-signer that is left without space, and the one that is away, so that it must sign.
const FULL: usize = 1;
const AWAY_FOR_GOOD: usize = 0;

/// Payments are ordered until one waits, because a party that must sign cannot write down that it takes part.
async fn cosigner_without_space(environment: &mut Environment, space: Space) -> anyhow::Result<()> {
    const LACKING: &str = "INTERNAL: this party's store cannot be read or written";
    let wallet = Wallet::xrp(environment, None, 100).await?;
    environment.cosigners.kill9(AWAY_FOR_GOOD)?;
    let (to, _) = recipients::xrp()?;
    space.take()?;
    let mut whole = 0;
    let mut ids = Vec::new();
    loop {
        // The first makes the account.
        let amount = if ids.is_empty() { 20 } else { 1 };
        let id = wallet.pay(environment, "XRP", vec![payment(&to, &amount.to_string())]).await?;
        whole += amount;
        ids.push(id.clone());
        let waits = world::until("the transfer to end, or to say what is lacking", async || {
            let transfer = environment.api.transfer(&id).await?;
            let lacking = transfer["reason"].as_str().is_some_and(|reason| reason.contains(LACKING));
            ensure!(lacking || transfer["status"] == Status::Completed.to_string(), "{transfer}");
            Ok(lacking)
        });
        if waits.await? {
            break;
        }
        ensure!(ids.len() < Ordered::ROOM_LEFT / 2, "everything was signed although there is no space");
    }
    let running = environment.cosigners.process(FULL).is_some_and(|process| process.exited().is_none());
    ensure!(running, "it ended for want of space");
    space.give()?;
    for id in &ids {
        completed(environment, id).await?;
    }
    let (has, paid) = (environment.nodes.xrpl.balance(&to).await?, whole * 1_000_000);
    ensure!(has == paid, "{to} has {has} drops of {paid}");
    let running = environment.cosigners.process(FULL).is_some_and(|process| process.exited().is_none());
    ensure!(running, "it ended after there was space again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cosigner_without_space__should_say_so_and_sign_when_there_is_some() -> world::Verdict {
    world::run("full_cosigner", async |environment| {
        let pid = environment.cosigners.process(FULL).context("it was started")?.pid();
        cosigner_without_space(environment, Space::Limit { pid }).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cosigner_on_a_full_file_system__should_say_so_and_sign_when_there_is_room() -> world::Verdict {
    if skipped(SmallDisk::refusal()) {
        return Ok(());
    }
    world::run("full_cosigner_file_system", async |environment| {
        let cosigners = &mut environment.cosigners;
        let disk = SmallDisk::over(&cosigners.party(FULL).dir, 32)?;
        cosigners.kill9(FULL)?;
        world::until("the killed co-signer to be missed", async || {
            let parties = environment.api.status().await?["coSigners"].take();
            ensure!(parties[FULL]["online"] == false, "{parties}");
            Ok(())
        })
        .await?;
        environment.cosigners.start_on(FULL, &disk)?;
        let pid = environment.cosigners.process(FULL).context("it was started")?.pid();
        environment.wait_for_keys().await?;
        cosigner_without_space(environment, Space::Disk { disk, pid }).await
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
