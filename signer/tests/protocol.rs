//! The threshold protocols over an in-process network: what they should give, and what they should refuse.

#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "protocol/faults.rs"]
mod faults;
#[path = "protocol/network.rs"]
mod network;
#[path = "protocol/proofs.rs"]
mod proofs;
#[path = "protocol/shares.rs"]
mod shares;
#[path = "protocol/signing.rs"]
mod signing;
