//! Sets of scripted nodes: liars, laggards, nodes that flap, hang or serve another network.

mod accounts;
mod blocks;
mod broadcasts;
mod contract_payments;
mod deaths;
mod faults;
mod scripted;
