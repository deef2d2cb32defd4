//! The composition root: configuration, HTTP API, and the command line. The binary `bursar` is a thin shell around this.

pub mod api;
pub mod cli;
pub mod client;
pub mod compose;
pub mod config;
mod crash;
pub mod governance;
pub mod intake;
mod relayed_log;
pub mod serve;
pub mod travel_rule;
