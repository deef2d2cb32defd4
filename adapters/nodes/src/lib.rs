//! Several nodes of one network behind the ports of one.
//!
//! Hazard: what a node says decides whether a payment is complete, dead or to be made again. So nothing that such a decision rests
//! on is taken from fewer than `min_agree` nodes: as long as fewer than that many lie or lag, at least one honest, current node
//! stands behind every word. Where too few agree, there is an error that names the nodes, and the caller waits.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | how many must agree, how long each is waited for |
//! | [`set`] | [`NodeSet`], the ports; its folder has a file for each port |
//! | `agree` | counting equal answers, and the number that enough nodes have reached |
//! | `merge` | one account state out of several |
//! | `gather` | asks several nodes at once, with a hedge against slow ones |
//! | `member` | one node: timeout, retries, breaker, what is remembered of it |
//! | [`breaker`] | when a failing node is left alone |
//! | `record` | metrics |
//!
//! With one node, each question is one question: nothing is asked twice to agree with itself.

mod agree;
pub mod breaker;
mod gather;
mod member;
mod merge;
mod record;
pub mod set;
pub mod settings;

#[cfg(test)]
#[expect(non_snake_case, reason = "test names say subject__should_outcome")]
mod tests;

pub use set::NodeSet;
pub use settings::{InvalidNodeSet, NamedNode, NodeSetSettings};
