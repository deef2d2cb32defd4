//! The intent to pay: what an initiator signs, people approve, co-signers verify, and the chain must show.

use crate::{
    amount::Amount,
    asset::Asset,
    canonical::Canonical,
    ids::ExternalId,
    network::{Chain, Network},
    text::hex_bytes,
    time::Timestamp,
    wallet::WalletDescriptor,
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Where a payment goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// The chain's canonical form: bech32(m) or base58 as given, EIP-55 checksummed, XRPL classic. At most 100 bytes.
    pub address: String,
    /// XRPL destination tag. Tag 0 is a tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<u32>,
}

/// One payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    pub destination: Destination,
    pub amount: Amount,
}

/// A payment, or on Bitcoin a batch of them in one transaction. Immutable once submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    pub external_id: ExternalId,
    pub wallet: WalletDescriptor,
    pub asset: Asset,
    /// Which of the wallet's own addresses pays, on chains with accounts; its first when absent. Absent on Bitcoin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    pub payments: Vec<Payment>,
    /// The most that the payment's transaction may cost, in the chain's own smallest unit.
    pub max_fee: Amount,
    /// Nothing is signed after this time. Microseconds since the epoch.
    pub expires_at: Timestamp,
}

/// The most payouts in one Bitcoin batch: 200 P2TR outputs are 8.6 kvB, far under the standard limit of 100 kvB.
pub const MAX_BATCH: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIntent {
    #[error("payments: at least one is needed")]
    NoPayments,
    #[error("payments: at most {max} in one transfer on {chain}")]
    TooManyPayments { chain: Chain, max: usize },
    #[error("payments[{index}].amount: must be greater than zero")]
    ZeroAmount { index: usize },
    #[error("payments: the total is too large")]
    Overflow,
    #[error("asset: {asset} is not paid from a {chain} wallet")]
    AssetOfOtherChain { asset: Asset, chain: Chain },
    #[error("payments[{index}].destination.tag: only XRP destinations have a tag")]
    UnexpectedTag { index: usize },
    #[error("payments[{index}].destination.address: must be 1 to 100 characters")]
    AddressLength { index: usize },
    #[error("payments[{index}]: pays the same destination as payments[{first}]; add the amounts up")]
    DuplicateDestination { index: usize, first: usize },
    #[error("source: must be absent on Bitcoin, where coins are selected from all of the wallet's addresses")]
    SourceOnBitcoin,
}

impl Intent {
    pub fn network(&self) -> Network {
        self.wallet.network
    }

    /// What must hold of every intent whatever the chain's state. Addresses are checked by the chain's adapter.
    pub fn validate(&self) -> Result<(), InvalidIntent> {
        let chain = self.network().chain();
        let max = if chain == Chain::Bitcoin { MAX_BATCH } else { 1 };
        if self.payments.is_empty() {
            return Err(InvalidIntent::NoPayments);
        }
        if self.payments.len() > max {
            return Err(InvalidIntent::TooManyPayments { chain, max });
        }
        if self.asset.chain() != chain {
            return Err(InvalidIntent::AssetOfOtherChain { asset: self.asset, chain });
        }
        if chain == Chain::Bitcoin && self.source.is_some() {
            return Err(InvalidIntent::SourceOnBitcoin);
        }
        let mut seen = std::collections::BTreeMap::new();
        for (index, payment) in self.payments.iter().enumerate() {
            if payment.amount.is_zero() {
                return Err(InvalidIntent::ZeroAmount { index });
            }
            if payment.destination.tag.is_some() && chain != Chain::Xrp {
                return Err(InvalidIntent::UnexpectedTag { index });
            }
            if !(1..=100).contains(&payment.destination.address.len()) {
                return Err(InvalidIntent::AddressLength { index });
            }
            if let Some(first) = seen.insert(&payment.destination, index) {
                return Err(InvalidIntent::DuplicateDestination { index, first });
            }
        }
        self.total().map(|_| ()).ok_or(InvalidIntent::Overflow)
    }

    /// The sum of the payouts; `None` on overflow.
    pub fn total(&self) -> Option<Amount> {
        Amount::sum(self.payments.iter().map(|payment| payment.amount))
    }

    /// The bytes that an initiator signs.
    pub fn canonical(&self) -> Canonical {
        let mut out = Canonical::new("bursar/intent/v1")
            .text(&self.external_id)
            .text(self.wallet)
            .text(self.asset)
            .optional(self.source.as_ref())
            .text(self.max_fee)
            .number(self.expires_at.micros().cast_unsigned())
            .number(self.payments.len() as u64);
        for Payment { destination, amount } in &self.payments {
            out = out.text(&destination.address).optional(destination.tag).text(amount);
        }
        out
    }

    /// Names this intent everywhere: two intents with the same digest are the same intent.
    pub fn digest(&self) -> IntentDigest {
        IntentDigest(self.canonical().digest())
    }
}

/// SHA-256 of an intent's canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IntentDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl std::fmt::Display for IntentDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// An initiator's Ed25519 public key (RFC 8032), which co-signers pin in their rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InitiatorKey(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl std::fmt::Display for InitiatorKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// An intent with the signature of who initiated it, over [`Intent::canonical`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIntent {
    pub intent: Intent,
    pub initiator: InitiatorKey,
    #[serde(with = "hex_bytes")]
    pub signature: [u8; 64],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInitiatorSignature {
    #[error("initiator: not a valid Ed25519 public key")]
    Key,
    #[error("signature: is not the initiator's over this intent")]
    Signature,
}

impl SignedIntent {
    /// Strict verification (no small-order keys, no malleable signatures).
    pub fn verify_signature(&self) -> Result<(), InvalidInitiatorSignature> {
        let key = VerifyingKey::from_bytes(&self.initiator.0).map_err(|_| InvalidInitiatorSignature::Key)?;
        key.verify_strict(self.intent.canonical().as_bytes(), &Signature::from_bytes(&self.signature))
            .map_err(|_| InvalidInitiatorSignature::Signature)
    }
}
