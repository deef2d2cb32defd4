//! The adapter from outside: as the signers and the workers use it.

#[cfg(feature = "node")]
mod anvil;
mod codec;
mod differential;
mod support;
#[cfg(feature = "node")]
mod unruly_node;
