//! The harness against the real programs.
#![allow(non_snake_case)]
// Helpers of tests are tests too, which clippy.toml cannot tell.
#![allow(clippy::unwrap_used)]

mod anvil;
mod bitcoind;
mod fault_proxy;
mod process;
mod xrp_ledger;
