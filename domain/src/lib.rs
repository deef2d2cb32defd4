//! The vocabulary and the rules of Bursar, free of I/O.
//!
//! Everything here is pure: no runtime, no database, no network, no clock and no randomness. Callers pass
//! those in. What decides about money lives here once and is shared by the orchestrator and the co-signers.
//!
//! | module | what it holds |
//! |---|---|
//! | [`ids`], [`time`], [`amount`], [`asset`], [`network`] | the units that cross module boundaries |
//! | [`wallet`], [`hd`] | what a wallet is, and its non-hardened key derivation |
//! | [`intent`] | what an initiator signs: the one thing that may be paid, at most once; [`fill`]: or the nonce to use up |
//! | [`effects`] | what an unsigned transaction does, as decoded; [`verify`] holds it against an intent |
//! | [`lifecycle`] | the one state machine of a transfer |
//! | [`package`], [`signing`] | what goes to each co-signer, and what comes back |
//! | [`account`], [`chain`], [`ports`], [`statement`] | what a chain adapter is given, tells, and must implement |
//! | [`audit`] | the event log as a chain that co-signers sign |
//! | [`governance`] | who may do what: the signed log that everybody replays |
//! | [`screening`] | what a screening service is asked and answers |
//! | [`travel_rule`] | what the institution at the other end is told, and whether it must be |
//! | [`health`] | how the nodes of a chain do |

pub mod account;
pub mod amount;
pub mod asset;
pub mod audit;
pub mod canonical;
pub mod chain;
pub mod effects;
pub mod fill;
pub mod governance;
pub mod hd;
pub mod health;
pub mod ids;
pub mod intent;
pub mod lifecycle;
pub mod network;
pub mod package;
pub mod ports;
pub mod recall;
pub mod screening;
pub mod signing;
pub mod statement;
pub mod text;
pub mod time;
pub mod travel_rule;
pub mod verify;
pub mod wallet;
