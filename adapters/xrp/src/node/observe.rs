//! Validated ledgers, and what in them is ours.

use super::{
    XrpNode,
    answer::{Ledger, LedgerAnswer, parse_drops},
    deliver::{self, Delivery},
};
use async_trait::async_trait;
use bursar_domain::{
    chain::{
        BlockRef, ContractPayments, Liveness, ObservedBlock, ObservedTransaction, Tips, TransactionOutcome,
        WatchSet,
    },
    effects::Resource,
    network::Network,
    ports::{NodeError, ObserveChain, SentTransaction},
    time::Timestamp,
};
use serde_json::{Value, json};

/// 2000-01-01T00:00:00Z, from which the ledger counts seconds.
const RIPPLE_EPOCH: i64 = 946_684_800;

#[async_trait]
impl ObserveChain for XrpNode {
    fn network(&self) -> Network {
        self.xrp_network()
    }

    async fn tips(&self) -> Result<Tips, NodeError> {
        let ledger = self.position().await?.validated;
        let height = u64::from(ledger.seq);
        Ok(Tips { tip: BlockRef { height, hash: ledger.hash }, final_height: height })
    }

    async fn block(&self, height: u64, watch: &WatchSet) -> Result<ObservedBlock, NodeError> {
        self.ensure_network().await?;
        let missing = || NodeError::NoBlock { network: self.xrp_network(), height };
        let index = u32::try_from(height).map_err(|_| missing())?;
        let params = json!({ "ledger_index": index, "transactions": true, "expand": true });
        let answer: Option<LedgerAnswer> = self.ask_unless("ledger", params, "lgrNotFound").await?;
        // An open or merely closed ledger may still change.
        let LedgerAnswer { ledger, .. } = answer.filter(|answer| answer.validated).ok_or_else(missing)?;
        if number(&ledger.ledger_index) != Some(height) {
            return Err(self.malformed("ledger", "another ledger than was asked for"));
        }
        observed(ledger, height, watch).map_err(|reason| self.malformed("ledger", &reason))
    }

    async fn liveness(&self, transaction: &SentTransaction) -> Result<Liveness, NodeError> {
        self.prove_liveness(transaction).await
    }
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn observed(ledger: Ledger, height: u64, watch: &WatchSet) -> Result<ObservedBlock, String> {
    let mut applied = Vec::new();
    for entry in &ledger.transactions {
        applied.extend(Applied::read(entry, watch)?);
    }
    // The answer is in the order of hashes; this is the order in which they were applied.
    applied.sort_by_key(|transaction| transaction.position);
    let mut transactions = Vec::new();
    for transaction in &applied {
        transactions.extend(transaction.observe(watch)?);
    }
    Ok(ObservedBlock {
        block: BlockRef { height, hash: ledger.ledger_hash },
        parent_hash: ledger.parent_hash,
        time: Timestamp::from_secs(ledger.close_time.saturating_add(RIPPLE_EPOCH)),
        transactions,
        contract_payments: ContractPayments::NotSought,
    })
}

/// Whether any text in `value` is an address of ours. (Its depth is bounded by the parser's.)
fn names_ours(value: &Value, watch: &WatchSet) -> bool {
    match value {
        Value::String(text) => watch.addresses.contains(text),
        Value::Array(items) => items.iter().any(|item| names_ours(item, watch)),
        Value::Object(fields) => fields.values().any(|field| names_ours(field, watch)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A transaction of a validated ledger with its metadata, in which an address or a transaction of ours is named.
struct Applied<'a> {
    hash: &'a str,
    result: &'a str,
    position: u64,
    tx: &'a Value,
    meta: &'a Value,
}

impl<'a> Applied<'a> {
    /// `None` if nothing in it is ours. Nothing is demanded of what others send but the list of what it changed, without which
    /// nobody can tell whether it paid us: a ledger that cannot be read stops the follower until someone looks.
    ///
    /// API version 1 puts the fields beside `metaData`, version 2 into `tx_json` beside `meta`.
    fn read(entry: &'a Value, watch: &WatchSet) -> Result<Option<Self>, String> {
        let tx = entry.get("tx_json").unwrap_or(entry);
        let hash = entry["hash"].as_str().or_else(|| tx["hash"].as_str());
        let meta = entry.get("metaData").or_else(|| entry.get("meta"));
        let meta = meta.filter(|meta| meta["AffectedNodes"].is_array()).ok_or_else(|| {
            let hash = hash.unwrap_or("without hash");
            format!("transaction {hash}: no metadata, so whom it paid is unknown")
        })?;
        let sent_by_us = hash.is_some_and(|hash| watch.transactions.contains(hash));
        if !sent_by_us && !names_ours(entry, watch) {
            return Ok(None);
        }
        Ok(Some(Self {
            hash: hash.ok_or("a transaction that names an account of ours has no hash")?,
            result: meta["TransactionResult"]
                .as_str()
                .ok_or("a transaction that names an account of ours has no result")?,
            position: meta["TransactionIndex"]
                .as_u64()
                .ok_or("a transaction that names an account of ours has no position")?,
            tx,
            meta,
        }))
    }

    fn observe(&self, watch: &WatchSet) -> Result<Option<ObservedTransaction>, String> {
        let fail = |what: &str| format!("transaction {}: {what}", self.hash);
        let account = self.tx["Account"].as_str().ok_or_else(|| fail("has no Account"))?;
        let ours = watch.addresses.contains(account);
        let outcome = match self.result {
            "tesSUCCESS" => TransactionOutcome::Succeeded,
            code if code.starts_with("tec") => TransactionOutcome::Failed { reason: code.to_owned() },
            code => return Err(fail(&format!("has the result {code} in a validated ledger"))),
        };
        let credits = match outcome {
            // A tec result moved nothing but the fee.
            TransactionOutcome::Failed { .. } | TransactionOutcome::Unclear { .. } => Vec::new(),
            TransactionOutcome::Succeeded => {
                let Delivery { credits, unavailable } =
                    deliver::credits(self.tx, self.meta, watch).map_err(|what| fail(&what))?;
                if unavailable {
                    tracing::warn!(
                        tx = self.hash,
                        "payment of before 2014 whose delivered amount is unknown"
                    );
                }
                credits
            }
        };
        if !ours && credits.is_empty() && !watch.transactions.contains(self.hash) {
            return Ok(None);
        }
        let mut spends = Vec::new();
        let mut fee = None;
        if ours {
            spends.push(self.turn(account).ok_or_else(|| fail("has neither Sequence nor TicketSequence"))?);
            // A delegate pays the fee of what it sends for another account.
            if self.tx.get("Delegate").is_none() {
                let paid = self.tx["Fee"].as_str().and_then(parse_drops);
                fee = Some(paid.ok_or_else(|| fail("has no Fee"))?.into());
            }
        }
        Ok(Some(ObservedTransaction { tx_id: self.hash.to_owned(), outcome, spends, fee, credits }))
    }

    fn turn(&self, account: &str) -> Option<Resource> {
        let account = account.to_owned();
        let number = |field: &str| self.tx[field].as_u64().and_then(|n| u32::try_from(n).ok());
        match number("TicketSequence") {
            Some(ticket) => Some(Resource::Ticket { account, ticket }),
            None => number("Sequence").map(|sequence| Resource::Sequence { account, sequence }),
        }
    }
}
