//! The Bitcoin adapter: taproot key-path (BIP-341, BIP-86) and P2WPKH (BIP-84) wallets over PSBTs (BIP-174).
//!
//! | module | what it does |
//! |---|---|
//! | [`address`] | derives our addresses, reads other people's |
//! | [`mod@build`] | intent + coins → unsigned PSBT: coin selection, fee, change, dust; replacements, cancellations, children |
//! | [`mod@decode`] | unsigned PSBT → effects, or a refusal. Written apart from `build`; it imports nothing of it |
//! | [`sighash`] | the digests that a PSBT needs signatures over |
//! | [`mod@assemble`] | verified signatures → broadcastable transaction |
//! | [`node`] (feature `node`) | fees, broadcast and blocks from a Bitcoin Core node without a wallet |
//!
//! Everything but [`node`] is pure and deterministic, and is what co-signers use.

pub mod address;
pub mod assemble;
pub mod build;
pub mod decode;
#[cfg(feature = "node")]
pub mod node;
pub mod sighash;

pub use decode::{ClaimedInput, OwnOutput};
#[cfg(feature = "node")]
pub use node::{BitcoinNode, BitcoinNodeConfig, FeePolicy, InvalidNodeConfig, NodeAuth, Password};

/// The pure side of Bitcoin: implements `DeriveAddress`, `BuildTransaction`, `ReplaceTransaction`,
/// `DecodeTransaction` and `AssembleTransaction` of [`bursar_domain::ports`].
#[derive(Debug, Clone, Copy, Default)]
pub struct BitcoinAdapter;
