//! The facts of an account that building a transaction depends on, read once and fixed before it.

use crate::{
    amount::{Amount, Drops, Satoshi},
    effects::{OutPoint, Resource},
    intent::Intent,
    network::Chain,
    signing::GroupKey,
    wallet::DerivationPath,
};
use serde::{Deserialize, Serialize};

/// A confirmed, unspent and unreserved output of the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utxo {
    pub outpoint: OutPoint,
    pub value: Satoshi,
    /// Path of the address that it pays; the script follows from it.
    pub path: DerivationPath,
}

/// What a node is asked before a transaction is built.
#[derive(Debug, Clone, Copy)]
pub struct AccountQuery<'a> {
    pub intent: &'a Intent,
    pub key: &'a GroupKey,
    /// Path of the paying account; `None` on Bitcoin.
    pub source: Option<DerivationPath>,
}

/// The answer, with fees already held between the configured floor and cap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountState {
    Bitcoin(BitcoinAccount),
    Ethereum(EthereumAccount),
    Xrp(XrpAccount),
}

impl AccountState {
    pub const fn chain(&self) -> Chain {
        match self {
            Self::Bitcoin(_) => Chain::Bitcoin,
            Self::Ethereum(_) => Chain::Ethereum,
            Self::Xrp(_) => Chain::Xrp,
        }
    }
    /// The first nonce or Sequence that no transaction in a block has used. The next one to use is the lowest from here up
    /// that is not reserved. `None` on Bitcoin.
    pub fn first_unused(&self) -> Option<u64> {
        match self {
            Self::Bitcoin(_) => None,
            Self::Ethereum(account) => Some(account.nonce),
            Self::Xrp(account) => Some(u64::from(account.sequence)),
        }
    }
    /// The resource that nonce or Sequence `number` of this account is. `None` on Bitcoin or beyond the chain's range.
    pub fn resource(&self, number: u64) -> Option<Resource> {
        match self {
            Self::Bitcoin(_) => None,
            Self::Ethereum(a) => Some(Resource::Nonce { account: a.address.clone(), nonce: number }),
            Self::Xrp(a) => {
                Some(Resource::Sequence { account: a.address.clone(), sequence: number.try_into().ok()? })
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitcoinAccount {
    /// In satoshi per 1000 virtual bytes (BIP-141).
    pub fee_rate: Satoshi,
    /// Candidates for selection. The node does not know them: the caller fills them in from the store.
    pub utxos: Vec<Utxo>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EthereumAccount {
    /// EIP-55 address of the paying account.
    pub address: String,
    /// Wei.
    pub balance: Amount,
    /// Base units of the intent's token; `None` when it pays ETH.
    pub token_balance: Option<Amount>,
    /// Transactions of the account in the latest block.
    pub nonce: u64,
    /// Estimate with its margin, within the cap.
    pub gas_limit: u64,
    /// Wei per gas (EIP-1559).
    pub max_fee_per_gas: u128,
    /// Wei per gas (EIP-1559).
    pub max_priority_fee_per_gas: u128,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XrpAccount {
    /// Classic address of the paying account.
    pub address: String,
    pub balance: Drops,
    /// Next Sequence in the validated ledger.
    pub sequence: u32,
    pub owner_count: u32,
    pub reserve_base: Drops,
    pub reserve_increment: Drops,
    /// Fee to offer, load included.
    pub fee: Drops,
    pub validated_ledger: u32,
    /// How many ledgers a transaction stays valid: `LastLedgerSequence = validated_ledger + ledger_window`.
    pub ledger_window: u32,
    pub destination: XrpDestination,
}

/// What the validated ledger says of the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XrpDestination {
    /// An account that does not exist is created by a payment of at least the base reserve.
    pub exists: bool,
    /// `lsfRequireDestTag`.
    pub requires_tag: bool,
    /// `lsfDepositAuth` without a preauthorization for us.
    pub refuses_deposit: bool,
}
