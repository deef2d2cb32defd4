//! The pure side of the adapter, from outside: what is built is explained exactly, what is tampered with is refused, what
//! is signed is valid, and the ecosystem's own library agrees. `regtest` holds it against a real node.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod assembling;
mod differential;
mod flips;
mod hostile;
mod limits;
#[cfg(feature = "node")]
mod regtest;
mod replacing;
#[cfg(feature = "node")]
mod replacing_on_a_node;
mod round_trip;
#[cfg(feature = "node")]
mod statement;
mod support;
