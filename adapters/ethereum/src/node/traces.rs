//! ETH that contracts send on.
//!
//! No block lists it, so the node is asked to execute the block again and to show every call: by `trace_block` (the trace module of
//! Erigon, Nethermind, Reth, Besu and anvil), or by `debug_traceBlockByHash` with geth's `callTracer`. Which of the two a node offers is
//! found out once, and again after it was out of reach.
//!
//! Hazards:
//! - What is shown must be of the very block that is followed: every transaction of the block, and by its hash.
//! - A credit has to be named alike whichever node tells it, or a deposit would be booked twice after a reorganisation, and nodes that
//!   agree would not. The place of a call among others (`traceAddress`) does not do: clients differ in whether they show calls of
//!   precompiles, or ones that failed before they began. All agree on which ETH moved and in which order; so a credit is named by
//!   its place among those moves ([`calls`]).
//! - A node that fails for now must not look like one that cannot trace: the block is then asked for again.
//!
//! | module | what it holds |
//! |---|---|
//! | `calls` | the calls of one transaction, and the ETH that they moved |
//! | `flat` | the answers of `trace_block` and `trace_transaction` |
//! | `nested` | those of `callTracer` |

mod calls;
mod flat;
mod nested;
#[cfg(test)]
mod tests;

use super::{
    EthereumNode, Traces, error_text,
    observe::{is_ours, senders},
    rpc::{BoundedError, CallError, shorten},
    wire::Block,
};
use crate::address::checksummed;
use alloy::primitives::{Address, B256};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    chain::{CONTRACT_PAYMENTS, ContractPayment, ContractPayments, Credit, WatchSet},
    ports::NodeError,
};
use calls::Move;
use serde_json::{json, value::RawValue};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An answer of more bytes is not read. Blocks have some MB; who wants to can make one of gigabytes, for a dollar.
const MAX_ANSWER: usize = 64 << 20;

/// What a transaction moved inside, in order.
type Moves = Vec<(B256, Vec<Move>)>;

/// What was found out about the node.
pub(super) struct Tracing {
    pub mode: Traces,
    offer: Mutex<Offer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    Unasked,
    By(Method),
    /// Neither, as of this many outages.
    Nothing {
        outages: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Flat,
    Nested,
}

/// What to trace.
#[derive(Clone, Copy)]
enum Whole<'a> {
    Block(&'a Block),
    Transaction { hash: B256, block: B256 },
}

/// Why there are no calls.
#[derive(Debug)]
enum Untraced {
    NotOffered(String),
    /// It is offered, but not for this block, and asking again would not help.
    Never(String),
    Failed(NodeError),
}

impl Tracing {
    pub const fn new(mode: Traces) -> Self {
        Self { mode, offer: Mutex::new(Offer::Unasked) }
    }

    fn offer(&self) -> MutexGuard<'_, Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Method {
    const BOTH: [Self; 2] = [Self::Flat, Self::Nested];

    const fn name(self, whole: Whole<'_>) -> &'static str {
        match (self, whole) {
            (Self::Flat, Whole::Block(_)) => "trace_block",
            (Self::Flat, Whole::Transaction { .. }) => "trace_transaction",
            (Self::Nested, Whole::Block(_)) => "debug_traceBlockByHash",
            (Self::Nested, Whole::Transaction { .. }) => "debug_traceTransaction",
        }
    }

    fn params(self, whole: Whole<'_>) -> serde_json::Value {
        let tracer = json!({ "tracer": "callTracer" });
        match (self, whole) {
            // Not every client takes a hash here; the answer names the block's.
            (Self::Flat, Whole::Block(block)) => json!([format!("{:#x}", block.number)]),
            (Self::Flat, Whole::Transaction { hash, .. }) => json!([hash]),
            (Self::Nested, Whole::Block(block)) => json!([block.hash, tracer]),
            (Self::Nested, Whole::Transaction { hash, .. }) => json!([hash, tracer]),
        }
    }
}

impl Whole<'_> {
    const fn block(self) -> B256 {
        match self {
            Self::Block(block) => block.hash,
            Self::Transaction { block, .. } => block,
        }
    }

    fn transactions(self) -> Vec<B256> {
        match self {
            Self::Block(block) => block.transactions.iter().map(|tx| tx.hash).collect(),
            Self::Transaction { hash, .. } => vec![hash],
        }
    }
}

impl EthereumNode {
    /// What contracts sent on to watched addresses in the block. Nothing is asked when there can be none.
    pub(super) async fn contract_payments(
        &self,
        block: &Block,
        watch: &WatchSet,
    ) -> Result<ContractPayments, NodeError> {
        if watch.addresses.is_empty() || block.transactions.is_empty() {
            return Ok(ContractPayments::NotSought);
        }
        let traced = match self.tracing.mode {
            Traces::Off => return Ok(ContractPayments::Unknown),
            Traces::Auto | Traces::Required => self.trace(Whole::Block(block)).await,
        };
        let moves = match traced {
            Ok(moves) => moves,
            Err(Untraced::Failed(error)) => return Err(error),
            Err(Untraced::NotOffered(reason) | Untraced::Never(reason))
                if self.tracing.mode == Traces::Required =>
            {
                return Err(NodeError::Refused {
                    network: self.network_id(),
                    operation: "trace",
                    reason: format!(
                        "traces are required: {reason}; have the node trace, or set ethereum.traces to \"auto\" or \"off\""
                    ),
                });
            }
            Err(Untraced::NotOffered(_) | Untraced::Never(_)) => return Ok(ContractPayments::Unknown),
        };
        let mut payments = Vec::new();
        for (tx, moves) in moves {
            for (index, made) in (CONTRACT_PAYMENTS..).zip(moves) {
                if is_ours(&made.to, watch) {
                    let called = block.transactions.iter().find(|called| called.hash == tx);
                    let credit = credit(&made, called.map(|called| called.from), index);
                    payments.push(ContractPayment { tx_id: tx.to_string(), credit });
                }
            }
        }
        Ok(ContractPayments::Known(payments))
    }

    /// What contracts sent on to anybody in one transaction. `None`: the node does not tell.
    pub(super) async fn credits_inside(
        &self,
        hash: B256,
        block: B256,
    ) -> Result<Option<Vec<Credit>>, NodeError> {
        let moves = match self.tracing.mode {
            Traces::Off => return Ok(None),
            Traces::Auto | Traces::Required => self.trace(Whole::Transaction { hash, block }).await,
        };
        let moves = match moves {
            Ok(moves) => moves.into_iter().flat_map(|(_, moves)| moves),
            Err(Untraced::Failed(error)) => return Err(error),
            Err(Untraced::NotOffered(_) | Untraced::Never(_)) => return Ok(None),
        };
        let credit = |(index, made)| credit(&made, None, index);
        Ok(Some((CONTRACT_PAYMENTS..).zip(moves).map(credit).collect()))
    }

    async fn trace(&self, whole: Whole<'_>) -> Result<Moves, Untraced> {
        let outages = self.rpc.outages();
        let offer = *self.tracing.offer();
        match offer {
            Offer::By(method) => {
                return match self.ask(method, whole).await {
                    // It was there before: this is an accident until the node was out of reach and is asked afresh.
                    Err(Untraced::NotOffered(reason)) if self.rpc.outages() == outages => {
                        Err(self.for_now(method.name(whole), reason))
                    }
                    other => other,
                };
            }
            Offer::Nothing { outages: then } if then == outages => {
                return Err(Untraced::NotOffered(NOT_OFFERED.into()));
            }
            Offer::Nothing { .. } | Offer::Unasked => {}
        }
        let mut reasons = Vec::new();
        for method in Method::BOTH {
            match self.ask(method, whole).await {
                Err(Untraced::NotOffered(reason)) => reasons.push(reason),
                // Not known to be offered, either.
                Err(Untraced::Failed(error)) => return Err(Untraced::Failed(error)),
                answer => {
                    tracing::info!(network = %self.network_id(), method = method.name(whole), "the node traces");
                    *self.tracing.offer() = Offer::By(method);
                    return answer;
                }
            }
        }
        *self.tracing.offer() = Offer::Nothing { outages };
        tracing::warn!(
            network = %self.network_id(), reasons = reasons.join("; "),
            "the node traces no blocks: what contracts send on to our addresses is not seen by it"
        );
        Err(Untraced::NotOffered(NOT_OFFERED.into()))
    }

    async fn ask(&self, method: Method, whole: Whole<'_>) -> Result<Moves, Untraced> {
        let name = method.name(whole);
        let answer = match self.rpc.call_bounded(name, method.params(whole), MAX_ANSWER).await {
            Ok(answer) => answer,
            Err(BoundedError::TooLarge) => {
                let reason = format!("{name} of block {} has more than {MAX_ANSWER} bytes", whole.block());
                tracing::warn!(network = %self.network_id(), reason, "a block is too large to be traced");
                return Err(Untraced::Never(reason));
            }
            Err(BoundedError::Call(CallError::Answered(error))) => {
                let reason = shorten(&format!("{name}: {} ({})", error.message, error.code));
                let too_large = error_text::is_too_large(error.code, &error.message);
                return Err(if too_large || error_text::is_state_gone(&error.message) {
                    Untraced::Never(reason)
                } else if error_text::is_not_offered(error.code, &error.message) {
                    Untraced::NotOffered(reason)
                } else {
                    self.for_now(name, reason)
                });
            }
            // Whether the node is there at all is told by other calls: one that only traces too slowly still serves payments.
            Err(BoundedError::Call(CallError::Node(NodeError::Unavailable { reason, .. }))) => {
                return Err(self.for_now(name, reason));
            }
            Err(BoundedError::Call(CallError::Node(error))) => return Err(Untraced::Failed(error)),
        };
        let (block, transactions) = (whole.block(), whole.transactions());
        let single = matches!(whole, Whole::Transaction { .. });
        let read = move || read(method, single, &answer, block, &transactions);
        // Up to some MB of JSON: not on the threads that everybody else waits for.
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(moves)) => Ok(moves),
            Ok(Err(Unread::OtherBlock)) => Err(self.for_now(name, "the calls of another block".into())),
            Ok(Err(Unread::Failed(reason))) => Err(self.for_now(name, reason)),
            Ok(Err(Unread::Senseless(reason))) => Err(Untraced::Failed(self.rpc.malformed(name, reason))),
            Err(_) => Err(self.for_now(name, "the answer could not be read".into())),
        }
    }

    /// An error after which the same is asked again.
    fn for_now(&self, operation: &'static str, reason: String) -> Untraced {
        Untraced::Failed(NodeError::Refused {
            network: self.network_id(),
            operation,
            reason: shorten(&reason),
        })
    }
}

const NOT_OFFERED: &str = "the node offers neither trace_block nor debug_traceBlockByHash";

/// Why an answer tells nothing.
#[derive(Debug, PartialEq, Eq)]
enum Unread {
    /// There was a reorganisation between two calls.
    OtherBlock,
    /// The node says that it failed.
    Failed(String),
    Senseless(String),
}

impl Unread {
    fn text(self) -> String {
        match self {
            Self::OtherBlock => "another block".into(),
            Self::Failed(reason) | Self::Senseless(reason) => reason,
        }
    }
}

impl From<serde_json::Error> for Unread {
    fn from(error: serde_json::Error) -> Self {
        Self::Senseless(shorten(&error.to_string()))
    }
}

/// The moves of exactly these transactions, in this order.
fn read(
    method: Method,
    single: bool,
    answer: &RawValue,
    block: B256,
    transactions: &[B256],
) -> Result<Moves, Unread> {
    let calls = match (method, single) {
        (Method::Flat, _) => flat::read(answer, block, transactions)?,
        (Method::Nested, false) => nested::block(answer, transactions)?,
        (Method::Nested, true) => vec![nested::transaction(answer)?],
    };
    transactions.iter().zip(calls).map(|(tx, calls)| Ok((*tx, calls.moves()?))).collect()
}

fn credit(Move { from, to, amount }: &Move, caller: Option<Address>, index: u32) -> Credit {
    let named: Vec<Address> = std::iter::once(*from).chain(caller).collect();
    Credit {
        address: checksummed(to),
        from: senders(to, &named),
        tag: None,
        asset: Asset::Eth,
        amount: Amount(*amount),
        outpoint: None,
        index,
    }
}
