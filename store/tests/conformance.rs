//! What every database behind the store must do. Each test runs on SQLite by itself, and all of them on Postgres in `on_postgres`.
#![allow(non_snake_case)]
#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

#[path = "conformance/audit_log.rs"]
mod audit_log;
#[path = "conformance/authorization.rs"]
mod authorization;
#[path = "conformance/chain.rs"]
mod chain;
#[path = "conformance/deposits.rs"]
mod deposits;
#[path = "conformance/events.rs"]
mod events;
#[path = "conformance/fixtures.rs"]
mod fixtures;
#[path = "conformance/governance.rs"]
mod governance;
#[path = "conformance/halts.rs"]
mod halts;
#[path = "conformance/jobs.rs"]
mod jobs;
#[path = "conformance/model.rs"]
mod model;
#[path = "conformance/on_postgres.rs"]
mod on_postgres;
#[path = "conformance/ours.rs"]
mod ours;
#[path = "conformance/rows.rs"]
mod rows;
#[path = "conformance/screening.rs"]
mod screening;
#[path = "conformance/transactions.rs"]
mod transactions;
#[path = "conformance/transfers.rs"]
mod transfers;
#[path = "conformance/travel_rule.rs"]
mod travel_rule;
#[path = "conformance/webhooks.rs"]
mod webhooks;
