//! The API's client, as the CLI uses it.

use crate::{
    api::auth::message::{self, Target},
    compose::SystemClock,
};
use bursar_domain::time::Clock as _;
use ed25519_dalek::SigningKey;
use rand::RngCore as _;
use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

pub struct Client {
    http: reqwest::Client,
    base: String,
    credentials: Credentials,
}

/// What proves to the API who calls.
pub enum Credentials {
    /// An API key, or the token of a session.
    Bearer(Zeroizing<String>),
    /// Signs each request (RFC 9421): a key of a user of the directory, or one that was registered with `bursar api-keys create`.
    Key(Box<SigningKey>),
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
    #[error("the request to {url} cannot be signed: {reason}")]
    Unsignable { url: String, reason: String },
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
        Self::with(base, Credentials::Bearer(key))
    }

    /// One that signs each request.
    pub fn signing(base: &str, key: SigningKey) -> Result<Self, ClientError> {
        Self::with(base, Credentials::Key(Box::new(key)))
    }

    pub fn with(base: &str, credentials: Credentials) -> Result<Self, ClientError> {
        let base = base.trim_end_matches('/').to_owned();
        // Streams have no total time limit; requests get one each.
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5)).build();
        let http = http.map_err(|source| ClientError::Unreachable { url: base.clone(), source })?;
        Ok(Self { http, base, credentials })
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
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }
    /// Of what is answered without a body.
    pub async fn delete(&self, path: &str) -> Result<(), ClientError> {
        let response = self.answer(self.request(Method::DELETE, path)).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refused(response).await) }
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
        let response = self.answer(request).await?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.base);
        self.http.request(method, url).timeout(Duration::from_secs(40))
    }

    /// Any request, with credentials: the answer, whatever its status.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, ClientError> {
        let request = self.request(method, path);
        self.answer(match body {
            Some(body) => request.json(body),
            None => request,
        })
        .await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, ClientError> {
        let unreachable = |source| ClientError::Unreachable { url: self.base.clone(), source };
        let request = match &self.credentials {
            Credentials::Bearer(key) => request.bearer_auth(key.as_str()).build().map_err(unreachable)?,
            Credentials::Key(key) => {
                let mut request = request.build().map_err(unreachable)?;
                sign(key, &mut request)
                    .map_err(|reason| ClientError::Unsignable { url: self.base.clone(), reason })?;
                request
            }
        };
        self.http.execute(request).await.map_err(unreachable)
    }
    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, ClientError> {
        let response = self.answer(request).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        response.json().await.map_err(|error| self.unexpected(error))
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

/// Adds the signature to a request that is complete but for it.
fn sign(key: &SigningKey, request: &mut reqwest::Request) -> Result<(), String> {
    let body = match request.body() {
        None => &[],
        Some(body) => body.as_bytes().ok_or("its body is a stream")?,
    };
    let url = request.url();
    let host = url.host_str().unwrap_or_default();
    let authority = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let target = Target {
        method: request.method().as_str(),
        path: url.path(),
        query: url.query(),
        authority: Some(&authority),
        headers: request.headers(),
    };
    let mut nonce = [0; 16];
    rand::rngs::OsRng.fill_bytes(&mut nonce);
    let added =
        message::sign(key, &target, body, SystemClock.now(), nonce).map_err(|error| error.to_string())?;
    for (name, value) in added {
        let value = value.parse().map_err(|_| format!("{name} is not visible ASCII"))?;
        request.headers_mut().insert(name, value);
    }
    Ok(())
}
