//! The signing package: everything that a co-signer needs to decide for itself.

use crate::{
    canonical::Canonical,
    governance::authorization::Authorization,
    ids::{TransactionId, TransferId},
    intent::{Proof, SignedIntent},
    recall::{RecallSignature, SignedRecall},
    text::{hex_bytes, hex_vec},
    wallet::{DerivationPath, WalletDescriptor},
};
use serde::{Deserialize, Serialize};

/// An unsigned transaction in its adapter's own encoding, complete enough to be decoded and hashed without a node.
///
/// `bytes`: a BIP-174 PSBT whose inputs carry `witness_utxo` and key origins (Bitcoin); the EIP-1559 signing payload
/// `0x02 ‖ rlp([...])` (Ethereum); the serialised transaction fields without `TxnSignature` (XRP).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsignedTransaction {
    pub wallet: WalletDescriptor,
    /// The path of the paying account; absent on Bitcoin, where the PSBT tells it for each input.
    pub source: Option<DerivationPath>,
    #[serde(with = "hex_vec")]
    pub bytes: Vec<u8>,
}

/// A complete, valid transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// The chain's own id, as explorers show it: txid, `0x` transaction hash, or XRPL upper-case hash.
    pub tx_id: String,
    #[serde(with = "hex_vec")]
    pub bytes: Vec<u8>,
}

/// What a transaction of a transfer is for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "purpose", rename_all = "camelCase")]
pub enum Purpose {
    /// Pays the recipients: the first transaction, and each that replaces it with a higher fee.
    #[default]
    Pay,
    /// Takes the place of earlier ones and pays nobody: all to the wallet itself (Bitcoin), zero wei to the account itself
    /// (Ethereum), an AccountSet that sets nothing (XRP).
    Cancel,
    /// Child pays for parent (Bitcoin): spends change of `parent`, which must be a payment of the same intent, to the wallet
    /// itself, so that miners take both.
    Child { parent: Box<UnsignedTransaction> },
}

impl Purpose {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pay => "pay",
            Self::Cancel => "cancel",
            Self::Child { .. } => "child",
        }
    }
}

/// What goes to each co-signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningPackage {
    pub transfer: TransferId,
    pub transaction: TransactionId,
    pub intent: SignedIntent,
    /// Payouts of the intent that its initiator has taken back.
    #[serde(default)]
    pub recalls: Vec<SignedRecall>,
    #[serde(default)]
    pub purpose: Purpose,
    pub unsigned: UnsignedTransaction,
    /// The evidence that co-signers with a governance log ask for; absent where nobody has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
}

/// SHA-256 of a package's canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl SigningPackage {
    pub fn digest(&self) -> PackageDigest {
        let (tag, who, signature) = match &self.intent.proof {
            Proof::Key { initiator, signature } => {
                ("bursar/package/v3", initiator.0.to_vec(), signature.to_vec())
            }
            // Serialised by both ends from the same types, which have one order each; so is the evidence below.
            Proof::User { signature } => ("bursar/package/v4", Vec::new(), json(signature).into_bytes()),
        };
        let mut canonical = Canonical::new(tag)
            .text(self.transfer)
            .text(self.transaction)
            .bytes(self.intent.intent.canonical().as_bytes())
            .bytes(&who)
            .bytes(&signature)
            .number(self.recalls.len() as u64);
        for recall in &self.recalls {
            let signature = match &recall.signature {
                RecallSignature::Key(signature) => signature.to_vec(),
                RecallSignature::User(signature) => json(signature).into_bytes(),
            };
            canonical = canonical.number(u64::from(recall.payment)).bytes(&signature);
        }
        canonical = unsigned(canonical.text(self.purpose.name()), &self.unsigned);
        if let Purpose::Child { parent } = &self.purpose {
            canonical = unsigned(canonical, parent);
        }
        PackageDigest(canonical.optional(self.authorization.as_ref().map(json)).digest())
    }
}

fn json(plain: &impl Serialize) -> String {
    serde_json::to_string(plain).expect("plain data with string keys always serialises")
}

fn unsigned(canonical: Canonical, transaction: &UnsignedTransaction) -> Canonical {
    canonical
        .text(transaction.wallet)
        .optional(transaction.source.map(|path| path.to_string()))
        .bytes(&transaction.bytes)
}
