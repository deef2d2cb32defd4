//! The audit log of a running installation: signed by its co-signers, exported, verified from nothing but the file and their keys;
//! and what somebody with the database does to it.

use crate::world::{self, Wallet, completed, meddle, until};
use anyhow::{Context as _, ensure};
use bursar_tests::{
    Environment, cosigners::signer, environment::program, initiator::tagged, orchestrator::run_json,
    recipients,
};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// `bursar audit …` with this installation's database.
fn audit(environment: &Environment, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(program("bursar")?);
    command.args(["--json", "audit"]).args(arguments).arg("--config").arg(environment.orchestrator.config());
    run_json(&mut command)
}

fn export(environment: &Environment, name: &str) -> anyhow::Result<PathBuf> {
    let file = environment.options.dir.canonicalize()?.join(name);
    audit(environment, &["export", "--out", &file.display().to_string()])?;
    Ok(file)
}

/// With nothing but the file and the keys: an empty folder, an empty environment. Exit code and what it says.
fn verify(file: &Path, keys: &[String]) -> anyhow::Result<(Option<i32>, Value)> {
    let empty = tempfile::tempdir()?;
    let mut command = Command::new(program("bursar")?.canonicalize()?);
    command.env_clear().current_dir(empty.path()).args(["--json", "audit", "verify"]).arg(file);
    let output = command.args(keys.iter().flat_map(|key| ["--key", key])).output()?;
    let said = serde_json::from_slice(&output.stdout);
    let said = said.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), said))
}

/// Until every co-signer has signed all that there is.
async fn signed(environment: &Environment) -> anyhow::Result<u64> {
    until("every co-signer has signed the log", async || {
        let status = audit(environment, &["status"])?;
        let last = status["chainedUpTo"].as_u64().filter(|last| *last > 0).context("nothing is chained")?;
        let parties = status["parties"].as_array().context("parties")?;
        ensure!(parties.len() == 3, "{status}");
        ensure!(status["entries"] == last && parties.iter().all(|one| one["signedUpTo"] == last), "{status}");
        Ok(last)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_log__should_be_signed_by_co_signers_and_show_what_was_changed() -> world::Verdict {
    world::run("audit", async |environment| {
        let config = environment.orchestrator.config().to_owned();
        environment.orchestrator.kill9()?;
        let mut file = fs::OpenOptions::new().append(true).open(&config)?;
        write!(file, "\n[audit]\ncheckpoint_entries = 1\ncheckpoint_seconds = 1\n")?;
        environment.start_again().await?;
        let wallet = Wallet::xrp(environment, None, 100).await?;
        let (to, _) = recipients::xrp()?;
        environment.nodes.xrpl.fund(&to, 20_000_000).await?;
        let id = wallet.pay(environment, "XRP", vec![tagged(&to, 1, "1")]).await?;
        completed(environment, &id).await?;
        let last = signed(environment).await?;

        let mut keys = Vec::new();
        for index in 0..environment.cosigners.count() {
            let status = run_json(&mut signer(&environment.cosigners.party(index).dir, "status")?)?;
            keys.push(format!("{index}={}", status["auditKey"].as_str().context("auditKey")?));
        }
        let whole = export(environment, "whole.jsonl")?;
        let (code, said) = verify(&whole, &keys)?;
        ensure!(code == Some(0) && said["whole"] == true, "{code:?} {said}");
        ensure!(said["last"]["sequence"] == last && said["confirmed"]["sequence"] == last, "{said}");
        ensure!(
            said["unsigned"] == 0 && said["confirmedBy"].as_array().is_some_and(|by| by.len() == 3),
            "{said}"
        );
        // The order's, verified from the file alone.
        ensure!(said["signatures"] == 1, "{said}");
        who_asked_is_told(environment, &id).await?;

        // Keys of somebody else: it is not vouched for.
        let strangers = [keys[0].replace("0=", "1="), keys[1].replace("1=", "0=")];
        let (code, said) = verify(&whole, &strangers)?;
        ensure!(code == Some(7) && said["place"]["kind"] == "CHECKPOINT", "{code:?} {said}");
        let absent = keys.iter().map(|key| format!("1{key}")).collect::<Vec<_>>();
        let (code, said) = verify(&whole, &absent)?;
        ensure!(code == Some(8) && said["confirmed"].is_null(), "{code:?} {said}");

        // A line of the file.
        let text = fs::read_to_string(&whole)?;
        let edited = whole.with_file_name("edited.jsonl");
        let line =
            text.lines().find(|line| line.contains("transfer.submitted")).context("the order's line")?;
        fs::write(&edited, text.replace(line, &line.replace("transfer.submitted", "transfer.forgotten")))?;
        let number = serde_json::from_str::<Value>(line)?["sequence"].clone();
        let (code, said) = verify(&edited, &keys)?;
        ensure!(code == Some(7) && said["place"]["sequence"] == number, "{code:?} {said}");
        fs::write(&edited, &text[..text.len() / 2])?;
        let (code, said) = verify(&edited, &keys)?;
        ensure!(code == Some(7), "{code:?} {said}");

        // A row of the database, and another that is gone.
        environment.orchestrator.kill9()?;
        for (name, sql, sequence) in [
            ("row.jsonl", "UPDATE events SET payload = '{}' WHERE sequence = 3", 3),
            ("gone.jsonl", "DELETE FROM events WHERE sequence = 2", 2),
        ] {
            ensure!(meddle(environment, sql).await? == 1, "{sql}");
            let file = export(environment, name)?;
            let (code, said) = verify(&file, &keys)?;
            ensure!(code == Some(7), "{code:?} {said}");
            ensure!(said["place"]["kind"] == "ENTRY" && said["place"]["sequence"] == sequence, "{said}");
        }
        environment.orchestrator.start().await
    })
    .await
}

/// The order names its caller, and from where.
async fn who_asked_is_told(environment: &Environment, id: &str) -> anyhow::Result<()> {
    let page: Value = environment.api.client.get("/v1/audit/entries", &[("limit", "200".to_owned())]).await?;
    let entries = page["items"].as_array().context("items")?;
    let find = |kind: &str, transfer: &Value| {
        let found = entries.iter().find(|entry| entry["type"] == kind && entry["transferId"] == *transfer);
        let act = found
            .and_then(|entry| entry["act"].as_str())
            .with_context(|| format!("no act of {kind}: {page}"));
        Ok::<Value, anyhow::Error>(serde_json::from_str(act?)?)
    };
    let submitted = find("transfer.submitted", &id.into())?;
    ensure!(submitted["actor"]["kind"] == "CALLER", "{submitted}");
    ensure!(submitted["origin"]["request"] == "POST /v1/transfers", "{submitted}");
    ensure!(submitted["origin"]["address"] == "127.0.0.1", "{submitted}");
    ensure!(submitted["origin"]["requestId"].is_string(), "{submitted}");
    let moved = find("transfer.status_changed", &id.into())?;
    ensure!(moved["actor"]["kind"] == "ENGINE", "{moved}");
    // What has no event of its own is told nevertheless.
    let made = entries.iter().filter(|entry| entry["type"] == "audit.act");
    ensure!(
        made.clone()
            .any(|entry| entry["payload"].as_str().is_some_and(|text| text.contains("POST /v1/wallets"))),
        "{page}"
    );
    let page: Value =
        environment.api.client.get("/v1/audit/checkpoints", &[("limit", "200".to_owned())]).await?;
    let newest = page["items"].as_array().and_then(|items| items.last()).context("no checkpoint")?;
    ensure!(newest["signatures"].as_array().is_some_and(|signatures| signatures.len() == 3), "{newest}");
    Ok(())
}
