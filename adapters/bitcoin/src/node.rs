//! The node side: a Bitcoin Core node (25 or later) without a wallet and without any index.
//!
//! What is ours is found by reading blocks, so the node is asked three things only: what fees are now, to relay a signed
//! transaction, and for blocks; of blocks that pay us also what the paying transactions spend. Calls grow with blocks, not with what is
//! watched.

mod blocks;
mod broadcast;
mod config;
mod fees;
mod liveness;
mod rpc;
mod senders;
mod statement;

pub use config::{BitcoinNodeConfig, FeePolicy, InvalidNodeConfig, NodeAuth, Password};

use async_trait::async_trait;
use bursar_domain::{
    account::{AccountQuery, AccountState, BitcoinAccount},
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Liveness, ObservedBlock, Tips, WatchSet},
    network::Network,
    package::SignedTransaction,
    ports::{
        BroadcastOutcome, BroadcastTransaction, NodeError, ObserveChain, ReadAccount, ReadAccountError,
        SentTransaction,
    },
};
use rpc::Rpc;
use serde_json::json;

/// A client of one node.
pub struct BitcoinNode {
    rpc: Rpc,
    fees: FeePolicy,
    finality_depth: u64,
}

impl BitcoinNode {
    /// Does not connect. The node's network is checked before its first answer is used.
    ///
    /// # Errors
    /// A setting that makes no sense, naming it.
    pub fn new(config: BitcoinNodeConfig) -> Result<Self, InvalidNodeConfig> {
        config.check()?;
        let BitcoinNodeConfig { network, url, auth, fees, finality_depth, timeout } = config;
        Ok(Self { rpc: Rpc::new(network, url, auth, timeout), fees, finality_depth })
    }
}

#[async_trait]
impl ReadAccount for BitcoinNode {
    /// The fee rate; `utxos` comes back empty, for the caller to fill in from the store.
    async fn account_state(&self, _query: AccountQuery<'_>) -> Result<AccountState, ReadAccountError> {
        self.rpc.check_network().await?;
        let fee_rate = fees::rate(&self.rpc, &self.fees).await?;
        Ok(AccountState::Bitcoin(BitcoinAccount { fee_rate, utxos: Vec::new() }))
    }

    /// Always refused: a node without an address index does not know balances; the store does.
    async fn balance(&self, _address: &str, _asset: Asset) -> Result<Amount, NodeError> {
        let reason = "a node without a wallet knows no balances: read the store's".to_owned();
        Err(NodeError::Refused { network: self.rpc.network(), operation: "balance", reason })
    }
}

#[async_trait]
impl BroadcastTransaction for BitcoinNode {
    async fn broadcast(&self, transaction: &SignedTransaction) -> BroadcastOutcome {
        // Nothing was sent when the network cannot be checked; but an earlier attempt may have sent it, so the outcome
        // stays open.
        if let Err(error) = self.rpc.check_network().await {
            return BroadcastOutcome::MaybeSent { reason: error.to_string() };
        }
        let raw = hex::encode(&transaction.bytes);
        let answer = self.rpc.call::<String>("sendrawtransaction", &[json!(raw)]).await;
        broadcast::outcome(&transaction.tx_id, answer)
    }
}

#[async_trait]
impl ObserveChain for BitcoinNode {
    fn network(&self) -> Network {
        self.rpc.network()
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        self.rpc.check_network().await?;
        let info = self.rpc.chain_info().await?;
        let final_height = info.blocks.saturating_add(1).saturating_sub(self.finality_depth);
        Ok(Tips { tip: BlockRef { height: info.blocks, hash: info.best_block_hash }, final_height })
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        self.rpc.check_network().await?;
        let (hash, raw) = self.rpc.raw_block(height).await?;
        let observed = blocks::observe(self.rpc.network(), height, &hash, &raw, watch);
        let mut observed = observed.map_err(|reason| self.rpc.malformed("getblock", reason))?;
        senders::name(&self.rpc, &mut observed).await?;
        Ok(observed)
    }

    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        self.prove_liveness(transaction).await
    }
}
