//! Screening by a provider: the process `bursar-screener`, and the client with which others ask it.
//!
//! The screener is apart from the orchestrator on purpose. It holds the provider's credentials and the key that signs verdicts, so that
//! who takes over the orchestrator can neither forge a verdict nor read those. It computes the digest of what it screens by itself, from the order that
//! the initiator signed. docs/screening.md tells how it is run, and what each provider is asked.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | [`RemoteScreening`](client::RemoteScreening): what the orchestrator asks with |
//! | [`provider`] | the neutral contract of a provider, and one module for each |
//! | [`mapping`] | from a provider's words to risk bands and outcomes |
//! | [`service`] | the screener: digests, bounded time, cache, verdicts, alerts |
//! | [`server`] | its HTTP interface |
//! | [`config`], [`secret`], [`key`], [`clock`] | what it is started with |

pub mod client;
pub mod clock;
pub mod config;
pub mod key;
pub mod mapping;
pub mod provider;
pub mod secret;
pub mod server;
pub mod service;
mod text;
