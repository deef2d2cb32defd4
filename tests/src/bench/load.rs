//! Open-loop load: requests go out when their time has come, whether or not earlier ones have been answered. Latency counts from
//! that time, so a server that falls behind cannot hide it.

use super::accounts::Prepared;
use serde_json::Value;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What became of the requests.
#[derive(Debug, Default)]
pub struct Sent {
    /// Ids of the transfers that were accepted.
    pub accepted: Vec<String>,
    /// Seconds from the time when it should have gone out to the end of its answer.
    pub latencies: Vec<f64>,
    pub refused: usize,
    pub first_refusal: Option<String>,
}

/// No answer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Target {
    pub http: reqwest::Client,
    /// `http://127.0.0.1:port/v1/transfers`
    pub url: String,
    pub key: String,
}

/// Sends all `requests` at `per_second`, and waits for their answers.
pub async fn open_loop(target: &Target, requests: Vec<Prepared>, per_second: f64) -> Sent {
    let begun = tokio::time::Instant::now() + Duration::from_millis(50);
    let mut answers = JoinSet::new();
    for (number, request) in requests.into_iter().enumerate() {
        let due = begun + Duration::from_secs_f64(number as f64 / per_second);
        tokio::time::sleep_until(due).await;
        let sending = target
            .http
            .post(&target.url)
            .bearer_auth(&target.key)
            .header("content-type", "application/json")
            .header("idempotency-key", request.external_id)
            .timeout(PATIENCE)
            .body(request.body);
        let due: Instant = due.into();
        answers.spawn(async move {
            let answer = async {
                let response = sending.send().await.map_err(|error| error.to_string())?;
                let status = response.status();
                let text = response.text().await.map_err(|error| error.to_string())?;
                if status == reqwest::StatusCode::CREATED {
                    Ok(text)
                } else {
                    Err(format!("{status}: {text}"))
                }
            };
            let answer: Result<String, String> = answer.await;
            (due.elapsed().as_secs_f64(), answer)
        });
    }
    let mut sent = Sent::default();
    while let Some(joined) = answers.join_next().await {
        let answer = match joined {
            Ok((latency, answer)) => {
                sent.latencies.push(latency);
                answer
            }
            Err(error) => Err(error.to_string()),
        };
        match answer.and_then(|text| id_of(&text)) {
            Ok(id) => sent.accepted.push(id),
            Err(reason) => {
                sent.refused += 1;
                sent.first_refusal.get_or_insert(reason);
            }
        }
    }
    sent
}

fn id_of(text: &str) -> Result<String, String> {
    let answer: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    answer["id"].as_str().map(str::to_owned).ok_or_else(|| format!("no id in {text}"))
}
