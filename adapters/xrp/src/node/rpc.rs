//! rippled's JSON-RPC: one POST, one `result`. <https://xrpl.org/docs/references/http-websocket-apis/api-conventions>

use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

pub(super) struct Rpc {
    client: reqwest::Client,
    url: reqwest::Url,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RpcError {
    /// No answer, or not one of the API: the request may have been carried out all the same.
    #[error("{0}")]
    Unavailable(String),
    #[error("not the documented answer: {0}")]
    Malformed(String),
    /// The server answers with one of its error codes.
    #[error("{code} ({message})")]
    Refused { code: String, message: String },
}

/// A full ledger with its metadata is a few MiB. What is far longer shall not fill the memory.
const MAX_ANSWER: usize = 64 << 20;

#[derive(Deserialize)]
struct Envelope {
    result: Value,
}

impl Rpc {
    pub fn new(url: String, timeout: Duration) -> Result<Self, String> {
        let url: reqwest::Url = url.parse().map_err(|error| format!("url: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("url: must begin with http:// or https://".into());
        }
        let client = reqwest::Client::builder()
            .timeout(timeout)
            // A redirect could carry a request to a server that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, url })
    }

    /// `params` is an object. API version 1 is asked for, so that a server's default cannot change an answer's shape.
    pub async fn call(&self, method: &'static str, mut params: Value) -> Result<Value, RpcError> {
        params["api_version"] = 1.into();
        let unavailable = |error: reqwest::Error| RpcError::Unavailable(describe(error.without_url()));
        let body = json!({ "method": method, "params": [params] });
        let mut response =
            self.client.post(self.url.clone()).json(&body).send().await.map_err(unavailable)?;
        let status = response.status();
        if !status.is_success() {
            return Err(RpcError::Unavailable(format!("HTTP status {status}")));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unavailable)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(RpcError::Malformed(format!("longer than {MAX_ANSWER} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        let Envelope { result } =
            serde_json::from_slice(&bytes).map_err(|error| RpcError::Malformed(error.to_string()))?;
        match result["error"].as_str() {
            Some(code) => Err(RpcError::Refused { code: code.to_owned(), message: message(&result) }),
            None if result["status"] == "success" => Ok(result),
            None => Err(RpcError::Malformed("result.status is neither success nor error".into())),
        }
    }
}

fn message(result: &Value) -> String {
    ["error_message", "error_exception"]
        .iter()
        .find_map(|key| result[key].as_str())
        .unwrap_or("no message")
        .to_owned()
}

/// reqwest's own text stops at "error sending request"; the cause is what an operator needs.
fn describe(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
