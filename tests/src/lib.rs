//! A whole Bursar on loopback: real bitcoind and anvil, the XRP Ledger stand-in, three co-signer processes and the
//! orchestrator, in one folder. The demo, the benchmark and the end-to-end tests all stand on this.

pub mod api;
pub mod bench;
pub mod chaos;
pub mod cosigners;
pub mod desk;
pub mod environment;
pub mod faults;
pub mod initiator;
pub mod ledger;
pub mod matrix;
pub mod measure;
pub mod miner;
pub mod orchestrator;
pub mod program;
pub mod recipients;
pub mod screener;
pub mod waiting;
pub mod wallet;

pub use api::Api;
pub use environment::{Environment, Options};
