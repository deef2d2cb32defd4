//! Whether a payment that was sent can still happen.
//!
//! Loss-of-funds hazard: a payment that is wrongly called dead is paid twice. The order of questions matters. The validated
//! index V comes first, so that everything read after it is at least as new; then the transaction by its hash; then time
//! (V below LastLedgerSequence: wait); then the account at one fixed validated ledger that is not before
//! LastLedgerSequence. An unused Sequence or an existing Ticket there proves that the payment was never applied, and
//! nothing can apply it any more. Libraries that look in another order can call a validated payment failed.

use super::{
    XrpNode,
    answer::{AccountObjects, AccountTx},
    ledger::Position,
};
use bursar_domain::{
    chain::Liveness,
    effects::{Resource, Validity},
    ports::{NodeError, SentTransaction},
};
use serde_json::{Value, json};

/// An account has at most 250 tickets; each page has one or more.
const MAX_TICKET_PAGES: usize = 260;
const MAX_HISTORY_PAGES: usize = 100;
const PAGE: u32 = 200;

impl XrpNode {
    pub(super) async fn prove_liveness(&self, sent: &SentTransaction) -> Result<Liveness, NodeError> {
        let (Validity::UntilLedger(last), [resource]) = (sent.validity, sent.resources.as_slice()) else {
            let reason = "an XRP transaction has a LastLedgerSequence and one Sequence or Ticket".to_owned();
            return Ok(Liveness::Unexplained { reason });
        };
        let position = self.position().await?;
        // Without an id (a signature may exist that never reached us) the account's state alone decides.
        if let Some(tx_id) = &sent.tx_id
            && self.transaction(tx_id).await?.is_some_and(|tx| tx.validated)
        {
            return Ok(Liveness::MayConfirm);
        }
        // A sibling that used the turn settles it at once: validated is final, and each turn is used once.
        for sibling in &sent.siblings {
            if let Some(proof) = self.used_by(sibling, resource).await? {
                return Ok(Liveness::Dead { proof });
            }
        }
        if position.validated.seq < last {
            return Ok(Liveness::MayConfirm);
        }
        // The earlier the ledger, the less can have happened since; V serves when the node has no longer the other.
        let at = if position.complete.contain(last, last) { last } else { position.validated.seq };
        match self.turn(resource, at).await? {
            Turn::Unused(fact) => Ok(Liveness::Dead {
                proof: format!("validated ledger {at}, not before LastLedgerSequence {last}: {fact}"),
            }),
            Turn::Used(fact) => self.search(sent, resource, last, &position, &fact).await,
        }
    }

    /// The fact that transaction `sibling` of the same transfer used `resource` in a validated ledger.
    async fn used_by(&self, sibling: &str, resource: &Resource) -> Result<Option<String>, NodeError> {
        let params = json!({ "transaction": sibling, "binary": false });
        let Some(answer) = self.ask_unless::<Value>("tx", params, "txnNotFound").await? else {
            return Ok(None);
        };
        let found = Entry::read(&answer);
        let named = found.hash == Some(sibling);
        if answer["validated"] != true || !named || !found.uses(resource) {
            return Ok(None);
        }
        let ledger = answer["ledger_index"].as_u64().or_else(|| found.tx["ledger_index"].as_u64());
        let Some(ledger) = ledger else {
            return Err(self.malformed("tx", "a validated transaction without its ledger"));
        };
        let kind = found.tx["TransactionType"].as_str().unwrap_or("transaction");
        Ok(Some(format!(
            "{resource} was used by {sibling}, {kind} of this transfer, in validated ledger {ledger}"
        )))
    }

    /// Whether `resource` is still there in validated ledger `at`.
    async fn turn(&self, resource: &Resource, at: u32) -> Result<Turn, NodeError> {
        let (Resource::Sequence { account, .. } | Resource::Ticket { account, .. }) = resource else {
            return Ok(Turn::Used(format!("{resource} is not of this chain")));
        };
        let Some(root) = self.account_at(account, at).await? else {
            return Ok(Turn::Used(format!("account {account} does not exist")));
        };
        let next = root.sequence;
        match resource {
            Resource::Sequence { sequence, .. } if next <= *sequence => {
                Ok(Turn::Unused(format!("the next Sequence of {account} is {next}, so {sequence} is unused")))
            }
            Resource::Ticket { ticket, .. } if next <= *ticket => Ok(Turn::Unused(format!(
                "the next Sequence of {account} is {next}, so Ticket {ticket} was never made"
            ))),
            Resource::Ticket { ticket, .. } if self.has_ticket(account, *ticket, at).await? => {
                Ok(Turn::Unused(format!("Ticket {ticket} of {account} is unused")))
            }
            used => Ok(Turn::Used(format!("{used} is used in validated ledger {at}"))),
        }
    }

    async fn has_ticket(&self, account: &str, ticket: u32, at: u32) -> Result<bool, NodeError> {
        let mut params = json!({ "account": account, "type": "ticket", "ledger_index": at, "limit": PAGE });
        for _ in 0..MAX_TICKET_PAGES {
            let page: AccountObjects = self.ask("account_objects", params.clone()).await?;
            if !page.validated || page.ledger_index != Some(at) {
                let reason = "not from the validated ledger that was asked for";
                return Err(self.malformed("account_objects", reason));
            }
            if page.account_objects.iter().any(|object| object.ticket_sequence == Some(ticket)) {
                return Ok(true);
            }
            match page.marker {
                Some(marker) => params["marker"] = marker,
                None => return Ok(false),
            }
        }
        Err(self.malformed("account_objects", "more pages than an account can have tickets"))
    }

    /// The turn is used: by this transaction, or by one that is not known. The hash alone cannot tell them apart for good, as two
    /// signatures over one payload have two hashes; so "used by another hash" is a question for people, never a proof.
    async fn search(
        &self,
        sent: &SentTransaction,
        resource: &Resource,
        last: u32,
        position: &Position,
        fact: &str,
    ) -> Result<Liveness, NodeError> {
        let (Resource::Sequence { account, .. } | Resource::Ticket { account, .. }) = resource else {
            return Ok(Liveness::Unexplained { reason: fact.to_owned() });
        };
        let first = last.saturating_sub(self.ledger_window).saturating_add(1).min(last);
        if !position.complete.contain(first, last) {
            // What it lacks may be what we look for. It may fetch the missing ledgers, or another node may have them.
            tracing::warn!(
                tx = sent.tx_id,
                first,
                last,
                "the node lacks ledgers that may hold a transaction of ours"
            );
            return Ok(Liveness::MayConfirm);
        }
        let mut params = json!({
            "account": account, "ledger_index_min": first, "ledger_index_max": last, "forward": true, "limit": PAGE,
        });
        let mut user = None;
        for _ in 0..MAX_HISTORY_PAGES {
            let page: AccountTx = self.ask("account_tx", params.clone()).await?;
            if page.ledger_index_min > first || page.ledger_index_max < last {
                return Err(self.unavailable("account_tx", "searched fewer ledgers than asked for"));
            }
            for entry in &page.transactions {
                let found = Entry::read(entry);
                if found.hash.is_some() && found.hash == sent.tx_id.as_deref() {
                    return Ok(Liveness::MayConfirm);
                }
                if found.uses(resource) {
                    user = found.hash.map(str::to_owned);
                }
            }
            match page.marker {
                Some(marker) => params["marker"] = marker,
                None => {
                    let by = user.map_or_else(
                        || format!("by no transaction in ledgers {first} to {last}"),
                        |hash| format!("by transaction {hash}"),
                    );
                    return Ok(Liveness::Unexplained { reason: format!("{fact}, {by}") });
                }
            }
        }
        Err(self.unavailable("account_tx", "more pages than are searched"))
    }
}

enum Turn {
    Unused(String),
    Used(String),
}

/// An entry of `account_tx`: `tx` in API version 1, `tx_json` beside `hash` in version 2.
struct Entry<'a> {
    hash: Option<&'a str>,
    tx: &'a Value,
}

impl<'a> Entry<'a> {
    fn read(entry: &'a Value) -> Self {
        let tx = entry.get("tx").or_else(|| entry.get("tx_json")).unwrap_or(entry);
        Self { hash: entry["hash"].as_str().or_else(|| tx["hash"].as_str()), tx }
    }

    fn uses(&self, resource: &Resource) -> bool {
        let field = |name: &str| self.tx[name].as_u64();
        match resource {
            Resource::Sequence { account, sequence } => {
                self.tx["Account"] == account.as_str() && field("Sequence") == Some(u64::from(*sequence))
            }
            Resource::Ticket { account, ticket } => {
                self.tx["Account"] == account.as_str() && field("TicketSequence") == Some(u64::from(*ticket))
            }
            Resource::Utxo(_) | Resource::Nonce { .. } => false,
        }
    }
}
