//! What this node shows of the chain: everything, or less when a fault makes it lag or miss ledgers.

use std::sync::Arc;

use serde_json::Value;

use super::super::chain::{Chain, ClosedLedger, FIRST_LEDGER, Known};
use super::super::entry::{Account, Entry, Stored};
use super::super::ids::{AccountId, Hash256, keylet};
use super::{Fields, RpcError};

/// A ledger that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Open,
    Closed(u32),
}

/// The chain through the faults.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    pub chain: &'a Chain,
}

impl<'a> Sight<'a> {
    #[must_use]
    pub fn of(chain: &'a Chain) -> Self {
        Self { chain }
    }

    /// Newest validated ledger that the node knows.
    #[must_use]
    pub fn validated(&self) -> u32 {
        self.chain.last_closed().index.saturating_sub(self.chain.faults.stale).max(FIRST_LEDGER)
    }

    #[must_use]
    pub fn current(&self) -> u32 {
        self.validated() + 1
    }

    /// Whether the node has this validated ledger.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        let missing =
            self.chain.faults.ledger_gap.is_some_and(|(first, last)| (first..=last).contains(&index));
        (FIRST_LEDGER..=self.validated()).contains(&index) && !missing
    }

    #[must_use]
    pub fn ledger(&self, index: u32) -> Option<&'a ClosedLedger> {
        if self.has(index) { self.chain.closed_ledger(index) } else { None }
    }

    /// `complete_ledgers`, such as `2-9,14-20`.
    #[must_use]
    pub fn complete_ledgers(&self) -> String {
        let whole = [(FIRST_LEDGER, self.validated())];
        let ranges: Vec<(u32, u32)> = match self.chain.faults.ledger_gap {
            None => whole.to_vec(),
            Some((first, last)) => vec![
                (FIRST_LEDGER, first.saturating_sub(1).min(self.validated())),
                (last.saturating_add(1).max(FIRST_LEDGER), self.validated()),
            ],
        };
        let text: Vec<String> = ranges
            .into_iter()
            .filter(|(first, last)| first <= last)
            .map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
            .collect();
        if text.is_empty() { "empty".to_owned() } else { text.join(",") }
    }

    /// First ledger of what `account_tx` searches.
    #[must_use]
    pub fn first(&self) -> u32 {
        (FIRST_LEDGER..=self.validated()).find(|index| self.has(*index)).unwrap_or(FIRST_LEDGER)
    }

    /// The ledger that `ledger_index` or `ledger_hash` names; the open one by default.
    ///
    /// # Errors
    /// `lgrNotFound`, or `invalidParams` for what is no ledger at all.
    pub fn resolve(&self, params: &Fields) -> Result<Which, RpcError> {
        let not_found = || RpcError::new("lgrNotFound", 21, "ledgerNotFound");
        if let Some(hash) = params.get("ledger_hash") {
            let malformed = || RpcError::new("invalidParams", 31, "ledgerHashMalformed");
            let hash = hash.as_str().and_then(Hash256::parse).ok_or_else(malformed)?;
            let ledger = self.chain.closed_by_hash(&hash).filter(|ledger| self.has(ledger.index));
            return ledger.map(|ledger| Which::Closed(ledger.index)).ok_or_else(not_found);
        }
        let malformed = || RpcError::new("invalidParams", 31, "ledgerIndexMalformed");
        let index = match params.get("ledger_index") {
            None | Some(Value::Null) => return Ok(Which::Open),
            Some(Value::String(word)) => match word.as_str() {
                "" | "current" => return Ok(Which::Open),
                "validated" | "closed" => return Ok(Which::Closed(self.validated())),
                number => number.parse::<u32>().map_err(|_| malformed())?,
            },
            Some(Value::Number(number)) => {
                number.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(malformed)?
            }
            Some(_) => return Err(malformed()),
        };
        if index == self.current() {
            return Ok(Which::Open);
        }
        if self.has(index) { Ok(Which::Closed(index)) } else { Err(not_found()) }
    }

    #[must_use]
    pub fn entry(&self, which: Which, key: &Hash256) -> Option<Arc<Stored>> {
        match which {
            Which::Closed(index) => self.chain.entry_at(key, index),
            // A node that lags has not seen what is in the open ledger.
            Which::Open if self.chain.faults.stale > 0 => self.chain.entry_at(key, self.validated()),
            Which::Open => self.chain.open_entry(key),
        }
    }

    #[must_use]
    pub fn account(&self, which: Which, id: &AccountId) -> Option<(Arc<Stored>, Account)> {
        let stored = self.entry(which, &keylet::account(id))?;
        match &stored.entry {
            Entry::Account(account) => {
                let account = account.clone();
                Some((stored, account))
            }
            _ => None,
        }
    }

    /// A transaction; its validation is hidden while the node does not have that ledger.
    #[must_use]
    pub fn transaction(&self, hash: &Hash256) -> Option<Known> {
        let known = self.chain.known(hash)?;
        match &known.validated {
            Some(validated) if !self.has(validated.ledger) => {
                // Behind a gap nothing is known; behind by time, it was merely seen.
                let later = validated.ledger > self.validated();
                later.then(|| Known { tx: Arc::clone(&known.tx), validated: None })
            }
            _ => Some(known.clone()),
        }
    }

    /// Says which ledger an answer speaks of.
    pub fn label(&self, which: Which, answer: &mut Fields) {
        match which {
            Which::Open => {
                answer.insert("ledger_current_index".into(), self.current().into());
                answer.insert("validated".into(), false.into());
            }
            Which::Closed(index) => {
                if let Some(ledger) = self.chain.closed_ledger(index) {
                    answer.insert("ledger_hash".into(), ledger.hash.to_string().into());
                }
                answer.insert("ledger_index".into(), index.into());
                answer.insert("validated".into(), true.into());
            }
        }
    }
}
