//! The node under test: a stand-in of this process, or the rippled that `XRPL_RPC_URL` names.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bursar_regtest::xrpl::{Config, Running, serve};
use serde_json::{Value, json};

/// Close time of ledger 2 in the recorded session: makes the stand-in's times equal to the recorded ones.
pub const RECORDED_GENESIS_TIME: u32 = 848_528_360;

/// A node to talk to.
pub struct Target {
    http: reqwest::Client,
    url: String,
    pub running: Option<Running>,
}

impl Target {
    /// A fresh stand-in with a clock that stands still, so that ledgers close one second apart.
    pub async fn stand_in() -> Self {
        Self::stand_in_with(|_| {}).await
    }

    pub async fn stand_in_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        config.clock = Arc::new(|| RECORDED_GENESIS_TIME);
        adjust(&mut config);
        let running = serve(config).await.expect("a stand-in on a free port");
        Self { http: client(), url: format!("http://{}/", running.addr), running: Some(running) }
    }

    /// The rippled of `XRPL_RPC_URL`, which must run stand-alone.
    pub fn rippled() -> Option<Self> {
        let url = std::env::var("XRPL_RPC_URL").ok()?;
        Some(Self { http: client(), url, running: None })
    }

    pub fn is_stand_in(&self) -> bool {
        self.running.is_some()
    }

    /// The `result` of an answer, error or not.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).await.expect("an answer")
    }

    pub async fn try_call(&self, method: &str, params: Value) -> Result<Value, reqwest::Error> {
        let request = json!({"method": method, "params": [params]});
        let body = self.http.post(&self.url).json(&request).send().await?.json::<Value>().await?;
        Ok(body["result"].clone())
    }

    pub async fn accept(&self) -> u32 {
        let answer = self.call("ledger_accept", json!({})).await;
        number(&answer["ledger_current_index"]) - 1
    }

    /// Index of the newest validated ledger.
    pub async fn validated(&self) -> u32 {
        let state = self.call("server_state", json!({})).await;
        number(&state["state"]["validated_ledger"]["seq"])
    }

    pub async fn submit(&self, blob: &str) -> Value {
        self.call("submit", json!({"tx_blob": blob})).await
    }

    pub async fn tx(&self, hash: &str) -> Value {
        self.call("tx", json!({"transaction": hash})).await
    }

    /// `account_data` in the open ledger.
    pub async fn account(&self, address: &str) -> Value {
        self.account_at(address, json!("current")).await
    }

    pub async fn account_at(&self, address: &str, ledger: Value) -> Value {
        let answer = self.call("account_info", json!({"account": address, "ledger_index": ledger})).await;
        answer["account_data"].clone()
    }
}

pub fn number(value: &Value) -> u32 {
    value.as_u64().and_then(|value| u32::try_from(value).ok()).unwrap_or_else(|| panic!("no index: {value}"))
}

fn client() -> reqwest::Client {
    // A second installation only says that one is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(30)).build().expect("a plain client")
}
