//! A list of all calls, each with its place in the tree: `trace_block` and `trace_transaction`, as OpenEthereum's trace module wrote it.

use super::{
    Unread,
    calls::{Calls, Kind, MAX_DEPTH},
};
use alloy::primitives::{Address, B256, U256};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;
use std::collections::HashMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trace {
    /// `call`, `create`, `suicide`, or `reward`, which is of no transaction.
    #[serde(rename = "type")]
    kind: String,
    action: Action,
    result: Option<Outcome>,
    error: Option<IgnoredAny>,
    trace_address: Vec<u32>,
    transaction_hash: Option<B256>,
    block_hash: Option<B256>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    /// Of a call: `call`, `delegatecall`, `callcode` or `staticcall`.
    call_type: Option<String>,
    from: Option<Address>,
    to: Option<Address>,
    value: Option<U256>,
    /// Of a contract that ends itself: its own, whom it gives what it has, and that.
    address: Option<Address>,
    refund_address: Option<Address>,
    balance: Option<U256>,
}

#[derive(Deserialize)]
struct Outcome {
    /// Of a contract that was made.
    address: Option<Address>,
}

/// The calls of these transactions, in their order.
pub(super) fn read(answer: &RawValue, block: B256, transactions: &[B256]) -> Result<Vec<Calls>, Unread> {
    let traces: Vec<Trace> = serde_json::from_str(answer.get())?;
    let mut by_transaction: HashMap<B256, Vec<Trace>> = HashMap::new();
    for trace in traces {
        if trace.block_hash != Some(block) {
            return Err(Unread::OtherBlock);
        }
        match trace.transaction_hash {
            Some(hash) => by_transaction.entry(hash).or_default().push(trace),
            None if trace.kind == "reward" => {}
            None => return Err(Unread::Senseless("a call of no transaction".into())),
        }
    }
    let calls: Result<Vec<Calls>, Unread> = transactions
        .iter()
        .map(|tx| {
            let traces = by_transaction.remove(tx);
            tree(traces.ok_or_else(|| Unread::Failed(format!("no calls of transaction {tx}")))?)
        })
        .collect();
    let calls = calls?;
    match by_transaction.keys().next() {
        None => Ok(calls),
        Some(tx) => Err(Unread::Senseless(format!("calls of {tx}, which was not asked for"))),
    }
}

/// Clients list a contract's end before or after what it did before; the place in the tree tells the order.
fn tree(mut traces: Vec<Trace>) -> Result<Calls, Unread> {
    if traces.iter().any(|trace| trace.trace_address.len() > MAX_DEPTH) {
        return Err(Unread::Senseless(format!("calls that are nested deeper than {MAX_DEPTH}")));
    }
    traces.sort_by(|a, b| a.trace_address.cmp(&b.trace_address));
    let mut calls = Calls::default();
    // The calls around the one that is read, outermost first.
    let mut around: Vec<(Vec<u32>, usize)> = Vec::new();
    for trace in traces {
        let place = trace.trace_address;
        while around.last().is_some_and(|(outer, _)| !place.starts_with(outer) || *outer == place) {
            if around.last().is_some_and(|(outer, _)| *outer == place) {
                return Err(Unread::Senseless("two calls at one place".into()));
            }
            around.pop();
        }
        if around.len() != place.len() {
            return Err(Unread::Senseless("a call without the one around it".into()));
        }
        let index = calls.enter(around.last().map(|(_, index)| *index))?;
        let call = calls.at(index);
        call.failed = trace.error.is_some();
        let Action { call_type, from, to, value, address, refund_address, balance } = trace.action;
        let call_type = if trace.kind == "call" { call_type.as_ref() } else { None };
        call.kind = Some(Kind::read(call_type.unwrap_or(&trace.kind)));
        (call.from, call.to, call.value) = match trace.kind.as_str() {
            "suicide" | "selfdestruct" => (address, refund_address, balance),
            "create" => (from, trace.result.and_then(|made| made.address), value),
            _ => (from, to, value),
        };
        around.push((place, index));
    }
    Ok(calls)
}
