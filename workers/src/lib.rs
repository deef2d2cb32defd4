//! The engine: takes a transfer from one state to the next until it ends.
//!
//! A job says "look at transfer X"; [`engine`] loads the row, asks the domain which [`Step`](bursar_domain::lifecycle::Step) is
//! next and runs it from `steps`. Each step persists what it is about to do, commits, acts, and persists the outcome. Running a
//! step twice changes nothing; losing every job costs time, because [`reconciler`] finds whatever has not moved.
//!
//! [`follower`] walks each chain's blocks once for all transfers. [`webhooks`] sends the event log on. [`queue`] is the only module that names apalis.

pub mod authorization;
pub mod checkpoints;
pub mod context;
pub mod crash;
pub mod deposits;
pub mod engine;
pub mod follower;
pub mod frozen;
pub mod gaps;
pub mod governance;
pub mod orders;
mod places;
pub mod preflight;
pub mod queue;
mod readings;
pub mod reconciler;
pub mod reconciliation;
pub mod requests;
pub mod runtime;
pub mod screening;
pub mod sealer;
mod steps;
mod transition;
pub mod travel_rule;
mod turns;
mod tx_id;
pub mod webhooks;
mod windows;

pub use context::{ChainPorts, Context, NoSigner, Replacement, Settings};
pub use runtime::Workers;
pub use tx_id::tx_id;
