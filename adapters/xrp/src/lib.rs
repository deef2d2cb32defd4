//! XRP Ledger: XRP payments from accounts whose keys are threshold keys.
//!
//! The pure side ([`XrpAdapter`]) composes, explains and assembles transactions, and is all that a co-signer links. The
//! node side (feature `node`) talks JSON-RPC to one rippled or Clio server.
//!
//! A payment is unique by its account's Sequence or Ticket, never by its hash: two threshold signatures over one payload
//! differ, and so have two hashes. Each carries `LastLedgerSequence`, which is what lets an unapplied payment be proven
//! dead and its intent paid again.
//!
//! | module | what it does |
//! |---|---|
//! | [`address`] | accounts of public keys, classic addresses and X-addresses |
//! | [`build`] | an intent and an account's state to transaction fields, serialised by `xrpl-rust` |
//! | [`decode`] | serialised fields to effects, by a parser of its own: what it cannot explain is refused |
//! | [`assemble`] | a verified signature to a blob and its hash |
//! | `node` | reserves, fees, submission, validated ledgers, and the proof that a payment is dead |

pub mod address;
pub mod assemble;
pub mod build;
pub mod decode;
#[cfg(feature = "node")]
pub mod node;

mod codec;
mod keys;

#[cfg(feature = "node")]
pub use node::{FeeBounds, XrpNode, XrpNodeConfig};

/// The pure side. Holds nothing: what it needs comes with each call.
#[derive(Debug, Clone, Copy, Default)]
pub struct XrpAdapter;

/// NetworkIDs above this one are part of each transaction; at or below it the field is forbidden.
/// <https://xrpl.org/docs/references/protocol/transactions/common-fields#networkid-field>
const LAST_IMPLICIT_NETWORK_ID: u32 = 1024;
