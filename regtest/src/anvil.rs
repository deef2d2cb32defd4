//! anvil, a local Ethereum node, with test tokens.

mod contracts;
mod state;
mod tokens;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use alloy::primitives::{Address, U256};
use serde_json::{Value, json};

use crate::error::describe;
use crate::rpc::{Dialect, RpcClient};
use crate::{Process, RegtestError, eventually, free_port, tools};

pub use contracts::{Contracts, Way};
pub use tokens::TokenKind;

const READY_WITHIN: Duration = Duration::from_secs(30);
const MINED_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Address of anvil's first development key (its mnemonic is published): pays for everything the harness does.
pub const BANK: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// So many of the newest blocks have a state that can be asked for, and gone back to, where the chain is in memory only: each state is a
/// copy of all accounts.
pub const STATES_IN_MEMORY: u32 = 500;
/// What is at an address without a contract.
const NO_CODE: &str = "0x";

/// When blocks are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mining {
    /// A block for each transaction, at once.
    #[default]
    Auto,
    /// A block each so many seconds.
    Interval(u64),
    /// Only by [`Anvil::mine`].
    Manual,
}

#[derive(Clone, Debug)]
pub struct AnvilOptions {
    /// Folder for state and log; made if absent. Starting over the same folder goes on with the same chain.
    pub data_dir: PathBuf,
    /// Port on 127.0.0.1; `None` takes a free one.
    pub port: Option<u16>,
    pub mining: Mining,
    pub chain_id: u64,
    /// `finalized` is two of these behind the tip, `safe` one.
    pub slots_in_an_epoch: u64,
    /// The chain is not written to the folder, and keeps the states of [`STATES_IN_MEMORY`] blocks. Otherwise the writing holds up everybody
    /// who asks, once a second and longer with each block (a quarter of a second after some minutes, 374 MB after half an hour), and
    /// whoever measures would measure it.
    pub in_memory: bool,
}

impl AnvilOptions {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            port: None,
            mining: Mining::Auto,
            chain_id: 31337,
            slots_in_an_epoch: 1,
            in_memory: false,
        }
    }

    pub fn with_port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    pub fn with_mining(mut self, mining: Mining) -> Self {
        self.mining = mining;
        self
    }
}

/// A running anvil; killed when dropped. Its chain is written to the folder once a second and at an orderly end, so that a
/// kill loses at most the last second unless [`Anvil::checkpoint`] came before it. (With [`AnvilOptions::in_memory`] it is lost.)
#[derive(Debug)]
pub struct Anvil {
    process: Process,
    rpc: RpcClient,
    port: u16,
    mining: Mining,
    state_file: PathBuf,
    /// Contracts that were deployed here, and the block that holds each.
    deployed: Mutex<BTreeMap<Address, u64>>,
}

impl Anvil {
    /// Starts the node and waits until it answers.
    ///
    /// # Errors
    /// [`RegtestError::ToolMissing`] with the remedy; [`RegtestError::Exited`] or [`RegtestError::NotReady`] with the end
    /// of the log.
    pub async fn start(options: AnvilOptions) -> Result<Self, RegtestError> {
        let program = tools::anvil()?;
        let dir = &options.data_dir;
        std::fs::create_dir_all(dir).map_err(RegtestError::io("could not create folder", dir))?;
        let dir = dir.canonicalize().map_err(RegtestError::io("could not resolve folder", dir))?;
        let port = options.port.map_or_else(free_port, Ok)?;
        let state_file = dir.join("state.json");
        state::repair(&state_file)?;
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--chain-id", &options.chain_id.to_string()])
            .args(["--slots-in-an-epoch", &options.slots_in_an_epoch.to_string()])
            .args(["--balance", "100000000"])
            .arg("--cache-path")
            .arg(dir.join("cache"));
        if options.in_memory {
            command.args(["--prune-history", &STATES_IN_MEMORY.to_string()]);
        } else {
            command
                .args(["--state-interval", "1", "--preserve-historical-states", "--state"])
                .arg(&state_file);
        }
        match options.mining {
            Mining::Auto => {}
            Mining::Interval(seconds) => {
                command.args(["--block-time", &seconds.to_string()]);
            }
            Mining::Manual => {
                command.arg("--no-mining");
            }
        }
        let process = Process::spawn("anvil", command, dir.join("anvil.log"))?;
        let rpc = RpcClient::new(format!("http://127.0.0.1:{port}"), Dialect::JsonRpc, None)?;
        let deployed = Mutex::default();
        let mut node = Self { process, rpc, port, mining: options.mining, state_file, deployed };
        let rpc = node.rpc.clone();
        node.process
            .wait_ready(READY_WITHIN, || async {
                rpc.call("eth_blockNumber", json!([])).await.map(|_| ()).map_err(|error| describe(&error))
            })
            .await?;
        Ok(node)
    }

    /// `http://127.0.0.1:port`
    pub fn rpc_url(&self) -> &str {
        self.rpc.url()
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

    /// Number of the latest block.
    pub async fn height(&self) -> Result<u64, RegtestError> {
        let height = quantity("eth_blockNumber", &self.call("eth_blockNumber", json!([])).await?)?;
        u64::try_from(height).map_err(|_| RegtestError::malformed("eth_blockNumber", "64-bit number"))
    }

    /// Mines `blocks`, the first with what is in the pool.
    pub async fn mine(&self, blocks: u32) -> Result<(), RegtestError> {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await.map(|_| ())
    }

    /// Replaces the last `depth` blocks by as many empty ones; their transactions are gone from the node.
    ///
    /// anvil (1.7.1) keeps older states in files, and forgets the code of contracts when it goes back to one: any from before its start,
    /// and after a thousand blocks all but the last ten. What is deployed in a block that stays is put back.
    ///
    /// # Errors
    /// [`RegtestError`] also when there is no state of so old a block any more.
    pub async fn reorg(&self, depth: u32) -> Result<(), RegtestError> {
        let stays = self.height().await?.saturating_sub(depth.into());
        let contracts = self.contracts(stays).await?;
        self.call("anvil_reorg", json!([depth, []])).await?;
        for (address, code) in contracts {
            if self.code(address).await? == json!(NO_CODE) {
                self.call("anvil_setCode", json!([address, code])).await?;
            }
        }
        Ok(())
    }

    /// Contracts that blocks up to `height` hold, as far as they are known here or from the last checkpoint, and the code of each.
    async fn contracts(&self, height: u64) -> Result<BTreeMap<Address, Value>, RegtestError> {
        let mut contracts = BTreeMap::new();
        for (address, code) in state::contracts(&self.state_file) {
            contracts.insert(parse(&address)?, json!(code));
        }
        let deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (address, block) in deployed {
            if block <= height {
                contracts.insert(address, self.code(address).await?);
            } else {
                contracts.remove(&address);
            }
        }
        Ok(contracts)
    }

    /// Of the contract at `address`, latest block.
    async fn code(&self, address: Address) -> Result<Value, RegtestError> {
        self.call("eth_getCode", json!([address, "latest"])).await
    }

    /// Sends `wei` from the bank to `address` by a transaction and waits until it is mined. The transaction id.
    pub async fn fund(&self, address: &str, wei: U256) -> Result<String, RegtestError> {
        let to = parse(address)?;
        let receipt = self.transact(json!({ "from": BANK, "to": to, "value": format!("{wei:#x}") })).await?;
        receipt["transactionHash"]
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| RegtestError::malformed("eth_getTransactionReceipt", "transactionHash"))
    }

    /// Wei at `address`, latest block.
    pub async fn balance(&self, address: &str) -> Result<U256, RegtestError> {
        quantity("eth_getBalance", &self.call("eth_getBalance", json!([parse(address)?, "latest"])).await?)
    }

    /// Waits until the chain as it is now is in the folder, so that a kill loses nothing of it.
    pub async fn checkpoint(&self) -> Result<(), RegtestError> {
        let height = self.height().await?;
        eventually(Duration::from_secs(15), Duration::from_millis(100), "anvil's state file", || async {
            state::keep(&self.state_file, height)
        })
        .await
    }

    /// Asks the node to end in order; it writes its state.
    pub async fn stop(self) -> Result<ExitStatus, RegtestError> {
        self.process.stop(STOP_WITHIN).await
    }

    /// Waits until the transaction is in a block and gives its receipt. Auto-mining makes the block after the answer to the
    /// submission, not before it.
    ///
    /// # Errors
    /// [`RegtestError`] when a minute is not enough.
    pub async fn mined(&self, id: &Value) -> Result<Value, RegtestError> {
        eventually(MINED_WITHIN, Duration::from_millis(20), "a receipt from anvil", || async {
            match self.call("eth_getTransactionReceipt", json!([id])).await {
                Ok(Value::Null) => Err(format!("{id} is not mined")),
                Ok(receipt) => Ok(receipt),
                Err(error) => Err(describe(&error)),
            }
        })
        .await
    }

    /// Sends from one of anvil's own accounts and waits for a successful receipt.
    async fn transact(&self, transaction: Value) -> Result<Value, RegtestError> {
        let id = self.call("eth_sendTransaction", json!([transaction])).await?;
        if self.mining == Mining::Manual {
            self.mine(1).await?;
        }
        let receipt = self.mined(&id).await?;
        if receipt["status"] == json!("0x1") {
            Ok(receipt)
        } else {
            Err(RegtestError::Invalid { field: "transaction", reason: format!("{id} was reverted") })
        }
    }
}

fn parse(address: &str) -> Result<Address, RegtestError> {
    address.parse().map_err(|_| RegtestError::Invalid {
        field: "address",
        reason: format!("{address} is not 0x and 40 hex digits"),
    })
}

/// A hex quantity (or a JSON number) of an answer to `method`.
fn quantity(method: &str, value: &Value) -> Result<U256, RegtestError> {
    let malformed = || RegtestError::malformed(method, "quantity");
    match value {
        Value::Number(number) => number.as_u64().map(U256::from).ok_or_else(malformed),
        Value::String(text) => text.parse().map_err(|_| malformed()),
        _ => Err(malformed()),
    }
}
