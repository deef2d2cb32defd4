//! The governance log by its API and by the command line: an API in this process with a clock that the tests turn, and `bursar` as a
//! process, as people run it.
#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail the test")]

#[path = "governance/access.rs"]
mod access;
#[path = "governance/addresses.rs"]
mod addresses;
#[path = "governance/api.rs"]
mod api;
#[path = "governance/cli.rs"]
mod cli;
#[path = "governance/deposits.rs"]
mod deposits;
#[path = "governance/halts.rs"]
mod halts;
#[path = "governance/login.rs"]
mod login;
#[path = "governance/objects.rs"]
mod objects;
#[path = "governance/orders.rs"]
mod orders;
#[path = "governance/recalls.rs"]
mod recalls;
#[path = "governance/reviews.rs"]
mod reviews;
#[path = "governance/server.rs"]
mod server;
#[path = "governance/signatures.rs"]
mod signatures;
#[path = "governance/submissions.rs"]
mod submissions;
#[path = "governance/travel_rule.rs"]
mod travel_rule;
#[path = "governance/uses.rs"]
mod uses;
#[path = "governance/votes.rs"]
mod votes;
#[path = "governance/webhooks.rs"]
mod webhooks;
