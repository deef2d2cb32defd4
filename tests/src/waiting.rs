//! Bounded waits, and what to look for in answers.

use crate::environment::Environment;
use anyhow::Context as _;
use bursar_domain::lifecycle::Status;
use serde_json::Value;
use std::time::Duration;

/// How long one payment may take on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(240);

pub async fn completed(environment: &Environment, id: &str) -> anyhow::Result<Value> {
    environment.api.await_status(id, Status::Completed, PATIENCE).await
}

pub fn text(value: &Value, name: &str) -> anyhow::Result<String> {
    Ok(value[name].as_str().with_context(|| format!("{name} is missing in {value}"))?.to_owned())
}

/// Whether the transfer's timeline has an entry with this status or sub-status.
pub fn passed_through(transfer: &Value, word: &str) -> bool {
    transfer["timeline"].as_array().is_some_and(|entries| {
        entries.iter().any(|entry| entry["status"] == word || entry["subStatus"] == word)
    })
}

/// Until `look` gives a value; `Err` is the state seen.
pub async fn until<T, F: Future<Output = anyhow::Result<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let found = bursar_regtest::eventually(PATIENCE, Duration::from_millis(100), what, || {
        let looking = look();
        async move { looking.await.map_err(|error| format!("{error:#}")) }
    });
    Ok(found.await?)
}
