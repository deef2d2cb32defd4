//! Calls to the node, each bounded in time, with errors sorted by what they say about the call.

use super::config::NodeAuth;
use crate::address::params;
use bitcoin::{Network as ChainParams, constants::genesis_block};
use bursar_domain::{
    network::{BitcoinNetwork, Network},
    ports::NodeError,
};
use corepc_client::{Auth, Client, Error};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::time::timeout;

/// Bitcoin Core's `RPC_INVALID_PARAMETER`: here, a height beyond the tip.
const INVALID_PARAMETER: i32 = -8;
/// Bitcoin Core's `RPC_MISC_ERROR`: here, a pruned block.
const MISC_ERROR: i32 = -1;
/// Bitcoin Core's `RPC_INVALID_ADDRESS_OR_KEY`: here, an unknown block hash.
const NOT_FOUND: i32 = -5;

pub struct Rpc {
    network: BitcoinNetwork,
    url: String,
    auth: NodeAuth,
    timeout: Duration,
    /// Whether the node was seen to serve the expected network since the last time that it gave no answer: after an outage
    /// another one may answer at the same URL.
    checked: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// The node answered with an error of its own.
    #[error("{message} (code {code})")]
    Answered { code: i32, message: String },
    /// The call was never sent.
    #[error("{0}")]
    NotSent(String),
    /// No usable answer: the call may have had its effect.
    #[error("{0}")]
    NoAnswer(String),
}

#[derive(Debug, Deserialize)]
pub struct ChainInfo {
    pub chain: String,
    pub blocks: u64,
    #[serde(rename = "bestblockhash")]
    pub best_block_hash: String,
}

impl Rpc {
    pub fn new(network: BitcoinNetwork, url: String, auth: NodeAuth, timeout: Duration) -> Self {
        Self { network, url, auth, timeout, checked: AtomicBool::new(false) }
    }

    pub fn network(&self) -> Network {
        Network::Bitcoin(self.network)
    }

    pub const fn chain_params(&self) -> ChainParams {
        params(self.network)
    }

    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &[Value],
    ) -> Result<T, RpcError> {
        let answer = self.request(method, args).await;
        if matches!(answer, Err(RpcError::NotSent(_) | RpcError::NoAnswer(_))) {
            self.checked.store(false, Ordering::Release);
        }
        answer
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &[Value],
    ) -> Result<T, RpcError> {
        let client = self.client().map_err(|error| RpcError::NotSent(error.to_string()))?;
        match timeout(self.timeout, client.call(method, args)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Error::JsonRpc(jsonrpc::Error::Rpc(error)))) => {
                Err(RpcError::Answered { code: error.code, message: error.message })
            }
            Ok(Err(error)) => Err(RpcError::NoAnswer(error.to_string())),
            Err(_) => Err(RpcError::NoAnswer(format!("no answer within {} s", self.timeout.as_secs()))),
        }
    }

    /// As [`call`](Self::call) for what takes longer than any other call, up to `limit`.
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &[Value],
        limit: Duration,
    ) -> Result<T, RpcError> {
        let not_sent = |error: String| RpcError::NotSent(error);
        let (user, password) = match &self.auth {
            NodeAuth::UserPassword { user, password } => {
                (Some(user.clone()), Some(password.expose().to_owned()))
            }
            NodeAuth::CookieFile { cookie_file } => Auth::CookieFile(cookie_file.clone())
                .get_user_pass()
                .map_err(|error| not_sent(error.to_string()))?,
        };
        let transport = jsonrpc::bitreq_http_async::Builder::new()
            .url(&self.url)
            .map_err(|error| not_sent(error.to_string()))?
            .timeout(limit)
            .basic_auth(user.unwrap_or_default(), password)
            .build();
        let client = jsonrpc::client_async::Client::with_transport(transport);
        let raw = serde_json::value::to_raw_value(args).map_err(|error| not_sent(error.to_string()))?;
        let request = client.build_request(method, Some(&*raw));
        let answer = match timeout(limit, client.send_request(request)).await {
            Ok(Ok(response)) => match response.result() {
                Ok(answer) => Ok(answer),
                Err(jsonrpc::Error::Rpc(error)) => {
                    return Err(RpcError::Answered { code: error.code, message: error.message });
                }
                Err(error) => Err(error.to_string()),
            },
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
        };
        answer.map_err(|error| {
            self.checked.store(false, Ordering::Release);
            RpcError::NoAnswer(error)
        })
    }

    /// Cheap: connections are made per call, and the cookie may have changed since the last one.
    fn client(&self) -> Result<Client, Error> {
        let auth = match &self.auth {
            NodeAuth::UserPassword { user, password } => {
                Auth::UserPass(user.clone(), password.expose().to_owned())
            }
            NodeAuth::CookieFile { cookie_file } => Auth::CookieFile(cookie_file.clone()),
        };
        Client::new_with_auth(&self.url, auth)
    }

    /// Refuses a node of another network: by name, and by genesis block.
    pub async fn check_network(&self) -> Result<(), NodeError> {
        if self.checked.load(Ordering::Acquire) {
            return Ok(());
        }
        let info = self.chain_info().await?;
        let genesis: String = self.read("getblockhash", &[json!(0)]).await?;
        let expected = genesis_block(params(self.network)).block_hash().to_string();
        if info.chain != self.chain_name() || genesis != expected {
            let actual = format!("the chain \"{}\" with genesis block {genesis}", info.chain);
            return Err(NodeError::WrongNetwork { expected: self.network(), actual });
        }
        self.checked.store(true, Ordering::Release);
        Ok(())
    }

    const fn chain_name(&self) -> &'static str {
        match self.network {
            BitcoinNetwork::Mainnet => "main",
            BitcoinNetwork::Testnet4 => "testnet4",
            BitcoinNetwork::Signet => "signet",
            BitcoinNetwork::Regtest => "regtest",
        }
    }

    pub async fn chain_info(&self) -> Result<ChainInfo, NodeError> {
        self.read("getblockchaininfo", &[]).await
    }

    /// Hash and bytes of the block at `height` of the active chain.
    pub async fn raw_block(&self, height: u64) -> Result<(String, Vec<u8>), NodeError> {
        let missing = |error: RpcError, codes: &[i32], operation| match error {
            RpcError::Answered { code, .. } if codes.contains(&code) => {
                NodeError::NoBlock { network: self.network(), height }
            }
            other => self.failed(operation, other),
        };
        let hash: String = self
            .call("getblockhash", &[json!(height)])
            .await
            .map_err(|error| missing(error, &[INVALID_PARAMETER], "getblockhash"))?;
        // Verbosity 0: the bytes themselves, several times cheaper for the node than JSON.
        let raw: String = self
            .call("getblock", &[json!(hash), json!(0)])
            .await
            .map_err(|error| missing(error, &[MISC_ERROR, NOT_FOUND], "getblock"))?;
        match hex::decode(raw) {
            Ok(bytes) => Ok((hash, bytes)),
            Err(error) => Err(self.malformed("getblock", error.to_string())),
        }
    }

    /// A call that only reads.
    pub async fn read<T: DeserializeOwned>(
        &self,
        method: &'static str,
        args: &[Value],
    ) -> Result<T, NodeError> {
        self.call(method, args).await.map_err(|error| self.failed(method, error))
    }

    pub fn failed(&self, operation: &'static str, error: RpcError) -> NodeError {
        let network = self.network();
        match error {
            RpcError::Answered { .. } => NodeError::Refused { network, operation, reason: error.to_string() },
            RpcError::NotSent(reason) | RpcError::NoAnswer(reason) => {
                NodeError::Unavailable { network, operation, reason }
            }
        }
    }

    pub fn malformed(&self, operation: &'static str, reason: impl Into<String>) -> NodeError {
        NodeError::Malformed { network: self.network(), operation, reason: reason.into() }
    }
}
