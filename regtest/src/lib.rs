//! Local chains for tests and development: starts and stops bitcoind (regtest), anvil, the XRP Ledger stand-in, Postgres and
//! any other process on free ports, each with a folder of its own; funds addresses, mines, reorganises; sits between a client
//! and a node as a proxy that misbehaves on command; and waits for things with a bound.
//!
//! Everything started here dies with the process that started it, however that one dies (see [`process`]).
//! The keys in this crate are published: nothing here may ever touch real money.

pub mod anvil;
pub mod bitcoind;
pub mod certificates;
pub mod error;
pub mod fault_proxy;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod rpc;
pub mod small_disk;
pub mod tools;
pub mod wait;
pub mod xrp_ledger;
pub mod xrpl;

pub use anvil::{Anvil, AnvilOptions, Contracts, Mining, TokenKind, Way};
pub use bitcoind::{Bitcoind, StartOptions};
pub use certificates::Authority;
pub use error::RegtestError;
pub use fault_proxy::{Fault, FaultProxy, Rule};
pub use ports::free_port;
pub use postgres::{Postgres, PostgresOptions};
pub use process::Process;
pub use small_disk::SmallDisk;
pub use wait::eventually;
pub use xrp_ledger::{XrpLedger, XrpLedgerOptions};
