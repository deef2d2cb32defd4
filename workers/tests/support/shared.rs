//! What the tests of the steps and the model check have in common: a clock that moves when it is told to, ids, the pure side of a chain
//! that exists in memory, and a desk with one wallet.
#![allow(dead_code, reason = "each of the two test binaries uses a part")]

pub mod accounts;
pub mod adapter;
pub mod basics;
pub mod desk;
pub mod payload;
