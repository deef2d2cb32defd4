//! What validated ledgers tell of our accounts: `account_tx` in full, and the accounts at two ledgers.
//!
//! Complete or nothing: a server that lacks one of the ledgers is refused, and the changes of each account's balance in the metadata must
//! add up to the difference between the two accounts.

use super::{
    XrpNode,
    answer::{AccountTx, parse_drops},
    deliver::senders,
};
use async_trait::async_trait;
use bursar_domain::{
    amount::{Amount, Drops},
    asset::Asset,
    chain::{BlockRef, Credit, TransactionOutcome},
    effects::Resource,
    intent::{Destination, Payment},
    network::Network,
    ports::{NodeError, ObserveChain},
    statement::{Holding, ReadStatement, Received, Sent, Statement, StatementQuery},
};
use serde::Deserialize;
use serde_json::{Value, json};

const METHOD: &str = "account_tx";
const PAGE: u32 = 200;

#[derive(Deserialize)]
struct Header {
    ledger_hash: String,
    #[serde(default)]
    validated: bool,
}

#[async_trait]
impl ReadStatement for XrpNode {
    fn network(&self) -> Network {
        self.xrp_network()
    }

    async fn final_block(&self) -> Result<BlockRef, NodeError> {
        Ok(self.tips().await?.tip)
    }

    async fn block_at(&self, height: u64) -> Result<BlockRef, NodeError> {
        self.ensure_network().await?;
        let missing = || NodeError::NoBlock { network: self.xrp_network(), height };
        let params = json!({ "ledger_index": ledger_index(height).ok_or_else(missing)? });
        let header: Option<Header> = self.ask_unless("ledger", params, "lgrNotFound").await?;
        let header = header.filter(|header| header.validated).ok_or_else(missing)?;
        Ok(BlockRef { height, hash: header.ledger_hash })
    }

    async fn statement(
        &self,
        query: &StatementQuery,
        progress: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<Statement, NodeError> {
        let refused =
            |reason: String| NodeError::Refused { network: self.xrp_network(), operation: METHOD, reason };
        let (Some(first), Some(last)) = (ledger_index(query.first), ledger_index(query.last)) else {
            return Err(refused("beyond the range of ledger indexes".into()));
        };
        let complete = self.position().await?.complete;
        if first <= last && !complete.contain(first, last) {
            let remedy = "ask a server with full history, or begin later";
            return Err(refused(format!("the node lacks some of the ledgers {first} to {last}: {remedy}")));
        }
        let mut statement = Statement { received_is_all: true, ..Statement::default() };
        let parts = query.addresses.len() as u64;
        for (done, address) in (0u64..).zip(&query.addresses) {
            progress(done, parts);
            let mut entries = Vec::new();
            if first <= last {
                for entry in self.history(address, first, last).await? {
                    let entry =
                        Entry::read(&entry, address).map_err(|reason| self.malformed(METHOD, &reason))?;
                    entries.push(entry);
                }
            }
            let root = self.account_at(address, last).await?;
            let closing = root.as_ref().map_or(Drops(0), |root| root.balance);
            let change: i128 = entries.iter().map(|entry| entry.change).sum();
            let before = first.checked_sub(1).filter(|before| complete.contain(*before, *before));
            let opening = match before {
                Some(before) => self.account_at(address, before).await?.map_or(Drops(0), |root| root.balance),
                // The server begins with this ledger.
                None => u64::try_from(i128::from(closing.0) - change)
                    .map(Drops)
                    .map_err(|_| self.malformed(METHOD, &format!("{address} lost more than it had")))?,
            };
            if i128::from(opening.0) + change != i128::from(closing.0) {
                let reason = format!(
                    "{address}: {opening:?} before, {closing:?} after, and transactions that add up to {change} drops"
                );
                return Err(self.malformed(METHOD, &reason));
            }
            statement.holdings.push(Holding {
                address: address.clone(),
                asset: Asset::Xrp,
                opening: Some(opening.into()),
                closing: closing.into(),
                next: root.map(|root| u64::from(root.sequence)),
            });
            for entry in entries {
                statement.sent.extend(entry.sent);
                statement.received.extend(entry.received);
            }
        }
        Ok(statement)
    }
}

fn ledger_index(height: u64) -> Option<u32> {
    u32::try_from(height).ok()
}

impl XrpNode {
    /// All of an account's transactions in these ledgers, oldest first.
    async fn history(&self, address: &str, first: u32, last: u32) -> Result<Vec<Value>, NodeError> {
        let mut params = json!({
            "account": address, "ledger_index_min": first, "ledger_index_max": last, "forward": true, "limit": PAGE,
        });
        let mut entries = Vec::new();
        loop {
            let page: Option<AccountTx> = self.ask_unless(METHOD, params.clone(), "actNotFound").await?;
            let Some(page) = page else { return Ok(entries) };
            if page.ledger_index_min > first || page.ledger_index_max < last {
                return Err(self.unavailable(METHOD, "searched fewer ledgers than asked for"));
            }
            let empty = page.transactions.is_empty();
            entries.extend(page.transactions);
            match page.marker {
                None => return Ok(entries),
                Some(marker) if !empty && params.get("marker") != Some(&marker) => params["marker"] = marker,
                Some(_) => return Err(self.malformed(METHOD, "pages that do not go on")),
            }
        }
    }
}

/// One transaction, as one account sees it.
struct Entry {
    /// Of the account's balance, in drops.
    change: i128,
    sent: Option<Sent>,
    received: Option<Received>,
}

impl Entry {
    /// API version 1 has the transaction in `tx`, version 2 in `tx_json` beside `hash` and `ledger_index`.
    fn read(entry: &Value, account: &str) -> Result<Self, String> {
        let tx = entry.get("tx").or_else(|| entry.get("tx_json")).ok_or("an entry without transaction")?;
        let meta = &entry["meta"];
        let hash =
            entry["hash"].as_str().or_else(|| tx["hash"].as_str()).ok_or("a transaction without hash")?;
        let fail = |what: &str| format!("transaction {hash}: {what}");
        if entry["validated"] != true {
            return Err(fail("not validated"));
        }
        let height = entry["ledger_index"].as_u64().or_else(|| tx["ledger_index"].as_u64());
        let height = height.ok_or_else(|| fail("no ledger index"))?;
        let result = meta["TransactionResult"].as_str().ok_or_else(|| fail("no result"))?;
        let outcome = match result {
            "tesSUCCESS" => TransactionOutcome::Succeeded,
            code if code.starts_with("tec") => TransactionOutcome::Failed { reason: code.to_owned() },
            code => return Err(fail(&format!("result {code} in a validated ledger"))),
        };
        let change = change(meta, account).map_err(|what| fail(&what))?;
        let drops = |value: &Value| value.as_str().and_then(parse_drops);
        let by_us = tx["Account"] == account;
        // A delegate pays the fee of what it sends for another account.
        let pays_fee = if tx.get("Delegate").is_some() { tx["Delegate"] == account } else { by_us };
        let fee = match pays_fee {
            true => Some(drops(&tx["Fee"]).ok_or_else(|| fail("no fee"))?),
            false => None,
        };
        let sent = match by_us {
            true => Some(Sent {
                tx_id: Some(hash.to_owned()),
                height: Some(height),
                from: vec![account.to_owned()],
                resources: vec![turn(tx, account).ok_or_else(|| fail("neither Sequence nor Ticket"))?],
                payments: paid(tx, meta, &outcome),
                outcome,
                asset: Asset::Xrp,
                fee: fee.map(Amount::from),
            }),
            false => None,
        };
        let gain = change + fee.map_or(0, |fee| i128::from(fee.0));
        let received = u64::try_from(gain).ok().filter(|gain| *gain > 0).map(|gain| Received {
            tx_id: hash.to_owned(),
            height,
            credit: Credit {
                address: account.to_owned(),
                from: senders(tx, account),
                tag: number(&tx["DestinationTag"]).filter(|_| tx["Destination"] == account),
                asset: Asset::Xrp,
                amount: Amount::from_u64(gain),
                outpoint: None,
                index: 0,
            },
        });
        Ok(Self { change, sent, received })
    }
}

/// How an account's XRP balance changed, in drops.
fn change(meta: &Value, account: &str) -> Result<i128, String> {
    let nodes = meta["AffectedNodes"].as_array().ok_or("no AffectedNodes")?;
    let balance = |fields: &Value| -> Result<Option<i128>, String> {
        match fields.get("Balance") {
            None => Ok(None),
            Some(value) => match value.as_str().and_then(parse_drops) {
                Some(drops) => Ok(Some(i128::from(drops.0))),
                None => Err("a balance that is not in drops".into()),
            },
        }
    };
    let mut sum = 0;
    for node in nodes {
        for (kind, fields) in
            [("CreatedNode", "NewFields"), ("ModifiedNode", "FinalFields"), ("DeletedNode", "FinalFields")]
        {
            let Some(node) = node.get(kind) else { continue };
            let after = &node[fields];
            if node["LedgerEntryType"] != "AccountRoot" || after["Account"] != account {
                continue;
            }
            // What has its default value, or did not change, is left out.
            let after = balance(after)?.unwrap_or_default();
            let before = match kind {
                "CreatedNode" => 0,
                _ => balance(&node["PreviousFields"])?.unwrap_or(after),
            };
            sum += after - before;
        }
    }
    Ok(sum)
}

/// Whom a payment of XRP paid: what was delivered counts, whatever it was meant to be.
fn paid(tx: &Value, meta: &Value, outcome: &TransactionOutcome) -> Vec<Payment> {
    let delivered = meta.get("delivered_amount").or_else(|| meta.get("DeliveredAmount"));
    let drops = delivered.and_then(Value::as_str).and_then(parse_drops);
    match (outcome, tx["TransactionType"].as_str(), tx["Destination"].as_str(), drops) {
        (TransactionOutcome::Succeeded, Some("Payment"), Some(to), Some(drops)) => vec![Payment {
            destination: Destination { address: to.to_owned(), tag: number(&tx["DestinationTag"]) },
            amount: drops.into(),
        }],
        _ => Vec::new(),
    }
}

fn turn(tx: &Value, account: &str) -> Option<Resource> {
    let account = account.to_owned();
    match number(&tx["TicketSequence"]) {
        Some(ticket) => Some(Resource::Ticket { account, ticket }),
        None => number(&tx["Sequence"]).map(|sequence| Resource::Sequence { account, sequence }),
    }
}

fn number(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}
