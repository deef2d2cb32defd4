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
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

pub(super) struct Rpc {
    client: RpcClient,
    chain_id: u64,
    timeout: Duration,
    /// Whether the node behind the URL has said that it serves `chain_id` since the last time that it was out of reach.
    verified: AtomicBool,
}

/// Why a call gave nothing.
#[derive(Debug)]
pub(super) enum CallError {
    /// The node answered with an error: it understood the call and declined.
    Answered(ErrorPayload),
    /// No answer, an HTTP error of something in between, or an answer that makes no sense. The call may have taken effect.
    Node(NodeError),
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
        let client = RpcClient::new_http_with_client(http, url);
        Ok(Self { client, chain_id, timeout, verified: AtomicBool::new(false) })
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
