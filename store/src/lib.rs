//! Everything that must survive: transfers, transactions, reservations, events, jobs, and what was seen on chain.
//!
//! The only crate that names sqlx. One code path serves SQLite and Postgres (`sqlx::Any`); what differs between them is in
//! `dialect`. Reads take a [`Store`]; writes take a [`WriteTx`], so that a caller decides what commits together.
//!
//! | module | what it keeps |
//! |---|---|
//! | [`transfers`] | intents and their status, moved by compare-and-set only |
//! | [`transactions`], [`reservations`] | what may pay, and the exclusive claims that keep it to one |
//! | [`events`], [`jobs`], [`sweep`] | the global log; one nudge for each transfer that wants looking at; what does not move |
//! | [`chain`], [`utxos`], [`deposits`] | blocks applied and rolled back, and what follows from them |
//! | [`wallets`], [`addresses`], [`keys`] | what is ours |
//! | [`halts`], [`gaps`], [`reconciliation`] | who may not send for now; numbers that nobody will use; what a reconciliation compares |
//! | [`governance`] | the signed log that says who may do what, and changes that wait for signatures |
//! | [`approvals`], [`velocity`], [`quotes`] | who approved what, what was decided and why; what transfers add to limited sums; prices |
//! | [`screenings`], [`reviews`], [`cases`] | what a screening service said; how people let through or end what it held; what compliance looks into |
//! | [`webhooks`] | where events are sent on to, and what came of it |
//! | [`api_keys`], [`sessions`], [`nonces`], [`idempotency`] | who calls, what is good once, and what was answered |
//! | [`act`], [`audit_log`] | who did what in the log, its chain of hashes, and what co-signers signed of it |

pub mod act;
pub mod addresses;
pub mod api_keys;
pub mod approvals;
pub mod audit_log;
mod boundary;
pub mod cases;
pub mod chain;
pub mod deposits;
mod dialect;
mod error;
pub mod events;
pub mod gaps;
pub mod governance;
pub mod halts;
pub mod idempotency;
pub mod jobs;
pub mod keys;
mod leads;
mod line;
mod migrate;
pub mod nonces;
pub mod page;
#[cfg(test)]
mod plans;
pub mod quotes;
mod readers;
pub mod reconciliation;
pub mod reservations;
pub mod reviews;
mod row;
pub mod screenings;
pub mod sessions;
mod signals;
mod signed;
mod store;
pub mod sweep;
pub mod transactions;
pub mod transfers;
pub mod travel_rule;
pub mod utxos;
pub mod velocity;
mod wal;
pub mod wallets;
pub mod webhooks;

pub use error::{Lack, StoreError};
pub use store::{Store, WriteTx};
