//! What is served against its own OpenAPI document: schemathesis (PyPI) calls every operation with what fits the document and with what
//! does not, as each role, and wants no 5xx, no status, header or media type that is not documented, and bodies of the documented form.

use crate::{
    governed::govern_by,
    world::{Verdict, Wallet, prepare_with, run_on, text},
};
use anyhow::{Context as _, bail, ensure};
use bursar_domain::{
    governance::{
        change::Change,
        policy::Policy,
        role::Role,
        testing::{PEOPLE, key},
    },
    screening::{Alert, AlertSubject, RiskBand, SignedAlert},
    time::Timestamp,
};
use bursar_tests::{
    Environment, api::Api, cosigners::Signing, environment::program, initiator::payment,
    orchestrator::run_json, recipients,
};
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_headers_conformance,response_schema_conformance";
/// It never ends, and there is nothing to hold against a schema before it does; `events.rs` reads it.
const ENDLESS: &str = "/v1/events/stream";
/// Longer than any run; one that hangs is ended by it.
const LONGEST: Duration = Duration::from_secs(1_800);
/// Roles that walk at the same time.
const AT_ONCE: usize = 2;

/// `BURSAR_SCHEMATHESIS=full`: many more examples, drawn anew for each run unless `BURSAR_E2E_SEED` names the draw.
fn full() -> bool {
    std::env::var("BURSAR_SCHEMATHESIS").is_ok_and(|value| value == "full")
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis")
}

/// Who calls.
#[derive(Debug, Clone, Copy)]
enum Caller<'c> {
    Bearer(&'c str),
    /// This user of the test desk, who signs.
    User(&'c str),
}

/// Something that exists: the paths whose parameter names it, a regular expression; the parameter; what it is.
struct Known {
    paths: &'static str,
    methods: &'static [&'static str],
    parameter: &'static str,
    is: String,
}

impl Known {
    fn new(paths: &'static str, methods: &'static [&'static str], is: &str) -> Self {
        let parameter = if paths.contains("digest") { "path.digest" } else { "path.id" };
        Self { paths, methods, parameter, is: is.to_owned() }
    }
}

/// Refusals that would mean that schemathesis, or its hook, does not say properly who calls.
const NOBODY: [&str; 6] = ["missing", "malformed", "digest", "unknown", "signature", "clock"];

pub async fn refused(environment: &Environment, metric: &str) -> anyhow::Result<u64> {
    let url = format!("{}/metrics", environment.api.url);
    let metrics = environment.api.http.get(url).send().await?.error_for_status()?.text().await?;
    let values = metrics.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    values.map(|value| value.parse::<u64>().with_context(|| format!("{metric} {value}"))).sum()
}

/// How a run is made: thorough where everything is let in, short where roles refuse most of it.
struct Walk<'w> {
    name: &'w str,
    caller: Caller<'w>,
    thorough: bool,
}

impl Walk<'_> {
    fn configuration(&self, known: &[Known]) -> anyhow::Result<String> {
        let mut text = String::new();
        if let Caller::Bearer(key) = self.caller {
            write!(text, "headers = {{ Authorization = \"Bearer {key}\" }}\n\n")?;
        }
        for Known { paths, methods, parameter, is } in known {
            let methods = serde_json::to_string(methods)?;
            write!(text, "[[operations]]\ninclude-path-regex = '{paths}'\ninclude-method = {methods}\n")?;
            write!(text, "parameters = {{ \"{parameter}\" = \"{is}\" }}\n\n")?;
        }
        Ok(text)
    }

    /// Calls every operation of the document at `location`, and leaves a report in the folder that is returned.
    async fn call(
        &self,
        environment: &Environment,
        known: &[Known],
        location: &str,
    ) -> anyhow::Result<(Output, PathBuf)> {
        let program = folder().join(".venv/bin/schemathesis");
        ensure!(program.is_file(), "{} is not installed: run ./dev setup", program.display());
        let dir = environment.options.dir.join("schemathesis").join(self.name);
        fs::create_dir_all(&dir)?;
        let dir = dir.canonicalize()?;
        fs::write(dir.join("schemathesis.toml"), self.configuration(known)?)?;
        let mut command = tokio::process::Command::new(program);
        command.arg("--config-file").arg(dir.join("schemathesis.toml")).args(["run", location]);
        command.args(["--url", &environment.api.url]);
        let phases = if self.thorough || full() { "examples,coverage,fuzzing" } else { "examples,fuzzing" };
        let examples = match (full(), self.thorough) {
            (true, _) => "200",
            (false, true) => "10",
            (false, false) => "3",
        };
        command.args(["--phases", phases, "--max-examples", examples, "--checks", CHECKS]);
        match std::env::var("BURSAR_E2E_SEED").ok().filter(|_| full()) {
            Some(seed) => command.args(["--seed", &seed]),
            None if full() => &mut command,
            None => command.args(["--generation-deterministic", "--no-shrink"]),
        };
        // Who calls is said by the key; a made-up signature beside it would be refused for being two proofs.
        command.args(["--generation-with-security-parameters", "false", "--exclude-path", ENDLESS]);
        command.args(["--workers", "1", "--continue-on-failure", "--request-timeout", "40"]);
        command.args(["--warnings", "off", "--no-color", "--report", "json", "--report-json-path"]);
        command.arg(dir.join("report.json")).current_dir(&dir);
        if let Caller::User(user) = self.caller {
            let seed = hex::encode(key(user).secret.to_bytes());
            command.env("BURSAR_SIGNING_SEED", seed).env("SCHEMATHESIS_HOOKS", "sign");
            command.env("PYTHONPATH", folder()).env("PYTHONDONTWRITEBYTECODE", "1");
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LONGEST, command.output()).await.context("it hangs")??;
        Ok((output, dir))
    }

    /// Holds what is served against its own document; what schemathesis finds is the error.
    async fn run(&self, environment: &Environment, known: &[Known]) -> anyhow::Result<()> {
        let location = format!("{}/openapi.json", environment.api.url);
        let (output, dir) = self.call(environment, known, &location).await?;
        if !output.status.success() {
            let (said, errors) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            bail!("schemathesis as {} ended with {}:\n{said}\n{errors}", self.name, output.status);
        }
        let report: Value = serde_json::from_slice(&fs::read(dir.join("report.json"))?)?;
        let operations = &report["operations"];
        ensure!(
            operations["tested"] == operations["selected"] && operations["selected"].as_u64() > Some(60),
            "{operations}"
        );
        Ok(())
    }

    /// Holds one operation against a document that hides what it answers: that must be found.
    async fn finds_what_is_hidden(&self, environment: &Environment) -> anyhow::Result<()> {
        let location = format!("{}/openapi.json", environment.api.url);
        let mut document: Value = environment.api.http.get(location).send().await?.json().await?;
        let paths = document["paths"].as_object_mut().context("a document has paths")?;
        paths.retain(|path, _| path == "/v1/me");
        let responses = document["paths"]["/v1/me"]["get"]["responses"].as_object_mut();
        responses.context("an operation has responses")?.remove("200").context("and one of 200")?;
        let file = environment.options.dir.canonicalize()?.join("hides.json");
        fs::write(&file, document.to_string())?;
        let (output, _) = self.call(environment, &[], file.to_str().context("a folder of text")?).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(
            !output.status.success() && said.contains("Undocumented status code"),
            "an undocumented status was not found:\n{said}"
        );
        Ok(())
    }
}

/// A webhook key, as many strangers as there are, and a start with both.
pub async fn configure(environment: &mut Environment) -> anyhow::Result<()> {
    let config = environment.orchestrator.config().to_owned();
    let key = config.with_file_name("webhooks.key");
    let mut made = Command::new(program("bursar")?);
    run_json(made.args(["--json", "webhooks", "key", "--out"]).arg(&key))?;
    let limits = "caller_burst = 1000000\n";
    let more = format!("{limits}address_per_second = 1000000\naddress_burst = 1000000\n");
    let written = fs::read_to_string(&config)?.replace(limits, &more);
    fs::write(&config, format!("{written}\n[webhooks]\nkey_file = \"{}\"\n", key.display()))?;
    environment.orchestrator.kill9()?;
    environment.start_again().await
}

#[tokio::test(flavor = "multi_thread")]
async fn served_api__should_hold_to_its_document_where_nothing_is_governed() -> Verdict {
    let (options, nodes) =
        prepare_with("schemathesis", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        configure(environment).await?;
        let wallet = Wallet::ethereum(environment, 2, 0).await?;
        let paid = wallet.pay(environment, "ETH", vec![payment(&recipients::ethereum(), "0.1")]).await?;
        let hook = json!({ "url": "https://hooks.invalid/" });
        let hook: Value = environment.api.client.post("/v1/webhooks", &hook).await?;
        let known = [
            Known::new(r"^/v1/wallets/\{id\}", &["GET", "POST"], &wallet.id),
            Known::new(r"^/v1/transfers/\{id\}", &["GET", "POST"], &paid),
            Known::new(r"^/v1/webhooks/\{id\}", &["GET", "POST", "PATCH"], &text(&hook["webhook"], "id")?),
        ];
        let key = environment.api.key.clone();
        let walk = |name, thorough| Walk { name, caller: Caller::Bearer(&key), thorough };
        walk("hidden", false).finds_what_is_hidden(environment).await?;
        walk("known ids", true).run(environment, &known).await?;
        // Ids that cannot be read, or name nothing.
        walk("any ids", false).run(environment, &[]).await
    })
    .await
}

/// What there is to ask for in a governed installation.
async fn furnish(environment: &mut Environment) -> anyhow::Result<Vec<Known>> {
    configure(environment).await?;
    let rules = json!([
        { "id": "all", "then": { "kind": "ALLOW" } },
        { "id": "two", "then": { "kind": "REQUIRE", "of": "ALL", "groups": [{ "group": "payments", "quorum": 2 }] } },
    ]);
    let screening = json!({ "by": ["platform.screening"], "maxAgeSeconds": 3600 });
    let policy =
        json!({ "currency": "USD", "priceMaxAgeSeconds": 60, "screening": screening, "rules": rules });
    let (desk, _) = govern_by(environment, policy.clone()).await?;
    let wallet = Wallet::ethereum(environment, 2, 0).await?;
    let order = || vec![payment(&recipients::ethereum(), "0.1")];
    let shown = wallet.pay(environment, "ETH", order()).await?;
    let ended = wallet.pay(environment, "ETH", order()).await?;

    let now = Timestamp(jiff::Timestamp::now().as_microsecond());
    let alert = Alert {
        id: "schemathesis:1".into(),
        subject: AlertSubject::Address {
            network: text(&wallet.view, "network")?.parse()?,
            address: recipients::ethereum(),
        },
        risk: RiskBand::High,
        sanctions: false,
        description: "for somebody to look into".into(),
        raised_at: now,
    };
    let signature = key("platform.screening").sign(&alert.digest());
    let alert = serde_json::to_value(SignedAlert { alert, signature })?;
    let response = environment.api.http.post(format!("{}/v1/screening/alerts", environment.api.url));
    let case: Value = response.json(&alert).send().await?.json().await?;

    let mut other = policy;
    other["priceMaxAgeSeconds"] = json!(61);
    let policy: Policy = serde_json::from_value(other)?;
    let entry = serde_json::to_value(desk.entry(Change::SetPolicy { policy }, &["manager.policy"]))?;
    let author = Api::signing(environment.api.url.clone(), key("manager.policy").secret)?;
    let response = author.client.call(Method::POST, "/v1/governance/changes", Some(&entry)).await?;
    let change: Value = response.json().await?;
    let change = text(&change, "digest").with_context(|| change.to_string())?;
    Ok(vec![
        Known::new(r"^/v1/wallets/\{id\}", &["GET", "POST"], &wallet.id),
        Known::new(r"^/v1/transfers/\{id\}", &["GET"], &shown),
        Known::new(r"^/v1/transfers/\{id\}", &["POST"], &ended),
        Known::new(
            r"^/v1/cases/\{id\}",
            &["GET", "POST"],
            &text(&case, "caseId").with_context(|| case.to_string())?,
        ),
        Known::new(r"^/v1/governance/changes/\{digest\}", &["GET", "POST"], &change),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn served_api__should_hold_to_its_document_for_each_role() -> Verdict {
    let (options, nodes) =
        prepare_with("schemathesis-roles", |options| options.signing = Signing::DevelopmentSingleKey).await?;
    run_on(options, nodes, async |environment| {
        let known = furnish(environment).await?;
        let (environment, known) = (&*environment, &known);
        let metric = |reason: &str| format!("bursar_authentication_refused_total{{reason=\"{reason}\"}}");
        futures::stream::iter(Role::ALL)
            .map(|role| async move {
                let (user, ..) =
                    PEOPLE.iter().find(|(_, _, held)| *held == role).context("the desk has each role")?;
                let walk = Walk { name: role.name(), caller: Caller::User(user), thorough: false };
                walk.run(environment, known).await
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        for reason in NOBODY {
            let count = refused(environment, &metric(reason)).await?;
            ensure!(
                count == 0,
                "{count} requests were refused as {reason}: tests/schemathesis/sign.py signs wrongly"
            );
        }
        ensure!(refused(environment, &metric("role")).await? > 100, "roles refuse nothing");
        Ok(())
    })
    .await
}
