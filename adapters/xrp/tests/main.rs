//! The adapter from outside: its pure side under properties and hostile input, its node side against recorded answers of
//! a real rippled and against the stand-in, and all of it against xrpl.js.

#![allow(clippy::unwrap_used, clippy::panic)]

mod address;
mod differential;
mod payment;
mod recorded_answers;
mod replacing;
mod signer;
mod stand_in;
