//! The API's client, as the CLI uses it.

use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Zeroizing<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The API answered with a problem document.
    #[error("{}", describe(.problem))]
    Refused { status: StatusCode, problem: Value },
    #[error(
        "cannot reach {url}: {source}\n  is it running? start it with `bursar serve`, or name another address with --url or BURSAR_URL"
    )]
    Unreachable { url: String, source: reqwest::Error },
    #[error("{url} answered with something else than Bursar's API: {reason}")]
    Unexpected { url: String, reason: String },
}

fn describe(problem: &Value) -> String {
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut lines = vec![text(problem, "title")];
    lines.extend(Some(text(problem, "detail")).filter(|detail| !detail.is_empty()));
    for error in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
        lines.push(format!("{}: {}", text(error, "field"), text(error, "message")));
    }
    lines.join("\n  ")
}

impl Client {
    /// `base`: such as `http://127.0.0.1:7700`.
    pub fn new(base: &str, key: Zeroizing<String>) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        // Streams have no total time limit; requests get one each.
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|source| ClientError::Unreachable { url: base.clone(), source })?;
        Ok(Self { http, base, key })
    }

    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::POST, path).json(body)).await
    }
    /// A POST that the server answers the same way however often it is sent.
    pub async fn post_once<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }
    /// Server-sent events, as raw chunks.
    pub async fn stream(
        &self,
        path: &str,
        last_event: Option<&str>,
    ) -> Result<reqwest::Response, ClientError> {
        let mut request = self.request(Method::GET, path).timeout(Duration::from_secs(24 * 3600));
        if let Some(id) = last_event {
            request = request.header("last-event-id", id);
        }
        let response = self.answered(request.send().await)?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.http.request(method, url).bearer_auth(self.key.as_str()).timeout(Duration::from_secs(40))
    }
    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let response = self.answered(request.send().await)?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        response.json().await.map_err(|error| self.unexpected(error))
    }
    fn answered(
        &self,
        answer: Result<reqwest::Response, reqwest::Error>,
    ) -> Result<reqwest::Response, ClientError> {
        answer.map_err(|source| ClientError::Unreachable { url: self.base.clone(), source })
    }
    async fn refused(&self, response: reqwest::Response) -> ClientError {
        let status = response.status();
        match response.json().await {
            Ok(problem) => ClientError::Refused { status, problem },
            Err(error) => self.unexpected(error),
        }
    }
    fn unexpected(&self, error: reqwest::Error) -> ClientError {
        ClientError::Unexpected { url: self.base.clone(), reason: error.to_string() }
    }
}
