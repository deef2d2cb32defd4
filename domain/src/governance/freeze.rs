//! Freezes: what nobody may sign until two people lift it.

use crate::{
    intent::{Intent, IntentDigest},
    network::Chain,
    wallet::WalletDescriptor,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

use super::directory::UserId;

/// What is frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Scope {
    Transfer { intent: IntentDigest },
    Wallet { wallet: WalletDescriptor },
    Chain { chain: Chain },
    All {},
}

impl Scope {
    pub fn covers(&self, intent: &Intent) -> bool {
        match self {
            Self::Transfer { intent: digest } => *digest == intent.digest(),
            Self::Wallet { wallet } => *wallet == intent.wallet,
            Self::Chain { chain } => *chain == intent.network().chain(),
            Self::All {} => true,
        }
    }
}
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer { intent } => write!(f, "transfer {intent}"),
            Self::Wallet { wallet } => write!(f, "wallet {wallet}"),
            Self::Chain { chain } => chain.fmt(f),
            Self::All {} => f.write_str("everything"),
        }
    }
}

/// A freeze in force. Named by the `seq` of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    pub seq: u64,
    pub scope: Scope,
    pub reason: String,
    pub by: UserId,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Freezes(BTreeMap<u64, Freeze>);

impl Freezes {
    /// The oldest freeze that covers this intent.
    pub fn covering(&self, intent: &Intent) -> Option<&Freeze> {
        self.0.values().find(|freeze| freeze.scope.covers(intent))
    }
    pub fn get(&self, seq: u64) -> Option<&Freeze> {
        self.0.get(&seq)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Freeze> {
        self.0.values()
    }
    pub(super) fn insert(&mut self, freeze: Freeze) {
        self.0.insert(freeze.seq, freeze);
    }
    pub(super) fn remove(&mut self, seq: u64) -> Option<Freeze> {
        self.0.remove(&seq)
    }
}
