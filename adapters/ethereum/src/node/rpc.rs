//! One JSON-RPC call, bounded in time, to a node that is known to serve the right chain.

use super::InvalidNodeConfig;
use alloy::{
    primitives::U64,
    rpc::{
        client::RpcClient,
        json_rpc::{ErrorPayload, RpcError, RpcRecv, RpcSend},
    },
    transports::{TransportError, TransportErrorKind},
};
use bursar_domain::{network::Network, ports::NodeError};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

pub(super) struct Rpc {
    client: RpcClient,
    /// For what [`call_bounded`](Rpc::call_bounded) asks.
    http: reqwest::Client,
    url: reqwest::Url,
    chain_id: u64,
    timeout: Duration,
    /// Whether the node behind the URL has said that it serves `chain_id` since the last time that it was out of reach.
    verified: AtomicBool,
    /// How often it was out of reach.
    outages: AtomicU64,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// The node answered with an error: it understood the call and declined.
    Answered(ErrorPayload),
    /// No answer, an HTTP error of something in between, or an answer that makes no sense. The call may have taken effect.
    Node(NodeError),
}

/// Why a bounded call gave nothing.
#[derive(Debug)]
pub(super) enum BoundedError {
    TooLarge,
    Call(CallError),
}

impl From<CallError> for BoundedError {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl Rpc {
    pub fn new(chain_id: u64, url: &str, timeout: Duration) -> Result<Self, InvalidNodeConfig> {
        let url: reqwest::Url = url.parse().map_err(|_| InvalidNodeConfig::Url)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(InvalidNodeConfig::Url);
        }
        if timeout.is_zero() {
            return Err(InvalidNodeConfig::Timeout);
        }
        // reqwest panics without one, even for http://.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(InvalidNodeConfig::TlsProvider);
        }
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .connect_timeout(timeout)
            // A node that sends us elsewhere is not the configured node.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| InvalidNodeConfig::Client(error.without_url().to_string()))?;
        let client = RpcClient::new_http_with_client(http.clone(), url.clone());
        let (verified, outages) = (AtomicBool::new(false), AtomicU64::new(0));
        Ok(Self { client, http, url, chain_id, timeout, verified, outages })
    }

    /// Grows with each time that the node was out of reach: what answers after that may be another one.
    pub fn outages(&self) -> u64 {
        self.outages.load(Ordering::Acquire)
    }

    /// [`call`](Self::call) for answers that may be large and deeply nested: the result's text, unread. An HTTP status that says that
    /// the call is not let through is an error with that status as its code.
    ///
    /// # Errors
    /// [`BoundedError::TooLarge`] when the answer has more than `most` bytes.
    pub async fn call_bounded(
        &self,
        method: &'static str,
        params: serde_json::Value,
        most: usize,
    ) -> Result<Box<RawValue>, BoundedError> {
        #[derive(Deserialize)]
        struct Answer {
            result: Option<Box<RawValue>>,
            error: Option<ErrorPayload>,
        }
        self.verify_chain().await.map_err(CallError::Node)?;
        let failed =
            |error: reqwest::Error| CallError::Node(self.unavailable(method, transport_reason(&error)));
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        // The client's timeout holds for the body, too.
        let mut response = self.http.post(self.url.clone()).json(&request).send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > most {
                return Err(BoundedError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        match serde_json::from_slice(&body) {
            Ok(Answer { error: Some(error), .. }) => Err(CallError::Answered(error).into()),
            Ok(Answer { result: Some(result), .. }) if status.is_success() => Ok(result),
            _ if status.is_client_error() || status == reqwest::StatusCode::NOT_IMPLEMENTED => {
                let code = i64::from(status.as_u16());
                let message = format!("HTTP status {status}").into();
                Err(CallError::Answered(ErrorPayload { code, message, data: None }).into())
            }
            _ if !status.is_success() => {
                Err(CallError::Node(self.unavailable(method, format!("HTTP status {status}"))).into())
            }
            Ok(_) => Err(CallError::Node(self.malformed(method, "null")).into()),
            Err(error) => Err(CallError::Node(self.malformed(method, shorten(&error.to_string()))).into()),
        }
    }

    /// Calls `method`; before the first call, and after each time that the node was out of reach, the chain id is compared.
    pub async fn call<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, CallError> {
        self.verify_chain().await.map_err(CallError::Node)?;
        self.request(method, params).await
    }

    /// [`call`](Self::call) where an error answer means no more than any other failure.
    pub async fn read<P: RpcSend, R: RpcRecv>(
        &self,
        method: &'static str,
        params: P,
    ) -> Result<R, NodeError> {
        self.call(method, params).await.map_err(|error| self.node_error(method, error))
    }

    /// The node must serve the configured chain.
    pub async fn verify_chain(&self) -> Result<(), NodeError> {
        const METHOD: &str = "eth_chainId";
        if self.verified.load(Ordering::Acquire) {
            return Ok(());
        }
        let actual: U64 = self.request(METHOD, ()).await.map_err(|error| self.node_error(METHOD, error))?;
        let actual = actual.to::<u64>();
        if actual != self.chain_id {
            return Err(NodeError::WrongNetwork {
                expected: self.network(),
                actual: Network::Ethereum(actual).to_string(),
            });
        }
        self.verified.store(true, Ordering::Release);
        Ok(())
    }

    pub fn node_error(&self, operation: &'static str, error: CallError) -> NodeError {
        match error {
            CallError::Node(error) => error,
            CallError::Answered(payload) => NodeError::Refused {
                network: self.network(),
                operation,
                reason: shorten(&format!("{} ({})", payload.message, payload.code)),
            },
        }
    }

    pub fn malformed(&self, operation: &'static str, reason: impl Into<String>) -> NodeError {
        NodeError::Malformed { network: self.network(), operation, reason: reason.into() }
    }

    const fn network(&self) -> Network {
        Network::Ethereum(self.chain_id)
    }

    async fn request<P: RpcSend, R: RpcRecv>(&self, method: &'static str, params: P) -> Result<R, CallError> {
        let answer = tokio::time::timeout(self.timeout, self.client.request(method, params)).await;
        let error = match answer {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(RpcError::ErrorResp(payload))) => return Err(CallError::Answered(payload)),
            Ok(Err(error)) => self.explain(method, &error),
            Err(_) => self.unavailable(method, format!("no answer within {:?}", self.timeout)),
        };
        if matches!(error, NodeError::Unavailable { .. }) {
            // Whatever answers next may be another node.
            self.verified.store(false, Ordering::Release);
            self.outages.fetch_add(1, Ordering::AcqRel);
        }
        tracing::debug!(method, %error, "ethereum node call failed");
        Err(CallError::Node(error))
    }

    /// Never repeats the URL, which may carry an API key.
    fn explain(&self, method: &'static str, error: &TransportError) -> NodeError {
        match error {
            RpcError::Transport(TransportErrorKind::HttpError(http)) => {
                self.unavailable(method, format!("HTTP status {}", http.status))
            }
            RpcError::Transport(TransportErrorKind::HttpErrorWithRetryAfter { error, .. }) => {
                self.unavailable(method, format!("HTTP status {}", error.status))
            }
            RpcError::Transport(TransportErrorKind::Custom(cause)) => {
                self.unavailable(method, transport_reason(cause.as_ref()))
            }
            RpcError::DeserError { err, .. } => self.malformed(method, err.to_string()),
            RpcError::NullResp => self.malformed(method, "null"),
            _ => self.unavailable(method, "transport failure"),
        }
    }

    fn unavailable(&self, operation: &'static str, reason: impl Into<String>) -> NodeError {
        NodeError::Unavailable { network: self.network(), operation, reason: reason.into() }
    }
}

fn transport_reason(cause: &(dyn std::error::Error + 'static)) -> String {
    match cause.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "timed out".to_owned(),
        Some(error) if error.is_connect() => "could not connect".to_owned(),
        Some(error) if error.is_body() || error.is_decode() => "the answer broke off".to_owned(),
        Some(_) => "the request failed".to_owned(),
        None => "transport failure".to_owned(),
    }
}

/// Text from a node is bounded before it reaches a log or a row.
pub(super) fn shorten(text: &str) -> String {
    const MAX: usize = 300;
    text.chars().filter(|c| !c.is_control()).take(MAX).collect()
}
