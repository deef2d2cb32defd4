//! Lists and single transfers, one request at a time.

use super::scenario::Stage;
use crate::{measure::Percentiles, waiting::text};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use std::time::Instant;

/// Seconds from request to the end of the answer.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reads {
    pub what: &'static str,
    #[serde(flatten)]
    pub latency: Percentiles,
    /// Items of the last answer.
    pub items: usize,
}

/// The same before they are summed up.
#[derive(Debug)]
pub struct Latencies {
    what: &'static str,
    seconds: Vec<f64>,
    items: usize,
}

impl From<Latencies> for Reads {
    fn from(Latencies { what, seconds, items }: Latencies) -> Self {
        Self { what, latency: Percentiles::of(seconds), items }
    }
}

/// `count` more of each kind.
pub async fn measure(stage: &Stage, count: usize, all: &mut Vec<Latencies>) -> anyhow::Result<()> {
    let reader = Reader::new(stage, count);
    let newest = reader.page("/v1/transfers?limit=50").await?;
    let items = newest["items"].as_array().context("a page has items")?;
    let first = items.first().context("there are transfers by now")?;
    let (wallet, id) = (text(first, "walletId")?, text(first, "id")?);
    let deep = reader.deep()?;
    let kinds = [
        ("list, newest 50", "/v1/transfers?limit=50".to_owned()),
        ("list, 50 from half way down", format!("/v1/transfers?limit=50&cursor={deep}")),
        ("list, a wallet", format!("/v1/transfers?limit=50&walletId={wallet}")),
        ("list, a wallet, half way down", format!("/v1/transfers?limit=50&walletId={wallet}&cursor={deep}")),
        ("list, COMPLETED", "/v1/transfers?limit=50&status=COMPLETED".to_owned()),
        ("list, COMPLETED, half way down", format!("/v1/transfers?limit=50&status=COMPLETED&cursor={deep}")),
        ("list, FAILED (none)", "/v1/transfers?limit=50&status=FAILED".to_owned()),
        (
            "list, a network, QUEUED (none)",
            "/v1/transfers?limit=50&network=ethereum:31337&status=QUEUED".to_owned(),
        ),
        (
            "list, an asset of a wallet, COMPLETED",
            format!("/v1/transfers?limit=50&asset=ETH&walletId={wallet}&status=COMPLETED"),
        ),
        ("events, 50 from the beginning", "/v1/events?limit=50".to_owned()),
        ("get one", format!("/v1/transfers/{id}")),
    ];
    let mut reads = Vec::new();
    for (what, path) in kinds {
        reads.push(reader.measure(what, |_| path.clone()).await?);
    }
    let old = reader.page(&format!("/v1/transfers?limit=50&cursor={deep}")).await?;
    let old: Vec<String> = match old["items"].as_array() {
        Some(items) if !items.is_empty() => {
            items.iter().map(|item| text(item, "id")).collect::<Result<_, _>>()?
        }
        _ => vec![id],
    };
    reads.push(
        reader.measure("get one, half way down", |n| format!("/v1/transfers/{}", old[n % old.len()])).await?,
    );
    for more in reads {
        match all.iter_mut().find(|known| known.what == more.what) {
            Some(known) => {
                known.seconds.extend(more.seconds);
                known.items = more.items;
            }
            None => all.push(more),
        }
    }
    Ok(())
}

struct Reader<'a> {
    http: reqwest::Client,
    stage: &'a Stage,
    count: usize,
}

impl<'a> Reader<'a> {
    fn new(stage: &'a Stage, count: usize) -> Self {
        Self { http: reqwest::Client::new(), stage, count: count.max(1) }
    }

    async fn get(&self, path: &str) -> anyhow::Result<String> {
        let api = &self.stage.environment.api;
        let response = self.http.get(format!("{}{path}", api.url)).bearer_auth(&api.key).send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "GET {path}: {status}: {text}");
        Ok(text)
    }

    async fn page(&self, path: &str) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.get(path).await?)?)
    }

    /// A cursor in the middle of what there is. Cursors are opaque to clients, who would have to walk there.
    fn deep(&self) -> anyhow::Result<String> {
        Ok(hex::encode(format!("transfers:{}", super::history::middle(&self.stage.database)?)))
    }

    async fn measure(&self, what: &'static str, path: impl Fn(usize) -> String) -> anyhow::Result<Latencies> {
        let (mut seconds, mut last) = (Vec::new(), String::new());
        for number in 0..self.count {
            let path = path(number);
            let begun = Instant::now();
            last = self.get(&path).await?;
            seconds.push(begun.elapsed().as_secs_f64());
        }
        let last: Value = serde_json::from_str(&last)?;
        let items = last["items"].as_array().map_or(1, Vec::len);
        Ok(Latencies { what, seconds, items })
    }
}
