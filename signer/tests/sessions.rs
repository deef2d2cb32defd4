//! Co-signers in one process, linked to a real relay over loopback: what they sign, and what they refuse.

#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, dead_code, reason = "helpers of tests fail the test")]

#[path = "sessions/fills.rs"]
mod fills;
#[path = "sessions/governance.rs"]
mod governance;
#[path = "sessions/hostile.rs"]
mod hostile;
#[path = "sessions/links.rs"]
mod links;
#[path = "protocol/network.rs"]
mod network;
#[path = "sessions/quorum.rs"]
mod quorum;
#[path = "sessions/replacing.rs"]
mod replacing;
#[path = "sessions/support.rs"]
mod support;
