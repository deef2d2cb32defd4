//! What a follower sees in blocks.

use crate::{
    amount::Amount,
    asset::Asset,
    effects::{OutPoint, Resource},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// A block, or on XRP a validated ledger.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BlockRef {
    pub height: u64,
    pub hash: String,
}

/// Where a chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tips {
    pub tip: BlockRef,
    /// Blocks up to this height are final by the network's rule (depth, `finalized` tag, or validation).
    pub final_height: u64,
}

/// What to look for in a block. Node calls grow with blocks, not with what is watched.
#[derive(Debug, Clone, Default)]
pub struct WatchSet {
    /// Our own addresses, in canonical form.
    pub addresses: HashSet<String>,
    /// Our unspent outputs (Bitcoin).
    pub outpoints: HashSet<OutPoint>,
    /// Token contracts to read transfer logs of (Ethereum).
    pub tokens: HashSet<[u8; 20]>,
    /// Ids of transactions that we sent.
    pub transactions: HashSet<String>,
}

/// A block with what in it concerns us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedBlock {
    pub block: BlockRef,
    pub parent_hash: String,
    pub time: Timestamp,
    /// In block order.
    pub transactions: Vec<ObservedTransaction>,
    pub contract_payments: ContractPayments,
}

/// What contracts sent on to our addresses in a block (Ethereum's internal transactions). It stands in no list of transactions: a
/// node tells it only by executing the block again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ContractPayments {
    /// Not looked for, because there can be none: of the chain, of the block, or because nobody is watched.
    #[default]
    NotSought,
    /// There may be some, and the node does not tell.
    Unknown,
    /// All of them, in the order in which they were made.
    Known(Vec<ContractPayment>),
}

/// Money of the chain's own asset that a contract sent on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContractPayment {
    /// Of the transaction in which the contract ran.
    pub tx_id: String,
    pub credit: Credit,
}

/// A transaction in a block that was sent by us, spends what is ours, or credits one of our addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedTransaction {
    pub tx_id: String,
    pub outcome: TransactionOutcome,
    /// Which of our own exclusive resources it used up: outputs of ours, nonces and Sequences of our accounts.
    pub spends: Vec<Resource>,
    /// The fee that was paid, in the chain's smallest unit, when we paid it.
    pub fee: Option<Amount>,
    pub credits: Vec<Credit>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
pub enum TransactionOutcome {
    Succeeded,
    /// In a block and without effect but for the fee: an EVM revert or an XRPL `tec` result.
    Failed {
        reason: String,
    },
    /// In a block, without a sign that it did what it is for, and without proof that it moved nothing: a token transfer that
    /// was not reverted and left no event of the token's own. A person has to look before anything is paid again.
    Unclear {
        reason: String,
    },
}

/// Money that reached one of our addresses (change included).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credit {
    pub address: String,
    /// Whom the chain names as sender, for screening: of a token its event's, of what a contract sends on the contract and who called it.
    /// On Bitcoin whose outputs were spent, as far as one more than [`MAX_SENDERS`](crate::screening::MAX_SENDERS). Never this address itself.
    pub from: Vec<String>,
    /// XRPL destination tag.
    pub tag: Option<u32>,
    pub asset: Asset,
    pub amount: Amount,
    /// Bitcoin: the output. It is spendable from now on.
    pub outpoint: Option<OutPoint>,
    /// Position within the transaction: the output index; on Ethereum 0 for the transaction's own value, an event's place among the
    /// block's events plus one, and from [`CONTRACT_PAYMENTS`] on what contracts sent on. With the transaction id it names the credit.
    pub index: u32,
}

/// [`Credit::index`] of the first payment that contracts make in a transaction, to whomever it goes; each further one has the next.
/// Above the place of any event, so that no two credits of a transaction share an index.
pub const CONTRACT_PAYMENTS: u32 = 1 << 31;

impl Credit {
    pub const fn is_contract_payment(&self) -> bool {
        self.index >= CONTRACT_PAYMENTS
    }
}

/// Recent block hashes of a followed chain, to find where a reorganisation forked off.
pub type RecentBlocks = HashMap<u64, String>;

/// Whether a transaction of ours can still take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "liveness", rename_all = "camelCase")]
pub enum Liveness {
    /// It may. "Not found" proves nothing.
    MayConfirm,
    /// It never will. `proof` states the facts that show it, for the audit trail.
    Dead { proof: String },
    /// Its resource was used and none of our transactions is known to have used it: stop and ask a human.
    Unexplained { reason: String },
}
