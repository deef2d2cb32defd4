//! What is asked.

use super::is_text;
use crate::{
    amount::Amount,
    asset::Asset,
    canonical::Canonical,
    ids::{DepositId, TransferId},
    intent::{IntentDigest, InvalidInitiatorSignature, InvalidIntent, MAX_BATCH, SignedIntent},
    network::Network,
    text::hex_bytes,
};
use serde::{Deserialize, Serialize};

const MAX_ADDRESS: usize = 100;
const MAX_TX_ID: usize = 128;
/// Of a deposit. One with more is not screened by a part of them: it waits for people.
pub const MAX_SENDERS: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "kind",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Inquiry {
    /// Before anything is signed. Carries the whole order, whose digest the verdict names: the screening service computes it itself, so that
    /// a verdict about one payee cannot be had for another.
    Outbound { order: Box<SignedIntent> },
    /// After broadcast: registers what was paid, so that alerts come for it.
    Broadcast {
        transfer: TransferId,
        intent: IntentDigest,
        network: Network,
        tx_id: String,
        payments: Vec<Payee>,
    },
    /// Money that came in.
    Deposit {
        deposit: DepositId,
        network: Network,
        asset: Asset,
        tx_id: String,
        /// Bitcoin: the output. Elsewhere: which transfer of the transaction (an ERC-20 log's index), 0 where there is one only.
        index: u32,
        /// Ours, at which it arrived.
        address: String,
        /// Whose it was, as far as that can be told.
        from: Vec<String>,
        amount: Amount,
    },
    /// An address by itself.
    Address { network: Network, address: String },
}

/// Who was paid, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payee {
    pub address: String,
    /// XRPL destination tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
    pub asset: Asset,
    pub amount: Amount,
}

/// Names an inquiry: SHA-256 of its canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InquiryDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInquiry {
    #[error("order.{0}")]
    Intent(#[from] InvalidIntent),
    #[error("order.{0}")]
    Signature(#[from] InvalidInitiatorSignature),
    #[error("order: fills a nonce and pays nobody; there is nobody to screen")]
    PaysNobody,
    #[error("{field}: must be 1 to {max} characters without control characters")]
    Text { field: &'static str, max: usize },
    #[error("{field}: {min} to {max} are allowed")]
    Count { field: &'static str, min: usize, max: usize },
    #[error("asset: {asset} is not of network {network}")]
    AssetOfOtherChain { asset: Asset, network: Network },
}

impl Inquiry {
    /// The order that is about to be paid.
    pub fn outbound(order: SignedIntent) -> Self {
        Self::Outbound { order: Box::new(order) }
    }

    pub const fn network(&self) -> Network {
        match self {
            Self::Outbound { order } => order.intent.wallet.network,
            Self::Broadcast { network, .. }
            | Self::Deposit { network, .. }
            | Self::Address { network, .. } => *network,
        }
    }

    /// For people and counters.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Outbound { .. } => "OUTBOUND",
            Self::Broadcast { .. } => "BROADCAST",
            Self::Deposit { .. } => "DEPOSIT",
            Self::Address { .. } => "ADDRESS",
        }
    }

    /// What must hold of every inquiry; of an order of a desk without a governance log, its initiator's signature, too.
    ///
    /// That of a user of a governed desk is for whoever has the desk's log, which a screening service has not: a passkey's assertion means nothing
    /// without its public key. Nothing is lost by that. The verdict names the desk and the digest of this very order, terms and all, and is
    /// worth nothing but to co-signers, who verify the order before they look at it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its field.
    pub fn validate(&self) -> Result<(), InvalidInquiry> {
        match self {
            Self::Outbound { order } => {
                order.intent.validate()?;
                if order.intent.fills.is_some() {
                    return Err(InvalidInquiry::PaysNobody);
                }
                match order.intent.terms {
                    None => Ok(order.verify_key().map(drop)?),
                    Some(_) => Ok(order.by_whom_it_names().map(drop)?),
                }
            }
            Self::Broadcast { network, tx_id, payments, .. } => {
                text("txId", tx_id, MAX_TX_ID)?;
                count("payments", payments.len(), 1, MAX_BATCH)?;
                payments.iter().try_for_each(|payee| {
                    text("payments.address", &payee.address, MAX_ADDRESS)?;
                    of_network(payee.asset, *network)
                })
            }
            Self::Deposit { network, asset, tx_id, address, from, .. } => {
                text("txId", tx_id, MAX_TX_ID)?;
                text("address", address, MAX_ADDRESS)?;
                count("from", from.len(), 0, MAX_SENDERS)?;
                from.iter().try_for_each(|sender| text("from", sender, MAX_ADDRESS))?;
                of_network(*asset, *network)
            }
            Self::Address { address, .. } => text("address", address, MAX_ADDRESS),
        }
    }

    /// Every field of it, but for an order's signature: the order's digest names it.
    pub fn canonical(&self) -> Canonical {
        let out = Canonical::new("bursar/inquiry/v1").text(self.kind());
        match self {
            Self::Outbound { order } => out.bytes(&order.intent.digest().0),
            Self::Broadcast { transfer, intent, network, tx_id, payments } => {
                let out = out.text(transfer).bytes(&intent.0).text(network).text(tx_id);
                payments.iter().fold(out.number(payments.len() as u64), |out, payee| {
                    let Payee { address, tag, asset, amount } = payee;
                    out.text(address).optional(*tag).text(asset).text(amount)
                })
            }
            Self::Deposit { deposit, network, asset, tx_id, index, address, from, amount } => {
                let out = out.text(deposit).text(network).text(asset).text(tx_id).number(u64::from(*index));
                let out = out.text(address).text(amount).number(from.len() as u64);
                from.iter().fold(out, Canonical::text)
            }
            Self::Address { network, address } => out.text(network).text(address),
        }
    }

    pub fn digest(&self) -> InquiryDigest {
        InquiryDigest(self.canonical().digest())
    }

    /// What a provider knows part `part` of this inquiry's round `round` by: 32 hex digits, the same whenever it is asked again. The parts
    /// are the payees or senders, in order.
    pub fn external_id(&self, round: u32, part: u32) -> String {
        let name = Canonical::new("bursar/screening/v1")
            .bytes(&self.digest().0)
            .number(u64::from(round))
            .number(u64::from(part));
        hex::encode(&name.digest()[..16])
    }
}

fn text(field: &'static str, text: &str, max: usize) -> Result<(), InvalidInquiry> {
    let valid = !text.is_empty() && is_text(text, max);
    valid.then_some(()).ok_or(InvalidInquiry::Text { field, max })
}

fn count(field: &'static str, count: usize, min: usize, max: usize) -> Result<(), InvalidInquiry> {
    (min..=max).contains(&count).then_some(()).ok_or(InvalidInquiry::Count { field, min, max })
}

fn of_network(asset: Asset, network: Network) -> Result<(), InvalidInquiry> {
    let fits = asset.chain() == network.chain();
    fits.then_some(()).ok_or(InvalidInquiry::AssetOfOtherChain { asset, network })
}
