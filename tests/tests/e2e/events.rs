//! The event log, the OpenAPI document, the metrics and the pages.

use crate::world::{self, Wallet, completed, text};
use anyhow::{Context as _, ensure};
use bursar_tests::{Environment, initiator::tagged, recipients};
use futures::StreamExt as _;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread")]
async fn events_and_documents__should_be_complete() -> world::Verdict {
    world::run("events", async |environment| {
        let wallet = Wallet::xrp(environment, None, 100).await?;
        let (to, _) = recipients::xrp()?;
        environment.nodes.xrpl.fund(&to, 20_000_000).await?;
        let mut ids = BTreeSet::new();
        for tag in 0..3 {
            ids.insert(wallet.pay(environment, "XRP", vec![tagged(&to, tag, "1")]).await?);
        }
        for id in &ids {
            completed(environment, id).await?;
        }
        let all = paged(environment, 200).await?;
        for id in &ids {
            every_move_is_told(environment, &all, id).await?;
        }
        for limit in [1, 7] {
            let small = paged(environment, limit).await?;
            ensure!(sequences(&small)? == sequences(&all)?, "pages of {limit} tell another story");
        }
        stream(environment, &wallet, &to, &sequences(&all)?).await.context("the event stream")?;
        documents(environment).await.context("documents")?;
        crate::cli::smoke(environment, &wallet, &to).await.context("the command line")
    })
    .await
}

/// The whole log in pages of `limit`.
pub async fn paged(environment: &Environment, limit: u32) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let query = [("limit", limit.to_string()), ("cursor", cursor.clone())];
        let page: Value = environment.api.client.get("/v1/events", &query).await?;
        let items = page["items"].as_array().context("a page has items")?;
        ensure!(items.len() <= usize::try_from(limit)?, "{} items for {limit}", items.len());
        if items.is_empty() {
            return Ok(all);
        }
        all.extend(items.iter().cloned());
        cursor = text(&page, "next")?;
    }
}

fn sequences(events: &[Value]) -> anyhow::Result<Vec<i64>> {
    let found: Option<Vec<i64>> = events.iter().map(|event| event["sequence"].as_i64()).collect();
    let found = found.context("an event has a sequence")?;
    ensure!(found.is_sorted_by(|a, b| a < b), "not strictly increasing: {found:?}");
    Ok(found)
}

/// The log of one transfer is its timeline, step by step.
async fn every_move_is_told(environment: &Environment, events: &[Value], id: &str) -> anyhow::Result<()> {
    let transfer = environment.api.transfer(id).await?;
    let timeline = transfer["timeline"].as_array().context("timeline")?;
    let told: Vec<_> = events.iter().filter(|event| event["transferId"] == id).collect();
    ensure!(told.len() == timeline.len(), "{told:?} is not {timeline:?}");
    ensure!(transfer["version"] == told.len(), "one event for each version: {transfer}");
    ensure!(told[0]["type"] == "transfer.submitted", "{told:?}");
    for (event, entry) in told.iter().zip(timeline).skip(1) {
        ensure!(event["type"] == "transfer.status_changed", "{event}");
        ensure!(event["payload"]["to"] == entry["status"], "{event} is not {entry}");
    }
    ensure!(told.last().is_some_and(|event| event["payload"]["to"] == "COMPLETED"), "{told:?}");
    Ok(())
}

/// Resumes in the middle, and goes on with what happens next, without a gap and without repeating.
async fn stream(environment: &Environment, wallet: &Wallet, to: &str, known: &[i64]) -> anyhow::Result<()> {
    let middle = known.len() / 2;
    let last_seen = known[middle].to_string();
    let response = environment.api.client.stream("/v1/events/stream", Some(&last_seen)).await?;
    let id = wallet.pay(environment, "XRP", vec![tagged(to, 77, "1")]).await?;
    let mut chunks = response.bytes_stream();
    let mut text = String::new();
    let reading = async {
        while let Some(chunk) = chunks.next().await {
            text.push_str(std::str::from_utf8(&chunk?)?);
            let done = |line: &str| line.contains(&id) && line.contains("COMPLETED");
            if text.ends_with("\n\n") && text.lines().any(done) {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("the stream ended")
    };
    tokio::time::timeout(world::PATIENCE, reading).await.context("the stream says nothing more")??;
    let streamed: Result<Vec<i64>, _> =
        text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::parse).collect();
    let mut expected = sequences(&paged(environment, 200).await?)?;
    expected.retain(|sequence| *sequence > known[middle]);
    ensure!(streamed? == expected, "streamed:\n{text}\nexpected: {expected:?}");

    let refused = environment.api.client.stream("/v1/events/stream", Some("yesterday")).await;
    ensure!(refused.is_err(), "a bad Last-Event-ID was taken");
    Ok(())
}

/// Every route, and who may call it.
const ROUTES: &str = include_str!("../../../orchestrator/tests/access.tsv");

async fn documents(environment: &Environment) -> anyhow::Result<()> {
    let api = &environment.api;
    let get = async |path: &str| -> anyhow::Result<String> {
        let response = api.http.get(format!("{}{path}", api.url)).send().await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(response.text().await?)
    };
    let document: Value = serde_json::from_str(&get("/openapi.json").await?)?;
    ensure!(text(&document, "openapi")?.starts_with("3.1."), "{}", document["openapi"]);
    let (mut expected, mut asks_nobody) = (BTreeSet::new(), BTreeSet::new());
    for line in ROUTES.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().with_context(|| format!("three columns: {line}"));
        let route = format!("{} {}", column()?.to_lowercase(), column()?);
        if matches!(column()?, "open" | "callback") {
            asks_nobody.insert(route.clone());
        }
        expected.insert(route);
    }
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().context("paths")? {
        for (method, operation) in methods.as_object().context("methods")? {
            let route = format!("{method} {path}");
            let guarded = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
            ensure!(guarded != asks_nobody.contains(&route), "security of {route}: {operation}");
            listed.insert(route);
        }
    }
    let differ: Vec<_> = listed.symmetric_difference(&expected).collect();
    ensure!(differ.is_empty(), "the document and this list of routes differ in {differ:?}");

    ensure!(get("/docs/").await?.contains("<html"), "no page at /docs/");
    ensure!(get("/health").await?.contains("\"ok\""), "not healthy");
    let metrics = get("/metrics").await?;
    for name in ["bursar_transfers_accepted_total 4", "bursar_jobs_total"] {
        ensure!(metrics.contains(name), "{name} is not in {metrics}");
    }
    ensure!(!metrics.contains(&api.key), "a secret in the metrics");
    let log = std::fs::read_to_string(environment.orchestrator.log_file())?;
    ensure!(!log.contains(&api.key), "the API key is in the log");
    Ok(())
}
