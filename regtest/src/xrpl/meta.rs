//! Transaction metadata: `AffectedNodes` from what a transaction changed.
//!
//! Owner directories are not entries here, so their nodes are absent; all else is as rippled prints it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::entry::Stored;
use super::ids::{AccountId, Hash256};
use super::result::Ter;
use super::view::Change;

/// What a transaction delivered to its destination, in wire form (drops as text, or an issued amount).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Goes into metadata as `DeliveredAmount`: set when it may differ from `Amount`.
    pub explicit: Option<Value>,
    /// Answered as `delivered_amount`.
    pub amount: Option<Value>,
}

/// Metadata as `tx` gives it.
#[must_use]
pub fn metadata(changes: &[Change], index: u32, result: Ter, delivered: &Delivered) -> Value {
    let nodes: Vec<Value> = changes.iter().filter_map(affected_node).collect();
    let mut meta = json!({
        "AffectedNodes": nodes,
        "TransactionIndex": index,
        "TransactionResult": result.name(),
    });
    if let Some(explicit) = &delivered.explicit {
        meta["DeliveredAmount"] = explicit.clone();
    }
    if let Some(amount) = &delivered.amount {
        meta["delivered_amount"] = amount.clone();
    }
    meta
}

/// Accounts in whose `account_tx` the transaction appears.
#[must_use]
pub fn affected_accounts(changes: &[Change]) -> BTreeSet<AccountId> {
    changes
        .iter()
        .flat_map(|change| [&change.before, &change.after])
        .flatten()
        .flat_map(|stored| stored.entry.accounts())
        .collect()
}

fn affected_node(change: &Change) -> Option<Value> {
    match (&change.before, &change.after) {
        (None, Some(after)) => Some(json!({"CreatedNode": {
            "LedgerEntryType": after.entry.kind(),
            "LedgerIndex": change.key.to_string(),
            "NewFields": without_defaults(after.entry.fields()),
        }})),
        (Some(before), Some(after)) => {
            let mut node = header(change, before);
            node.insert("FinalFields".into(), after.entry.fields().into());
            node.insert("PreviousFields".into(), previous_fields(before, after).into());
            thread(&mut node, before);
            Some(json!({"ModifiedNode": node}))
        }
        (Some(before), None) => {
            let mut node = header(change, before);
            let last = change.last.as_ref().unwrap_or(before);
            let mut fields = last.entry.fields();
            thread(&mut fields, before);
            node.insert("FinalFields".into(), fields.into());
            let previous = previous_fields(before, last);
            if !previous.is_empty() {
                node.insert("PreviousFields".into(), previous.into());
            }
            Some(json!({"DeletedNode": node}))
        }
        (None, None) => None,
    }
}

fn header(change: &Change, stored: &Stored) -> Map<String, Value> {
    Map::from_iter([
        ("LedgerEntryType".to_owned(), stored.entry.kind().into()),
        ("LedgerIndex".to_owned(), change.key.to_string().into()),
    ])
}

fn thread(node: &mut Map<String, Value>, before: &Stored) {
    if before.previous_txn != Hash256::ZERO {
        node.insert("PreviousTxnID".into(), before.previous_txn.to_string().into());
        node.insert("PreviousTxnLgrSeq".into(), before.previous_ledger.into());
    }
}

/// Fields of the old entry that the new one has otherwise. A field that is new leaves no trace here.
fn previous_fields(before: &Stored, after: &Stored) -> Map<String, Value> {
    let new = after.entry.fields();
    before.entry.fields().into_iter().filter(|(name, value)| new.get(name) != Some(value)).collect()
}

fn without_defaults(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().filter(|(_, value)| *value != json!(0) && *value != json!("0")).collect()
}
