//! The command line against a running orchestrator.

use crate::world::{Wallet, text};
use anyhow::{Context as _, ensure};
use bursar_tests::{Environment, environment::program, initiator::Initiator};
use serde_json::Value;
use std::path::Path;

pub struct Cli<'a> {
    environment: &'a Environment,
    url: String,
}

struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl<'a> Cli<'a> {
    pub fn new(environment: &'a Environment) -> Self {
        Self { environment, url: environment.orchestrator.url() }
    }

    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Ran> {
        let mut command = tokio::process::Command::new(program("bursar")?);
        command.args(arguments).env("BURSAR_URL", &self.url).env("BURSAR_API_KEY", &self.environment.api.key);
        let output = command.output().await?;
        Ok(Ran {
            code: output.status.code().context("it was not killed")?,
            out: String::from_utf8(output.stdout)?,
            err: String::from_utf8(output.stderr)?,
        })
    }

    /// Expects success and one JSON value.
    pub async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let ran = self.run(&[&["--json"], arguments].concat()).await?;
        ran.ended(0, arguments)?;
        serde_json::from_str(&ran.out).with_context(|| format!("{arguments:?} printed {}", ran.out))
    }
}

impl Ran {
    fn ended(&self, code: i32, arguments: &[&str]) -> anyhow::Result<()> {
        ensure!(
            self.code == code,
            "{arguments:?} ended with {} and not {code}: {}{}",
            self.code,
            self.out,
            self.err
        );
        Ok(())
    }
}

/// Every command that a newcomer uses, and the exit codes that scripts rely on.
pub async fn smoke(environment: &Environment, wallet: &Wallet, to: &str) -> anyhow::Result<()> {
    let cli = Cli::new(environment);
    let wallets = cli.json(&["wallets", "list"]).await?;
    ensure!(wallets["items"][0]["id"] == *wallet.id, "{wallets}");
    let listed = cli.run(&["wallets", "list"]).await?;
    listed.ended(0, &["wallets", "list"])?;
    ensure!(listed.out.contains(&wallet.id), "{}", listed.out);
    let fresh = cli.json(&["addresses", "create", &wallet.id]).await?;
    ensure!(fresh["address"].as_str().is_some_and(|address| address.starts_with('r')), "{fresh}");
    let status = cli.json(&["status"]).await?;
    ensure!(status["nodes"].as_array().map_or(0, Vec::len) == 3, "{status}");

    let file = environment.initiator.file();
    let target = format!("{to}:11=1.5");
    let create = |key: &Path, target: &str| -> Vec<String> {
        let key = key.display().to_string();
        ["transfers", "create", "--key", &key, "--wallet", &wallet.id, "--asset", "XRP", "--to", target]
            .into_iter()
            .chain(["--max-fee", "0.01"])
            .map(str::to_owned)
            .collect()
    };
    let run = async |arguments: Vec<String>| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        cli.run(&arguments).await
    };

    let mut watched = create(file, &target);
    watched.extend(["--watch", "--external-id", "cli-1"].map(str::to_owned));
    let watched = run(watched).await?;
    watched.ended(0, &["transfers", "create", "--watch"])?;
    ensure!(watched.out.contains("COMPLETED"), "{}", watched.out);
    let page = cli.json(&["transfers", "list", "--external-id", "cli-1"]).await?;
    let id = text(&page["items"][0], "id")?;
    let one = cli.json(&["transfers", "get", &id]).await?;
    ensure!(one["status"] == "COMPLETED" && one["payments"][0]["amount"] == "1.5", "{one}");
    ensure!(one["payments"][0]["tag"] == 11, "{one}");
    let events = cli.json(&["events", "--limit", "3"]).await?;
    ensure!(events["items"].as_array().map(Vec::len) == Some(3), "{events}");

    let cancelled = cli.run(&["transfers", "cancel", &id]).await?;
    cancelled.ended(3, &["cancel what is completed"])?;
    let refused = run(create(file, &format!("{to}:11=1000000"))).await?;
    refused.ended(3, &["more than there is"])?;
    ensure!(refused.err.contains("payments[0].amount"), "the field is named: {}", refused.err);
    let wrong = run(create(file, &format!("{to}:11=-1"))).await?;
    wrong.ended(2, &["a negative amount"])?;
    ensure!(wrong.err.contains("payments[0].amount"), "the field is named: {}", wrong.err);

    let rogue = Initiator::load_or_create(&environment.options.dir.join("rogue"))?;
    let mut unpaid = create(rogue.file(), &target);
    unpaid.push("--watch".to_owned());
    let unpaid = run(unpaid).await?;
    unpaid.ended(5, &["an initiator whom no co-signer knows"])?;
    ensure!(unpaid.out.contains("REJECTED"), "{}", unpaid.out);

    let nowhere = Cli { environment, url: format!("http://127.0.0.1:{}", bursar_regtest::free_port()?) };
    let unreachable = nowhere.run(&["--json", "wallets", "list"]).await?;
    unreachable.ended(4, &["an API that is not there"])?;
    let error: Value = serde_json::from_str(unreachable.err.trim())?;
    ensure!(error["exitCode"] == 4, "{error}");
    Ok(())
}
