//! A world small enough to break at will: a real store, a fake chain, fake co-signers, a clock that stands still.

#[path = "support/chain.rs"]
pub mod chain;
#[path = "support/exchange.rs"]
pub mod exchange;
#[path = "support/screener.rs"]
pub mod screener;
#[path = "support/signer.rs"]
pub mod signer;
#[path = "support/world.rs"]
pub mod world;

pub use crate::shared::basics::T0;
