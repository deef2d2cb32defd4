//! bitcoind in regtest mode, without a wallet: the harness holds a published key of its own for the coinbases.

mod coins;

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::str::FromStr;
use std::time::Duration;

use bitcoin::address::NetworkUnchecked;
use bitcoin::hashes::{Hash, hash160};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use bitcoin::{Address, CompressedPublicKey, KnownHrp, Network, PrivateKey, WitnessProgram, WitnessVersion};
use serde_json::{Value, json};

use crate::error::describe;
use crate::rpc::{Dialect, RpcClient};
use crate::{Process, RegtestError, free_port, tools};

const USER: &str = "bursar";
const PASSWORD: &str = "regtest-only";
/// Published on purpose: it holds regtest coinbases and nothing else.
const MINER_KEY: [u8; 32] = [0x42; 32];
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// How to start a bitcoind.
#[derive(Clone, Debug)]
pub struct StartOptions {
    /// Folder for chain and log; made if absent. Starting over the same folder goes on with the same chain.
    pub data_dir: PathBuf,
    /// RPC port on 127.0.0.1; `None` takes a free one. Pin it when the node is to be killed and started again.
    pub port: Option<u16>,
    /// Further command line arguments, e.g. `-mempoolexpiry=1`.
    pub extra_args: Vec<String>,
}

impl StartOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), port: None, extra_args: Vec::new() }
    }

    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }
}

/// A running bitcoind; killed when dropped.
#[derive(Debug)]
pub struct Bitcoind {
    process: Process,
    rpc: RpcClient,
    port: u16,
    miner: PrivateKey,
    miner_address: Address,
    /// `scantxoutset` runs once at a time, and two payments must not choose the same coins.
    spending: tokio::sync::Mutex<()>,
}

impl Bitcoind {
    /// Starts the node and waits until it answers.
    ///
    /// # Errors
    /// [`RegtestError::ToolMissing`] with the remedy; [`RegtestError::Exited`] or [`RegtestError::NotReady`] with the end
    /// of the log.
    pub async fn start(options: StartOptions) -> Result<Self, RegtestError> {
        let program = tools::bitcoind()?;
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(RegtestError::io("could not create folder", dir))?;
        let dir = dir.canonicalize().map_err(RegtestError::io("could not resolve folder", dir))?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let mut command = Command::new(program);
        command
            .args(["-regtest", "-server", "-txindex=1", "-listen=0", "-dnsseed=0", "-natpmp=0", "-connect=0"])
            .args(["-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-dbcache=16", "-par=1", "-rpcthreads=8"])
            .args(["-debuglogfile=0", "-printtoconsole=1"])
            // Typed clients still expect these two fields in mempool answers.
            .args(["-deprecatedrpc=fullrbf", "-deprecatedrpc=bip125"])
            .arg(format!("-rpcport={port}"))
            .arg(format!("-rpcuser={USER}"))
            .arg(format!("-rpcpassword={PASSWORD}"))
            .arg(format!("-datadir={}", dir.display()))
            .args(&options.extra_args);
        let process = Process::spawn("bitcoind", command, dir.join("bitcoind.log"))?;

        let rpc =
            RpcClient::new(format!("http://127.0.0.1:{port}"), Dialect::JsonRpc, Some((USER, PASSWORD)))?;
        let key =
            SecretKey::from_slice(&MINER_KEY).expect("a non-zero constant below the group order is a key");
        let miner = PrivateKey::new(key, Network::Regtest);
        let public = CompressedPublicKey::from_private_key(&Secp256k1::new(), &miner)
            .expect("PrivateKey::new makes compressed keys");
        let miner_address = Address::p2wpkh(&public, KnownHrp::Regtest);
        let mut node =
            Self { process, rpc, port, miner, miner_address, spending: tokio::sync::Mutex::new(()) };
        let rpc = node.rpc.clone();
        node.process
            .wait_ready(READY_WITHIN, || async {
                let info =
                    rpc.call("getblockchaininfo", json!([])).await.map_err(|error| describe(&error))?;
                // A restarted node must have its index back before anybody asks it for transactions.
                let index =
                    rpc.call("getindexinfo", json!(["txindex"])).await.map_err(|error| describe(&error))?;
                match index["txindex"]["synced"].as_bool() {
                    Some(true) => Ok(()),
                    _ => Err(format!("txindex is not synced at height {}", info["blocks"])),
                }
            })
            .await?;
        Ok(node)
    }

    /// `http://127.0.0.1:port`
    pub fn rpc_url(&self) -> &str {
        self.rpc.url()
    }

    pub fn rpc_user(&self) -> &'static str {
        USER
    }

    pub fn rpc_password(&self) -> &'static str {
        PASSWORD
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Any RPC; `params` is a JSON list.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, RegtestError> {
        self.rpc.call(method, params).await
    }

    /// Height of the tip.
    pub async fn height(&self) -> Result<u64, RegtestError> {
        let answer = self.call("getblockcount", json!([])).await?;
        answer.as_u64().ok_or_else(|| RegtestError::malformed("getblockcount", "height"))
    }

    /// Mines `blocks` with what is in the mempool, paying the harness. Block hashes, oldest first.
    pub async fn mine(&self, blocks: u32) -> Result<Vec<String>, RegtestError> {
        self.generate(&self.miner_address, blocks).await
    }

    /// Mines `blocks` with the coinbase paid to `address` (spendable after 100 more blocks).
    pub async fn mine_to(&self, address: &str, blocks: u32) -> Result<Vec<String>, RegtestError> {
        self.generate(&parse(address)?, blocks).await
    }

    async fn generate(&self, address: &Address, blocks: u32) -> Result<Vec<String>, RegtestError> {
        let hashes = self.call("generatetoaddress", json!([blocks, address.to_string()])).await?;
        serde_json::from_value(hashes)
            .map_err(|_| RegtestError::malformed("generatetoaddress", "block hashes"))
    }

    /// Mines `blocks` that hold nothing but a coinbase to an unspendable address that is new each time, whatever is in the
    /// mempool: two empty blocks at one height must not be the same block.
    pub async fn mine_empty(&self, blocks: u32) -> Result<Vec<String>, RegtestError> {
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let tip = self.call("getbestblockhash", json!([])).await?;
            let seed = format!("bursar regtest {tip} {}", self.call("getchaintips", json!([])).await?);
            let program =
                WitnessProgram::new(WitnessVersion::V0, hash160::Hash::hash(seed.as_bytes()).as_ref())
                    .expect("20 bytes are a version 0 witness program");
            let output = Address::from_witness_program(program, KnownHrp::Regtest).to_string();
            let mined = self.call("generateblock", json!([output, []])).await?;
            let hash =
                mined["hash"].as_str().ok_or_else(|| RegtestError::malformed("generateblock", "hash"))?;
            hashes.push(hash.to_owned());
        }
        Ok(hashes)
    }

    /// Replaces the last `depth` blocks by `depth + 1` empty ones; their transactions go back to the mempool. Hashes of the
    /// new blocks.
    ///
    /// # Errors
    /// When `depth` is 0 or reaches the genesis block.
    pub async fn reorg(&self, depth: u32) -> Result<Vec<String>, RegtestError> {
        let height = self.height().await?;
        let first = height
            .checked_sub(u64::from(depth))
            .filter(|kept| *kept < height)
            .map(|kept| kept + 1)
            .ok_or_else(|| RegtestError::Invalid {
            field: "depth",
            reason: format!("{depth} of {height} blocks"),
        })?;
        let hash = self.call("getblockhash", json!([first])).await?;
        self.call("invalidateblock", json!([hash])).await?;
        self.mine_empty(depth + 1).await
    }

    /// Writes chain and mempool to the folder, so that a kill loses nothing of them. Bitcoin Core itself does so about once
    /// an hour; a block that was mined since then is gone after a kill, and here nobody else would have it.
    pub async fn checkpoint(&self) -> Result<(), RegtestError> {
        // Forces the flush before it counts.
        self.call("gettxoutsetinfo", json!(["none"])).await?;
        self.call("savemempool", json!([])).await.map(|_| ())
    }

    /// Asks the node to end in order, as an operator would.
    pub async fn stop(self) -> Result<ExitStatus, RegtestError> {
        self.process.stop(STOP_WITHIN).await
    }
}

/// Checks that `address` belongs to regtest.
fn parse(address: &str) -> Result<Address, RegtestError> {
    Address::<NetworkUnchecked>::from_str(address)
        .and_then(|address| address.require_network(Network::Regtest))
        .map_err(|error| RegtestError::Invalid { field: "address", reason: error.to_string() })
}
