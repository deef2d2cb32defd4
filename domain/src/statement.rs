//! What a chain itself tells of accounts of ours between two blocks: the other side of a reconciliation.
//!
//! It is read apart from the follower, and from the chain only. What a query says to be known is where to look, never what is
//! believed: a chain that keeps no index of accounts must be asked for each transaction by name.

use crate::{
    amount::Amount,
    asset::Asset,
    chain::{BlockRef, Credit, TransactionOutcome},
    effects::Resource,
    intent::Payment,
    network::Network,
    ports::NodeError,
};
use async_trait::async_trait;
use std::collections::HashSet;

/// Tells what happened to accounts, as of final blocks.
#[async_trait]
pub trait ReadStatement: Send + Sync {
    fn network(&self) -> Network;

    /// The newest block that is final by the network's rule.
    async fn final_block(&self) -> Result<BlockRef, NodeError>;

    /// The block at `height` of the chain that the node follows now.
    async fn block_at(&self, height: u64) -> Result<BlockRef, NodeError>;

    /// All that happened to `query.addresses` in its blocks. `progress` is told how many of how many parts are done.
    ///
    /// # Errors
    /// Whatever keeps it from being complete: a node that lacks some of the blocks is an error, never a shorter statement.
    async fn statement(
        &self,
        query: &StatementQuery,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Statement, NodeError>;
}

#[derive(Debug, Clone)]
pub struct StatementQuery {
    /// Our own addresses, in canonical form.
    pub addresses: Vec<String>,
    /// What balances are wanted of.
    pub assets: Vec<Asset>,
    /// The first block, and the last, which is final. `first` is above `last` where only balances are wanted.
    pub first: u64,
    pub last: u64,
    /// What may be in these blocks, as far as somebody says.
    pub known: Vec<Known>,
}

/// A transaction that is said to be ours, or to pay us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub tx_id: String,
    /// What it uses up, if it is ours.
    pub resources: Vec<Resource>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statement {
    /// Every transaction in these blocks that one of the addresses sent or paid for.
    pub sent: Vec<Sent>,
    /// Credits in these blocks.
    pub received: Vec<Received>,
    /// Ids of what was said to pay us of which the node could not tell what contracts sent on.
    pub untraced: HashSet<String>,
    /// Whether `received` is all of them. Where a chain cannot be asked for that (Ethereum), it is what was known and found.
    pub received_is_all: bool,
    /// For each address and asset, on chains with accounts.
    pub holdings: Vec<Holding>,
    /// What was unspent after the last block, on Bitcoin. Coinbase outputs, which are not credited, are left out.
    pub unspent: Vec<Received>,
}

/// A transaction of ours, as it is in a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// `None`: the account's nonce shows that there is one, and it was not found.
    pub tx_id: Option<String>,
    pub height: Option<u64>,
    /// Our addresses that pay, without repetition.
    pub from: Vec<String>,
    pub resources: Vec<Resource>,
    pub outcome: TransactionOutcome,
    pub asset: Asset,
    /// All that it pays: on Bitcoin every output, change included. Empty where it failed, or is no payment.
    pub payments: Vec<Payment>,
    /// In the chain's smallest unit, if one of our addresses paid it.
    pub fee: Option<Amount>,
}

/// Money that reached an address of ours in some block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub tx_id: String,
    pub height: u64,
    pub credit: Credit,
}

/// What an account has of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub address: String,
    pub asset: Asset,
    /// Before the first block; `None` if the node no longer knows.
    pub opening: Option<Amount>,
    /// After the last block.
    pub closing: Amount,
    /// The account's next nonce or Sequence after the last block; `None` for an account that does not exist.
    pub next: Option<u64>,
}
