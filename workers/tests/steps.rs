//! The engine against a real store, a fake chain and fake co-signers: whatever dies, whenever, however often, one intent is
//! at most one payment, and nothing is lost.
#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

#[path = "steps/authorize.rs"]
mod authorize;
#[path = "steps/checkpoints.rs"]
mod checkpoints;
#[path = "steps/child.rs"]
mod child;
#[path = "steps/crash.rs"]
mod crash;
#[path = "steps/dead.rs"]
mod dead;
#[path = "steps/ends.rs"]
mod ends;
#[path = "steps/fill.rs"]
mod fill;
#[path = "steps/follow.rs"]
mod follow;
#[path = "steps/governance.rs"]
mod governance;
#[path = "steps/halts.rs"]
mod halts;
#[path = "steps/jobs.rs"]
mod jobs;
#[path = "steps/later.rs"]
mod later;
#[path = "steps/recall.rs"]
mod recall;
#[path = "steps/reconciliation.rs"]
mod reconciliation;
#[path = "steps/repeat.rs"]
mod repeat;
#[path = "steps/replace.rs"]
mod replace;
#[path = "steps/screening.rs"]
mod screening;
#[path = "support/shared.rs"]
mod shared;
#[path = "steps/signing.rs"]
mod signing;
#[path = "steps/support.rs"]
mod support;
#[path = "steps/sweep.rs"]
mod sweep;
#[path = "steps/travel_rule.rs"]
mod travel_rule;
#[path = "steps/velocity.rs"]
mod velocity;
