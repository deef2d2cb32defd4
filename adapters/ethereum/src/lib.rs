//! Ethereum and ERC-20: EIP-1559 payments from externally owned accounts.
//!
//! | module | what it holds |
//! |---|---|
//! | `address` | our addresses derived (EIP-55), others' read |
//! | `build` | intent and facts to unsigned bytes, by alloy |
//! | `rlp`, `decode` | unsigned bytes to effects, by a reader of its own, so that one mistake cannot be in both |
//! | `assemble` | signatures verified and put in |
//! | `node` | the JSON-RPC client (feature `node`) |
//!
//! A payment is one type-2 transaction: plain ETH with empty calldata, or `transfer(address,uint256)` of one token with
//! value zero. Nothing else is built and nothing else is explained.

mod address;
mod assemble;
mod build;
mod decode;
#[cfg(feature = "node")]
pub mod node;
mod rlp;

#[cfg(feature = "node")]
pub use node::{EthereumNode, EthereumNodeConfig, FeePolicy, Finality, InvalidNodeConfig, Traces};

/// The pure side: addresses, building, decoding, assembling. Co-signers use it too.
#[derive(Debug, Clone, Copy, Default)]
pub struct EthereumAdapter;

/// What a transaction costs at least (Yellow Paper, `G_transaction`).
pub const MIN_GAS_LIMIT: u64 = 21_000;

/// More gas than any transfer needs; above it a transaction is refused.
pub const MAX_GAS_LIMIT: u64 = 30_000_000;
