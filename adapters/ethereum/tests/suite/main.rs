//! The adapter from outside: as the signers and the workers use it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[cfg(feature = "node")]
mod anvil;
mod codec;
mod differential;
mod fills;
mod replacing;
#[cfg(feature = "node")]
mod replacing_on_anvil;
#[cfg(feature = "node")]
mod statement;
mod support;
#[cfg(feature = "node")]
mod traces;
#[cfg(feature = "node")]
mod unruly_node;
