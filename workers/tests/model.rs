//! The model check of the lifecycle: random interleavings of two processes over one store, their deaths, and what chains, nodes and
//! co-signers do, held against the rules after every step. docs/testing.md tells how to run more of it.
#![allow(non_snake_case)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper fails its test")]

#[path = "model/action.rs"]
mod action;
#[path = "model/actor.rs"]
mod actor;
#[path = "model/books.rs"]
mod books;
#[path = "model/broken.rs"]
mod broken;
#[path = "model/clocks.rs"]
mod clocks;
#[path = "model/fillers.rs"]
mod fillers;
#[path = "model/ledger.rs"]
mod ledger;
#[path = "model/node.rs"]
mod node;
#[path = "model/orphans.rs"]
mod orphans;
#[path = "model/restored.rs"]
mod restored;
#[path = "model/rules.rs"]
mod rules;
#[path = "model/run.rs"]
mod run;
#[path = "model/sabotage.rs"]
mod sabotage;
#[path = "support/shared.rs"]
mod shared;
#[path = "model/signer.rs"]
mod signer;
#[path = "model/world.rs"]
mod world;

use bursar_domain::network::Chain;

#[test]
fn bitcoin__should_keep_the_rules_whatever_happens() {
    run::cases(Chain::Bitcoin);
}

#[test]
fn ethereum__should_keep_the_rules_whatever_happens() {
    run::cases(Chain::Ethereum);
}

#[test]
fn xrp__should_keep_the_rules_whatever_happens() {
    run::cases(Chain::Xrp);
}
