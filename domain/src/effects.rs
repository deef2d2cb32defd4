//! What an unsigned transaction does, as an adapter's `decode` explains it.

use crate::{
    amount::Amount,
    asset::Asset,
    intent::Payment,
    network::{Chain, Network},
    text::serde_as_text,
    wallet::DerivationPath,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Everything a transaction does. A decoder that cannot account for every byte refuses instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effects {
    pub network: Network,
    pub asset: Asset,
    /// The wallet's own addresses that pay, without repetition, in order of first use.
    pub from: Vec<String>,
    /// Payments to others, in the transaction's order.
    pub payments: Vec<Payment>,
    /// The most it can cost, in the chain's smallest unit: exact on Bitcoin and XRP, `gas_limit × max_fee_per_gas` on
    /// Ethereum.
    pub fee: Amount,
    /// What returns to the wallet.
    pub change: Vec<Change>,
    /// What makes it unique; any of these can be used by one final transaction only.
    pub resources: Vec<Resource>,
    pub validity: Validity,
}

/// An output back to the wallet itself, proven by deriving its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub address: String,
    pub amount: Amount,
    pub path: DerivationPath,
}

/// Until when a ledger may still apply the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Validity {
    /// For ever, as long as its resources are unused.
    Unlimited,
    /// XRPL `LastLedgerSequence`: not in a ledger after this one.
    UntilLedger(u32),
}

/// An exclusive claim: what makes a chain transaction unique.
///
/// Text form, the key of the store's unique index: `<chain>/utxo/<txid>:<vout>`, `<chain>/nonce/<account>/<n>`,
/// `<chain>/sequence/<account>/<n>`, `<chain>/ticket/<account>/<n>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    Utxo(OutPoint),
    Nonce { account: String, nonce: u64 },
    Sequence { account: String, sequence: u32 },
    Ticket { account: String, ticket: u32 },
}

impl Resource {
    pub const fn chain(&self) -> Chain {
        match self {
            Self::Utxo(_) => Chain::Bitcoin,
            Self::Nonce { .. } => Chain::Ethereum,
            Self::Sequence { .. } | Self::Ticket { .. } => Chain::Xrp,
        }
    }
}
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Utxo(outpoint) => write!(f, "bitcoin/utxo/{outpoint}"),
            Self::Nonce { account, nonce } => write!(f, "ethereum/nonce/{account}/{nonce}"),
            Self::Sequence { account, sequence } => write!(f, "xrp/sequence/{account}/{sequence}"),
            Self::Ticket { account, ticket } => write!(f, "xrp/ticket/{account}/{ticket}"),
        }
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a resource: expected such as bitcoin/utxo/<txid>:<vout> or ethereum/nonce/<account>/<n>")]
pub struct InvalidResource;
impl FromStr for Resource {
    type Err = InvalidResource;
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        let parts: Vec<&str> = text.split('/').collect();
        let resource = match parts[..] {
            ["bitcoin", "utxo", outpoint] => Self::Utxo(outpoint.parse()?),
            ["ethereum", "nonce", account, n] => {
                Self::Nonce { account: account.into(), nonce: n.parse().map_err(|_| InvalidResource)? }
            }
            ["xrp", "sequence", account, n] => {
                Self::Sequence { account: account.into(), sequence: n.parse().map_err(|_| InvalidResource)? }
            }
            ["xrp", "ticket", account, n] => {
                Self::Ticket { account: account.into(), ticket: n.parse().map_err(|_| InvalidResource)? }
            }
            _ => return Err(InvalidResource),
        };
        (resource.to_string() == text).then_some(resource).ok_or(InvalidResource)
    }
}
serde_as_text!(Resource);

/// A Bitcoin transaction output. Text form `<txid>:<vout>` with the txid in its usual (reversed) hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OutPoint {
    /// In the order that is shown to people, which is the reverse of the one that is hashed.
    pub txid: [u8; 32],
    pub vout: u32,
}
impl fmt::Display for OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", hex::encode(self.txid), self.vout)
    }
}
impl FromStr for OutPoint {
    type Err = InvalidResource;
    fn from_str(text: &str) -> Result<Self, InvalidResource> {
        let (txid_hex, vout) = text.split_once(':').ok_or(InvalidResource)?;
        let mut txid = [0u8; 32];
        hex::decode_to_slice(txid_hex, &mut txid).map_err(|_| InvalidResource)?;
        Ok(Self { txid, vout: vout.parse().map_err(|_| InvalidResource)? })
    }
}
serde_as_text!(OutPoint);
