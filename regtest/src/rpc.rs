//! A small JSON-RPC client for the harness itself: what bitcoind, anvil and rippled have in common.

use std::time::Duration;

use serde_json::{Value, json};

use crate::RegtestError;

/// How parameters and results are wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// JSON-RPC 2.0, parameters in a list: bitcoind, anvil.
    JsonRpc,
    /// One object in the list, errors inside `result`: rippled.
    Rippled,
}

#[derive(Clone, Debug)]
pub struct RpcClient {
    http: reqwest::Client,
    url: String,
    dialect: Dialect,
    auth: Option<(&'static str, &'static str)>,
}

impl RpcClient {
    /// `auth` is user and password of local test nodes, which are published constants.
    pub fn new(
        url: impl Into<String>,
        dialect: Dialect,
        auth: Option<(&'static str, &'static str)>,
    ) -> Result<Self, RegtestError> {
        Ok(Self { http: http_client(Duration::from_secs(60))?, url: url.into(), dialect, auth })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// One call; `params` is a list (or, for rippled, an object).
    ///
    /// # Errors
    /// [`RegtestError::Refused`] when the node answers with an error, [`RegtestError::Transport`] when it does not answer.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RegtestError> {
        let transport = |source| RegtestError::Transport { method: method.to_owned(), source };
        let params = match self.dialect {
            Dialect::JsonRpc => params,
            Dialect::Rippled => json!([params]),
        };
        let mut request = self
            .http
            .post(&self.url)
            .json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
        if let Some((user, password)) = self.auth {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await.map_err(transport)?;
        let status = response.status();
        let body = response.bytes().await.map_err(transport)?;
        // bitcoind answers errors with HTTP 500 and a JSON body: the body counts, the status only where there is none.
        let Ok(Value::Object(mut answer)) = serde_json::from_slice::<Value>(&body) else {
            let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
            return Err(refused(method, i64::from(status.as_u16()), format!("HTTP {status}: {text}")));
        };
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
            let message =
                error.get("message").and_then(Value::as_str).map_or_else(|| error.to_string(), str::to_owned);
            return Err(refused(method, code, message));
        }
        let result = answer.remove("result").ok_or_else(|| RegtestError::malformed(method, "result"))?;
        if self.dialect == Dialect::Rippled && result.get("status").and_then(Value::as_str) == Some("error") {
            let code = result.get("error_code").and_then(Value::as_i64).unwrap_or(0);
            let name = result.get("error").and_then(Value::as_str).unwrap_or("unnamed error");
            let detail = result.get("error_message").and_then(Value::as_str).unwrap_or_default();
            return Err(refused(method, code, format!("{name} {detail}")));
        }
        Ok(result)
    }
}

fn refused(method: &str, code: i64, message: String) -> RegtestError {
    RegtestError::Refused { method: method.to_owned(), code, message }
}

/// A client that never goes through a system proxy: everything here is on loopback.
pub(crate) fn http_client(timeout: Duration) -> Result<reqwest::Client, RegtestError> {
    // reqwest is built without a default TLS provider and wants one even for plain HTTP; an earlier one stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(timeout)
        .build()
        .map_err(|source| RegtestError::Transport { method: "building the HTTP client".to_owned(), source })
}
