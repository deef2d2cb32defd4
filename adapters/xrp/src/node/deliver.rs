//! What a validated, successful transaction brought to our accounts.
//!
//! A payment's `Amount` is what it may deliver at most (`tfPartialPayment`): only `meta.delivered_amount` counts. Others
//! deliver without such a field (AccountDelete, EscrowFinish, CheckCash, PaymentChannelClaim, …): there the change of the
//! account's balance in the metadata counts, whatever the type, so that no way of being paid is missed.

use super::answer::parse_drops;
use bursar_domain::{
    amount::Drops,
    asset::Asset,
    chain::{Credit, WatchSet},
};
use serde_json::Value;

#[derive(Debug, Default)]
pub(super) struct Delivery {
    pub credits: Vec<Credit>,
    /// A partial payment of before 2014, of which nobody recorded what it delivered.
    pub unavailable: bool,
}

pub(super) fn credits(tx: &Value, meta: &Value, watch: &WatchSet) -> Result<Delivery, String> {
    let mut delivery = Delivery::default();
    let mut paid = Vec::new();
    let destination = tx["Destination"].as_str();
    let is_payment = tx["TransactionType"] == "Payment";
    let mut counted = None;
    if is_payment && let Some(to) = destination.filter(|to| watch.addresses.contains(*to)) {
        match delivered(tx, meta)? {
            Delivered::Xrp(drops) => {
                paid.push((to, drops, tag(tx)));
                counted = Some(to);
            }
            Delivered::OtherAsset => {}
            Delivered::Unavailable => {
                delivery.unavailable = true;
                counted = Some(to);
            }
        }
    }
    for change in balance_changes(meta, watch)? {
        if counted == Some(change.account) {
            continue;
        }
        let fee = if tx["Account"] == change.account && tx.get("Delegate").is_none() {
            tx["Fee"].as_str().and_then(parse_drops).unwrap_or_default().0
        } else {
            0
        };
        // What the sender's balance would have been without its fee.
        let after = change.after.0.saturating_add(fee);
        if let Some(gain @ 1..) = after.checked_sub(change.before.0) {
            paid.push((change.account, Drops(gain), tag_of(tx, meta, change.account)));
        }
    }
    delivery.credits = paid
        .into_iter()
        .filter(|(_, drops, _)| drops.0 > 0)
        .zip(0u32..)
        .map(|((address, drops, tag), index)| Credit {
            address: address.to_owned(),
            from: senders(tx, address),
            tag,
            asset: Asset::Xrp,
            amount: drops.into(),
            outpoint: None,
            index,
        })
        .collect();
    Ok(delivery)
}

/// [`Credit::from`]: who sent the transaction, and whose escrow it finishes (<https://xrpl.org/docs/references/protocol/transactions/types/escrowfinish>).
pub(super) fn senders(tx: &Value, to: &str) -> Vec<String> {
    let named = [&tx["Account"], &tx["Owner"]].into_iter().filter_map(Value::as_str);
    let mut senders: Vec<String> = named.filter(|from| *from != to).map(str::to_owned).collect();
    senders.dedup();
    senders
}

enum Delivered {
    Xrp(Drops),
    OtherAsset,
    Unavailable,
}

fn delivered(tx: &Value, meta: &Value) -> Result<Delivered, String> {
    // What a payment delivers is of the kind that it names, whichever way it goes: drops are a string, an issued currency or
    // an MPT is an object. `DeliverMax` is the name in API version 2.
    if ["Amount", "DeliverMax"].iter().any(|field| tx[*field].is_object()) {
        return Ok(Delivered::OtherAsset);
    }
    match meta.get("delivered_amount").or_else(|| meta.get("DeliveredAmount")) {
        Some(Value::String(text)) if text == "unavailable" => Ok(Delivered::Unavailable),
        Some(Value::String(text)) => {
            parse_drops(text).map(Delivered::Xrp).ok_or_else(|| "delivered_amount is not in drops".to_owned())
        }
        Some(Value::Object(_)) => Ok(Delivered::OtherAsset),
        _ => Err("a successful payment without delivered_amount; use a server that tells it".into()),
    }
}

struct BalanceChange<'a> {
    account: &'a str,
    before: Drops,
    after: Drops,
}

/// Changes of the XRP balances of watched accounts. An account that is deleted only loses.
///
/// Whose account it is comes first: nothing is demanded of other people's, which may be of kinds that nobody here knows.
fn balance_changes<'a>(meta: &'a Value, watch: &WatchSet) -> Result<Vec<BalanceChange<'a>>, String> {
    let nodes = meta["AffectedNodes"].as_array().ok_or("metadata without AffectedNodes")?;
    let mut changes = Vec::new();
    for node in nodes {
        if let Some((account, fields)) = account_root(&node["CreatedNode"], "NewFields", watch) {
            // What has its default value is left out of NewFields: without a balance it is 0.
            let after = balance(fields)?.unwrap_or_default();
            changes.push(BalanceChange { account, before: Drops(0), after });
        } else if let Some((account, fields)) = account_root(&node["ModifiedNode"], "FinalFields", watch) {
            // Without a previous balance it did not change.
            let Some(before) = balance(&node["ModifiedNode"]["PreviousFields"])? else { continue };
            let after = balance(fields)?.ok_or("an AccountRoot of ours without its final Balance")?;
            changes.push(BalanceChange { account, before, after });
        }
    }
    Ok(changes)
}

/// The watched account that `node` is about, with its `fields`.
fn account_root<'a>(node: &'a Value, fields: &str, watch: &WatchSet) -> Option<(&'a str, &'a Value)> {
    let fields = node.get(fields).filter(|_| node["LedgerEntryType"] == "AccountRoot")?;
    let account = fields["Account"].as_str().filter(|account| watch.addresses.contains(*account))?;
    Some((account, fields))
}

fn balance(fields: &Value) -> Result<Option<Drops>, String> {
    let Some(balance) = fields.get("Balance") else { return Ok(None) };
    let drops = balance.as_str().and_then(parse_drops);
    drops.map(Some).ok_or_else(|| "a Balance of ours is not in drops".into())
}

fn tag(fields: &Value) -> Option<u32> {
    fields["DestinationTag"].as_u64().and_then(|tag| u32::try_from(tag).ok())
}

/// The tag for `account`: the transaction's own, or that of the escrow, check or channel which it pays out.
fn tag_of(tx: &Value, meta: &Value, account: &str) -> Option<u32> {
    let nodes = meta["AffectedNodes"].as_array().into_iter().flatten();
    let entries = nodes.filter_map(|node| node.get("DeletedNode").or_else(|| node.get("ModifiedNode")));
    entries
        .filter(|node| matches!(node["LedgerEntryType"].as_str(), Some("Escrow" | "Check" | "PayChannel")))
        .map(|node| &node["FinalFields"])
        .chain([tx])
        .filter(|fields| fields["Destination"] == account)
        .find_map(tag)
}

#[cfg(test)]
mod tests;
