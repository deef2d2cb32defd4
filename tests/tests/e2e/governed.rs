//! Transfers of a governed installation: two people of two parties approve, and a limit holds however many ask at once.

use crate::world::{Verdict, Wallet, completed, prepare_with, run_on, text, until};
use anyhow::{Context as _, ensure};
use bursar::{cli::admin::create_initiator_key, client::Client, intake::TransferRequest};
use bursar_domain::{
    governance::{
        approval::{Approval, ApprovalPayload, Vote},
        directory::{KeyMaterial, KeyUses, User, UserKey},
        policy::Policy,
        role::Role,
        testing::{self, TestDesk, TestPasskey, key},
    },
    intent::{IntentDigest, Terms},
    signing::PartyRole,
    time::Timestamp,
};
use bursar_regtest::{Postgres, PostgresOptions};
use bursar_tests::{
    Environment,
    api::Api,
    cosigners::Signing,
    environment::program,
    initiator::{self, Initiator, descriptor, payment},
    orchestrator::run_json,
    recipients,
};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Who approves by command line.
const ANNA: &str = "anna";

fn with_key(id: &str, role: Role, public_key: [u8; 32]) -> User {
    let (main, material) = ("main".parse().expect("a name"), KeyMaterial::Ed25519 { public_key });
    let key = UserKey { id: main, material, uses: KeyUses::Both };
    User { keys: vec![key], ..testing::user(id, PartyRole::Client, [role]) }
}

/// Olga's passkey.
fn laptop() -> TestPasskey {
    TestPasskey::new("olga", "laptop")
}

async fn govern(environment: &mut Environment, rules: Value) -> anyhow::Result<(TestDesk, PathBuf)> {
    let policy = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": rules });
    govern_by(environment, policy).await
}

/// A desk whose log is in the database, with the environment's initiator and Anna, whose key is in a file.
pub async fn govern_by(environment: &mut Environment, policy: Value) -> anyhow::Result<(TestDesk, PathBuf)> {
    let dir = environment.options.dir.canonicalize()?;
    let anna = dir.join("anna.pem");
    let anna_key = create_initiator_key(&anna)?.verifying_key().to_bytes();
    let mut initiator = [0; 32];
    hex::decode_to_slice(environment.initiator.public_key(), &mut initiator)?;
    let mut genesis = testing::genesis(testing::rules(0));
    let mut olga = with_key("olga", Role::Operator, initiator);
    olga.keys.push(laptop().public());
    genesis.users.push(olga);
    genesis.users.push(with_key(ANNA, Role::Approver, anna_key));
    genesis.groups[0].members.insert(ANNA.parse()?);
    let mut desk = TestDesk::found(genesis);
    desk.publish(serde_json::from_value::<Policy>(policy)?);

    let entries: Vec<Value> =
        desk.entries.iter().map(|(entry, at)| json!({ "entry": entry, "seenAt": at })).collect();
    let log = dir.join("log.json");
    fs::write(&log, json!({ "genesis": desk.pinned(), "entries": entries }).to_string())?;
    let config = environment.orchestrator.config().to_owned();
    environment.orchestrator.kill9()?;
    let mut file = fs::OpenOptions::new().append(true).open(&config)?;
    write!(file, "\n[governance]\ngenesis = \"{}\"\n", desk.pinned())?;
    let mut load = Command::new(program("bursar")?);
    run_json(load.args(["--json", "governance", "load"]).arg(&log).arg("--config").arg(&config))?;
    environment.orchestrator.start().await?;
    environment.api = Api::signing(environment.orchestrator.url(), environment.initiator.secret().clone())?;
    Ok((desk, anna))
}

/// `bursar`, with access to this environment's API.
fn bursar(environment: &Environment, arguments: &[&str], key: &Path) -> anyhow::Result<Value> {
    let mut command = Command::new(program("bursar")?);
    command.arg("--json").args(arguments).arg("--key").arg(key);
    // Beside the key, and not in the home of whoever runs the tests.
    command.env_remove("BURSAR_GENESIS").env("BURSAR_STATE", key.with_extension("state"));
    command.args(["--yes", "--url", &environment.api.url, "--key-file"]).arg(key);
    run_json(&mut command)
}

async fn approve(
    environment: &Environment,
    desk: &TestDesk,
    id: &str,
    user: &str,
) -> anyhow::Result<reqwest::Response> {
    let transfer = environment.api.transfer(id).await?;
    let mut intent = [0; 32];
    hex::decode_to_slice(text(&transfer, "intentDigest")?, &mut intent)?;
    let policy = desk.state.policy().context("a policy is published")?.version;
    let given_at = Timestamp(jiff::Timestamp::now().as_microsecond());
    let expires_at = given_at.plus(Duration::from_secs(600));
    let (intent, head, vote) = (IntentDigest(intent), desk.state.head(), Vote::Approve);
    let payload = ApprovalPayload { intent, policy, head, vote, given_at, expires_at };
    let approval = Approval { payload, signature: key(user).sign(&payload.digest()) };
    // Whoever hands it in, the signature in it counts.
    let client = Client::signing(&environment.api.url, key("client.approver").secret)?;
    let body = serde_json::to_value(&approval)?;
    Ok(client.call(Method::POST, &format!("/v1/transfers/{id}/approvals"), Some(&body)).await?)
}

async fn waits(environment: &Environment, id: &str, sub_status: &str) -> anyhow::Result<Value> {
    until("it waits", async || {
        let transfer = environment.api.transfer(id).await?;
        ensure!(transfer["subStatus"] == sub_status, "{transfer}");
        Ok(transfer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn governed_transfer__should_be_paid_when_two_parties_have_approved() -> Verdict {
    let (options, nodes) =
        prepare_with("governed", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        let rules = json!([
            { "id": "all", "then": { "kind": "ALLOW" } },
            { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } },
        ]);
        let (desk, anna) = govern(environment, rules).await?;
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let to = recipients::ethereum();
        let request = wallet.request(environment, "ETH", vec![payment(&to, "0.5")]).await?;
        let simulated: Value =
            environment.api.client.post("/v1/policy/simulate", &json!({ "transfer": request })).await?;
        ensure!(simulated["code"] == "ALLOWED" && simulated["initiator"] == "olga", "{simulated}");
        let may = simulated["requirements"][0]["groups"][0]["mayApprove"].to_string();
        ensure!(may.contains(ANNA) && !may.contains("olga"), "{simulated}");

        let created: Value = environment.api.client.post("/v1/transfers", &request).await?;
        let id = text(&created, "id")?;
        waits(environment, &id, "AWAITING_APPROVALS").await?;
        let refused = approve(environment, &desk, &id, "client.operator").await?;
        ensure!(refused.status() == 403, "{}", refused.text().await?);
        let problem: Value = refused.json().await?;
        ensure!(problem["type"] == "urn:bursar:problem:governance-approval-not-approver", "{problem}");

        let first = bursar(environment, &["approve", &id], &anna)?;
        ensure!(first["missing"] == json!(["two: 1 of 2 of payments"]), "{first}");
        waits(environment, &id, "AWAITING_APPROVALS").await?;
        ensure!(approve(environment, &desk, &id, "manager.approver").await?.status() == 201, "the second");
        completed(environment, &id).await?;
        let late = approve(environment, &desk, &id, "platform.approver").await?;
        ensure!(late.status() == 409, "{}", late.text().await?);

        let api = &environment.api.client;
        let votes: Value = api.get(&format!("/v1/transfers/{id}/approvals"), &[]).await?;
        let counted: Vec<_> =
            votes["votes"].as_array().into_iter().flatten().map(|vote| (&vote["user"], &vote["counted"])).collect();
        ensure!(
            counted == [(&json!(ANNA), &json!(true)), (&json!("manager.approver"), &json!(true))],
            "{votes}"
        );
        let explained: Value = api.get(&format!("/v1/transfers/{id}/explanation"), &[]).await?;
        ensure!(explained["code"] == "AUTHORIZED" && explained["rules"][1]["applies"] == true, "{explained}");

        // Ordered by a passkey, and approved by command line, which verifies the assertion by the log.
        let unsigned = initiator::request(&wallet.id, "ETH", vec![payment(&to, "0.25")], "0.01")?;
        let terms = Terms { initiator: laptop().user, ..desk.terms() };
        let unsigned = TransferRequest { terms: Some(terms), ..unsigned };
        let asset = environment.api.asset("ETH").await?;
        let digest = Initiator::intent(&unsigned, descriptor(&wallet.view)?, &asset)?.digest();
        let touched =
            TransferRequest { signature: Some(laptop().sign(&digest.0).into()), ..unsigned.clone() };
        let ordered: Value = environment.api.client.post("/v1/transfers", &touched).await?;
        ensure!(ordered["initiator"] == "olga" && ordered["intentDigest"] == digest.to_string(), "{ordered}");
        let ordered = text(&ordered, "id")?;
        waits(environment, &ordered, "AWAITING_APPROVALS").await?;
        bursar(environment, &["approve", &ordered], &anna)?;
        ensure!(approve(environment, &desk, &ordered, "manager.approver").await?.status() == 201, "the second");
        completed(environment, &ordered).await?;

        // What a stricter draft would have made of it.
        let deny = json!([{ "id": "none", "then": { "kind": "DENY", "reason": "closed" } }]);
        let draft = json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "rules": deny });
        let tested: Value = api.post("/v1/policy/backtest", &json!({ "policy": draft, "days": 1 })).await?;
        ensure!(tested["differing"] == 2 && tested["items"][0]["transferId"] == id, "{tested}");
        ensure!(tested["before"]["needApprovals"] == 2 && tested["after"]["denied"] == 2, "{tested}");
        Ok(())
    })
    .await
}

const ASK: usize = 200;
const LIMIT: usize = 10;
/// A listening socket has 128 places for connections that nobody has accepted yet; the others knock again.
const ARRIVED: usize = 120;

/// Hands an order in; once more, if the API is too busy to answer in time.
async fn submit(environment: &Environment, order: &TransferRequest) -> anyhow::Result<String> {
    until("the order is taken", async || {
        let client = &environment.api.client;
        let created: Value = client.post_once("/v1/transfers", &order.external_id, order).await?;
        text(&created, "id")
    })
    .await
}

/// How many connections to this address have sent something that nobody has read (proc(5), `/proc/net/tcp`).
fn unread_requests(url: &str) -> anyhow::Result<usize> {
    const ESTABLISHED: &str = "01";
    let port: u16 = url.rsplit(':').next().context("a port")?.parse()?;
    let local = format!(":{port:04X}");
    let sockets = fs::read_to_string("/proc/net/tcp")?;
    let unread = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().take(5).collect();
        matches!(fields[..], [_, at, _, ESTABLISHED, queues] if at.ends_with(&local) && !queues.ends_with(":00000000"))
    };
    Ok(sockets.lines().filter(unread).count())
}

/// Asks for many payments at once, of which a limit permits few.
async fn limit_holds(environment: &mut Environment) -> anyhow::Result<()> {
    let velocity =
        json!({ "windowSeconds": 3600, "of": "COUNT", "groupBy": "WALLET", "above": LIMIT.to_string() });
    let rules = json!([
        { "id": "all", "then": { "kind": "ALLOW" } },
        { "id": "limit", "when": { "velocity": velocity }, "then": { "kind": "DENY", "reason": "enough" } },
    ]);
    govern(environment, rules).await?;
    let wallet = Wallet::ethereum(environment, 10, 0).await?;
    let environment = &*environment;
    let mut orders = Vec::new();
    for _ in 0..ASK {
        let paid = vec![payment(&recipients::ethereum(), "0.0001")];
        orders.push(wallet.request(environment, "ETH", paid).await?);
    }
    // All of them are on their way before the first is looked at; so many have arrived.
    environment.orchestrator.pause()?;
    let all_there = async {
        until("all requests are there", async || {
            let there = unread_requests(&environment.orchestrator.url())?;
            ensure!(there >= ARRIVED, "{there} of {ARRIVED}");
            Ok(())
        })
        .await?;
        environment.orchestrator.resume()
    };
    let submitted = try_join_all(orders.iter().map(|order| submit(environment, order)));
    let (ids, ()) = tokio::try_join!(submitted, all_there)?;
    let statuses = until("all are decided", async || {
        let mut statuses = BTreeMap::<String, usize>::new();
        for id in &ids {
            *statuses.entry(text(&environment.api.transfer(id).await?, "status")?).or_default() += 1;
        }
        let open = ["SUBMITTED", "PENDING_SCREENING", "PENDING_AUTHORIZATION"];
        ensure!(open.iter().all(|status| !statuses.contains_key(*status)), "{statuses:?}");
        Ok(statuses)
    })
    .await?;
    ensure!(statuses.get("BLOCKED") == Some(&(ASK - LIMIT)), "{statuses:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn velocity_limit__should_hold_against_two_hundred_at_once_on_sqlite() -> Verdict {
    let (options, nodes) =
        prepare_with("velocity-sqlite", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, limit_holds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn velocity_limit__should_hold_against_two_hundred_at_once_on_postgres() -> Verdict {
    let (mut options, nodes) =
        prepare_with("velocity-postgres", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    let server = Postgres::start(PostgresOptions::new(options.dir.join("postgres")).without_fsync()).await?;
    options.urls.database = Some(server.url().to_owned());
    run_on(options, nodes, limit_holds).await?;
    server.stop().await?;
    Ok(())
}
