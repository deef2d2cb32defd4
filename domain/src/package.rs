//! The signing package: everything that a co-signer needs to decide for itself.

use crate::{
    canonical::Canonical,
    ids::{TransactionId, TransferId},
    intent::SignedIntent,
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

/// What goes to each co-signer. Policy version, approvals and screening verdict join it with governance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningPackage {
    pub transfer: TransferId,
    pub transaction: TransactionId,
    pub intent: SignedIntent,
    pub unsigned: UnsignedTransaction,
}

/// SHA-256 of a package's canonical bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PackageDigest(#[serde(with = "hex_bytes")] pub [u8; 32]);

impl SigningPackage {
    pub fn digest(&self) -> PackageDigest {
        let source = self.unsigned.source.map(|path| path.to_string());
        let canonical = Canonical::new("bursar/package/v1")
            .text(self.transfer)
            .text(self.transaction)
            .bytes(self.intent.intent.canonical().as_bytes())
            .bytes(&self.intent.initiator.0)
            .bytes(&self.intent.signature)
            .text(self.unsigned.wallet)
            .optional(source)
            .bytes(&self.unsigned.bytes);
        PackageDigest(canonical.digest())
    }
}
