//! Bitcoin blocks without a miner's patience.

use crate::recipients::{self, BitcoinType};
use bursar_regtest::{
    Bitcoind,
    rpc::{Dialect, RpcClient},
};
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinHandle;

/// A Bitcoin block now and then, until dropped; a node that is away is asked again. (The other two nodes make their own.)
pub struct Miner(JoinHandle<()>);

impl Miner {
    pub fn start(bitcoind: &Bitcoind) -> anyhow::Result<Self> {
        let credentials = Some((bitcoind.rpc_user(), bitcoind.rpc_password()));
        let node = RpcClient::new(bitcoind.rpc_url(), Dialect::JsonRpc, credentials)?;
        let miner = recipients::bitcoin(BitcoinType::P2wpkh);
        Ok(Self(tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(500)).await;
                let _ = node.call("generatetoaddress", json!([1, miner])).await;
            }
        })))
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.0.abort();
    }
}
