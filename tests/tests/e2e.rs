//! End-to-end tests: real bitcoind and anvil, the XRP Ledger stand-in, three co-signer processes and the orchestrator, driven by its
//! API and its CLI. Each test starts an environment of its own below cargo's target folder and leaves it there when it fails.

#![allow(non_snake_case)]

#[path = "e2e/apart.rs"]
mod apart;
#[path = "e2e/audit.rs"]
mod audit;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/bench.rs"]
mod bench;
#[path = "e2e/chaos.rs"]
mod chaos;
#[path = "e2e/cli.rs"]
mod cli;
#[path = "e2e/contract_payments.rs"]
mod contract_payments;
#[path = "e2e/cosigners.rs"]
mod cosigners;
#[path = "e2e/crash_points.rs"]
mod crash_points;
#[path = "e2e/crashes.rs"]
mod crashes;
#[path = "e2e/desk.rs"]
mod desk;
#[path = "e2e/development_signer.rs"]
mod development_signer;
#[path = "e2e/documented.rs"]
mod documented;
#[path = "e2e/events.rs"]
mod events;
#[path = "e2e/gaps.rs"]
mod gaps;
#[path = "e2e/governed.rs"]
mod governed;
#[path = "e2e/hostile_rows.rs"]
mod hostile_rows;
#[path = "e2e/lost_replies.rs"]
mod lost_replies;
#[path = "e2e/many_machines.rs"]
mod many_machines;
#[path = "e2e/nodes.rs"]
mod nodes;
#[path = "e2e/payments.rs"]
mod payments;
#[path = "e2e/read_only.rs"]
mod read_only;
#[path = "e2e/reconcile.rs"]
mod reconcile;
#[path = "e2e/refusals.rs"]
mod refusals;
#[path = "e2e/reorgs.rs"]
mod reorgs;
#[path = "e2e/replacement.rs"]
mod replacement;
#[path = "e2e/resources.rs"]
mod resources;
#[path = "e2e/schemathesis.rs"]
mod schemathesis;
#[path = "e2e/travel_rule.rs"]
mod travel_rule;
#[path = "e2e/wall_clock.rs"]
mod wall_clock;
#[path = "e2e/world.rs"]
mod world;
#[path = "e2e/xrp_nodes.rs"]
mod xrp_nodes;

use bursar_tests::ledger;
