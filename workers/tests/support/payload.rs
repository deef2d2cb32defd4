//! What is signed on a chain in memory: one form for three kinds of chain.

use super::basics::fingerprint;
use bursar_domain::{
    effects::{OutPoint, Resource},
    network::Chain,
    wallet::DerivationPath,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payload {
    pub uses: Vec<Resource>,
    pub from: Vec<String>,
    /// Nobody: it takes the place of another, or pays for its parent.
    pub pays: Vec<Payout>,
    pub fee: u64,
    pub change: Option<Change>,
    /// No block above this height takes it.
    pub until: Option<u32>,
    /// It spends what this one returns to the wallet, and nothing else.
    pub parent: Option<Box<Payload>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Payout {
    pub to: String,
    pub amount: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    pub address: String,
    pub amount: u64,
    pub path: DerivationPath,
}

impl Payload {
    pub fn pays(&self, to: &str) -> bool {
        self.pays.iter().any(|payout| payout.to == to)
    }
    pub fn paid(&self) -> u64 {
        self.pays.iter().map(|payout| payout.amount).sum()
    }
    /// What its inputs are worth (Bitcoin).
    pub fn worth(&self) -> u64 {
        self.paid() + self.fee + self.change.as_ref().map_or(0, |change| change.amount)
    }
    /// It pays nobody, and takes the place of another.
    pub fn cancels(&self) -> bool {
        self.pays.is_empty() && self.parent.is_none()
    }
    pub fn shares(&self, other: &Self) -> bool {
        self.uses.iter().any(|resource| other.uses.contains(resource))
    }

    /// The account and the number of the one nonce or Sequence that it uses.
    pub fn number(&self) -> (&str, u64) {
        match &self.uses[0] {
            Resource::Nonce { account, nonce } => (account, *nonce),
            Resource::Sequence { account, sequence } => (account, u64::from(*sequence)),
            other => panic!("{other} is no number"),
        }
    }

    /// The output at `vout`: 1 is the change.
    pub fn outpoint(&self, vout: u32) -> OutPoint {
        let mut txid = [0; 32];
        txid[24..].copy_from_slice(&fingerprint(self).to_be_bytes());
        OutPoint { txid, vout }
    }
    pub fn makes(&self, outpoint: &OutPoint) -> bool {
        *outpoint == self.outpoint(0) || (self.change.is_some() && *outpoint == self.outpoint(1))
    }
}

/// A payload and the signature that one session gave it: two sessions over the same bytes give two signatures, as threshold signing
/// does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signed {
    pub payload: Payload,
    pub session: u64,
}

impl Signed {
    /// On Bitcoin the signature is no part of the id (BIP-141); elsewhere each session's transaction has its own.
    pub fn id(&self, chain: Chain) -> String {
        match chain {
            Chain::Bitcoin => format!("{:064x}", fingerprint(&self.payload)),
            _ => format!("{:016x}", fingerprint(self)),
        }
    }
}

pub fn numbered(chain: Chain, account: &str, number: u64) -> Resource {
    let account = account.to_owned();
    match chain {
        Chain::Xrp => Resource::Sequence { account, sequence: number.try_into().unwrap() },
        _ => Resource::Nonce { account, nonce: number },
    }
}
