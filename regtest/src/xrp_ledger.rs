//! The XRP Ledger stand-in as a process of its own (`bursar-regtest xrpl`), so that it can be killed like the other nodes.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use ::xrpl::core::binarycodec::{encode, encode_for_signing};
use ::xrpl::core::keypairs::{derive_classic_address, derive_keypair, sign};
use serde_json::{Value, json};

use crate::error::describe;
use crate::rpc::{Dialect, RpcClient};
use crate::{Process, RegtestError, free_port, tools};

/// Seed of the account that holds all XRP in a fresh ledger; published ("masterpassphrase"), the same in every rippled.
const GENESIS_SEED: &str = "snoPBrXtMeMyMHUVTgbuqAfg1SUTb";
/// Drops paid per transaction of the harness, above the base fee of 10 also when the ledger is a little busy.
const FEE_DROPS: u64 = 1_000;
/// In the data folder: closed ledgers.
pub const JOURNAL: &str = "ledgers.journal";
const READY_WITHIN: Duration = Duration::from_secs(30);
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct XrpLedgerOptions {
    /// Folder for closed ledgers and log; made if absent. Starting over the same folder goes on with the same ledgers.
    pub data_dir: PathBuf,
    /// Port on 127.0.0.1, for JSON-RPC and WebSocket; `None` takes a free one.
    pub port: Option<u16>,
    /// Closes a ledger by itself this often; `None`: only on [`XrpLedger::accept`].
    pub close_interval: Option<Duration>,
    /// Above 1024 transactions must carry it, at or below they must not.
    pub network_id: u32,
    /// How many further nodes show the same ledger, on free ports, each with faults of its own. They run in the one process: what
    /// differs between them is what they answer.
    pub views: usize,
}

impl XrpLedgerOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: None, close_interval: None, network_id: 0, views: 0 }
    }

    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    pub fn closing_every(mut self, interval: Duration) -> Self {
        self.close_interval = Some(interval);
        self
    }
}

/// A running stand-in; killed when dropped.
#[derive(Debug)]
pub struct XrpLedger {
    process: Process,
    rpc: RpcClient,
    port: u16,
    views: Vec<RpcClient>,
    journal: PathBuf,
    network_id: u32,
    /// The genesis account's Sequence is read, used and read again: one payment at a time.
    funding: tokio::sync::Mutex<()>,
}

impl XrpLedger {
    /// Starts the stand-in and waits until it answers.
    ///
    /// # Errors
    /// As [`crate::Bitcoind::start`].
    pub async fn start(options: XrpLedgerOptions) -> Result<Self, RegtestError> {
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(RegtestError::io("could not create folder", dir))?;
        let dir = dir.canonicalize().map_err(RegtestError::io("could not resolve folder", dir))?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut command = Command::new(tools::bursar_regtest()?);
        command.args(["xrpl", "--port", &port.to_string(), "--network-id", &options.network_id.to_string()]);
        if let Some(interval) = options.close_interval {
            command.args(["--close-interval-ms", &interval.as_millis().to_string()]);
        }
        let mut views = Vec::new();
        for _ in 0..options.views {
            let port = free_port()?;
            command.args(["--view-port", &port.to_string()]);
            views.push(RpcClient::new(format!("http://127.0.0.1:{port}"), Dialect::Rippled, None)?);
        }
        command.arg("--data-dir").arg(&dir);
        let process = Process::spawn("xrpl", command, dir.join("xrpl.log"))?;
        let rpc = RpcClient::new(format!("http://127.0.0.1:{port}"), Dialect::Rippled, None)?;
        let mut node = Self {
            process,
            rpc,
            port,
            views,
            journal: dir.join(JOURNAL),
            network_id: options.network_id,
            funding: tokio::sync::Mutex::new(()),
        };
        let rpc = node.rpc.clone();
        node.process
            .wait_ready(READY_WITHIN, || async {
                rpc.call("ledger_current", json!({})).await.map(|_| ()).map_err(|error| describe(&error))
            })
            .await?;
        Ok(node)
    }

    /// `http://127.0.0.1:port`
    pub fn rpc_url(&self) -> &str {
        self.rpc.url()
    }

    /// `ws://127.0.0.1:port`
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The further nodes that show the same ledger: to be asked, and to be told their faults (`standin_fault`).
    pub fn views(&self) -> &[RpcClient] {
        &self.views
    }

    /// Another node in a folder of its own, whose ledgers are the same up to now, and which goes its own way from here.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn fork(&self, options: XrpLedgerOptions) -> Result<Self, RegtestError> {
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(RegtestError::io("could not create folder", dir))?;
        let copy = dir.join(JOURNAL);
        // A ledger that is being written is cut off at the start.
        std::fs::copy(&self.journal, &copy).map_err(RegtestError::io("could not write", &copy))?;
        Self::start(XrpLedgerOptions { network_id: self.network_id, ..options }).await
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Any RPC; `params` is the one object that rippled takes.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RegtestError> {
        self.rpc.call(method, params).await
    }

    /// Closes the open ledger (`ledger_accept`).
    pub async fn accept(&self) -> Result<(), RegtestError> {
        self.call("ledger_accept", json!({})).await.map(|_| ())
    }

    /// Pays `drops` from the genesis account to `address`, creating it if need be, and closes the ledger. The transaction id.
    ///
    /// # Errors
    /// [`RegtestError::Invalid`] with the engine result when the ledger does not apply it.
    pub async fn fund(&self, address: &str, drops: u64) -> Result<String, RegtestError> {
        let _one_at_a_time = self.funding.lock().await;
        let codec = |error: &dyn std::fmt::Display| RegtestError::Invalid {
            field: "payment",
            reason: error.to_string(),
        };
        let (public, private) = derive_keypair(GENESIS_SEED, false).map_err(|error| codec(&error))?;
        let account = derive_classic_address(&public).map_err(|error| codec(&error))?;
        let info =
            self.call("account_info", json!({ "account": account, "ledger_index": "current" })).await?;
        let sequence = info["account_data"]["Sequence"]
            .as_u64()
            .ok_or_else(|| RegtestError::malformed("account_info", "Sequence"))?;
        let mut payment = json!({
            "TransactionType": "Payment",
            "Account": account,
            "Destination": address,
            "Amount": drops.to_string(),
            "Fee": FEE_DROPS.to_string(),
            "Sequence": sequence,
            "Flags": 0,
            "SigningPubKey": public,
        });
        // Required above 1024, forbidden at or below.
        if self.network_id > 1024 {
            payment["NetworkID"] = json!(self.network_id);
        }
        let message = encode_for_signing(&payment).map_err(|error| codec(&error))?;
        let message = hex::decode(message).map_err(|error| codec(&error))?;
        payment["TxnSignature"] = json!(sign(&message, &private).map_err(|error| codec(&error))?);
        let blob = encode(&payment).map_err(|error| codec(&error))?;

        let answer = self.call("submit", json!({ "tx_blob": blob })).await?;
        let id = answer["tx_json"]["hash"]
            .as_str()
            .ok_or_else(|| RegtestError::malformed("submit", "hash"))?
            .to_owned();
        self.accept().await?;
        let applied = self.call("tx", json!({ "transaction": id })).await?;
        // API version 1 and 2 differ in where `meta` and `validated` stand, not in their names.
        match applied["meta"]["TransactionResult"].as_str() {
            Some("tesSUCCESS") if applied["validated"] == json!(true) => Ok(id),
            result => Err(RegtestError::Invalid {
                field: "payment",
                reason: format!(
                    "{} at submission, {} in the ledger",
                    answer["engine_result"],
                    result.unwrap_or("nothing")
                ),
            }),
        }
    }

    /// Drops of `address` in the validated ledger.
    pub async fn balance(&self, address: &str) -> Result<u64, RegtestError> {
        let info =
            self.call("account_info", json!({ "account": address, "ledger_index": "validated" })).await?;
        info["account_data"]["Balance"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| RegtestError::malformed("account_info", "Balance"))
    }

    pub async fn stop(self) -> Result<ExitStatus, RegtestError> {
        self.process.stop(STOP_WITHIN).await
    }
}
