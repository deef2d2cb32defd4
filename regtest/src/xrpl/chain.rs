//! The chain: closed ledgers, the open ledger, and the transactions that wait for either.

pub mod close;
pub mod queue;
pub mod submit;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::apply::Rules;
use super::entry::{Account, Stored};
use super::faults::Faults;
use super::ids::{AccountId, Hash256, keylet};
use super::result::Ter;
use super::tx::{SeqProxy, Tx};
use super::view::{Archive, Overlay, View};

/// Address of the account that holds everything at the start (`masterpassphrase`), as in stand-alone rippled.
pub const GENESIS_ADDRESS: &str = "rHb9CJAWyB4rj91VRWn96DkukG4bwdtyTh";
/// First ledger that clients can see: stand-alone rippled starts on 1 and closes 2 at once.
pub const FIRST_LEDGER: u32 = 2;

/// A closed (and with it validated) ledger. Times are seconds since 2000-01-01T00:00:00Z.
#[derive(Clone, Debug)]
pub struct ClosedLedger {
    pub index: u32,
    pub hash: Hash256,
    pub parent_hash: Hash256,
    pub account_hash: Hash256,
    pub transaction_hash: Hash256,
    pub close_time: u32,
    pub parent_close_time: u32,
    /// Drops that exist after this ledger's fees were burnt.
    pub total_coins: u64,
    /// Transactions in the order of application.
    pub transactions: Vec<Hash256>,
}

/// Where a transaction was validated, and with what outcome.
#[derive(Clone, Debug)]
pub struct Validated {
    pub ledger: u32,
    pub index: u32,
    pub meta: Value,
}

/// A transaction that this node has seen, in a ledger or not.
#[derive(Clone, Debug)]
pub struct Known {
    pub tx: Arc<Tx>,
    pub validated: Option<Validated>,
}

/// The ledger that is being built.
#[derive(Debug, Default)]
struct Open {
    overlay: Overlay,
    /// Applied transactions with their provisional results, in order of arrival.
    applied: Vec<(Arc<Tx>, Ter)>,
}

/// A locally submitted transaction, tried again in each new open ledger for a while, whatever its first result was:
/// a `telINSUF_FEE_P` can still end in a ledger when the load drops.
#[derive(Debug)]
struct Local {
    tx: Arc<Tx>,
    expires: u32,
}

/// The whole node state behind the RPC methods.
#[derive(Debug)]
pub struct Chain {
    pub rules: Rules,
    pub faults: Faults,
    archive: Archive,
    closed: Vec<ClosedLedger>,
    open: Open,
    known: HashMap<Hash256, Known>,
    /// Per account: (ledger, index in ledger), ascending.
    history: BTreeMap<AccountId, Vec<(u32, u32)>>,
    held: BTreeMap<(AccountId, SeqProxy), Arc<Tx>>,
    locals: Vec<Local>,
    queue: queue::Queue,
}

impl Chain {
    /// A fresh stand-alone chain: ledger 2 is validated, 3 is open, the genesis account holds 100 billion XRP.
    #[must_use]
    pub fn new(rules: Rules, genesis_close_time: u32) -> Self {
        let mut chain = Self {
            rules,
            faults: Faults::default(),
            archive: Archive::default(),
            closed: Vec::new(),
            open: Open::default(),
            known: HashMap::new(),
            history: BTreeMap::new(),
            held: BTreeMap::new(),
            locals: Vec::new(),
            queue: queue::Queue::default(),
        };
        let id = AccountId::parse(GENESIS_ADDRESS)
            .expect("the genesis address is a constant with a valid checksum");
        let mut overlay = Overlay::new();
        View::new(&chain.archive, 0, &mut overlay).put_account(Account::new(id, super::apply::MAX_DROPS, 1));
        chain.archive.close(FIRST_LEDGER, overlay);
        chain.closed.push(close::genesis_header(genesis_close_time));
        chain
    }

    /// Newest closed ledger.
    #[must_use]
    pub fn last_closed(&self) -> &ClosedLedger {
        self.closed.last().expect("the genesis ledger is closed at construction")
    }

    /// Index of the open ledger.
    #[must_use]
    pub fn open_index(&self) -> u32 {
        self.last_closed().index + 1
    }

    #[must_use]
    pub fn closed_ledger(&self, index: u32) -> Option<&ClosedLedger> {
        self.closed.get(usize::try_from(index.checked_sub(FIRST_LEDGER)?).ok()?)
    }

    #[must_use]
    pub fn closed_by_hash(&self, hash: &Hash256) -> Option<&ClosedLedger> {
        self.closed.iter().rev().find(|ledger| ledger.hash == *hash)
    }

    #[must_use]
    pub fn known(&self, hash: &Hash256) -> Option<&Known> {
        self.known.get(hash)
    }

    /// Positions of an account's transactions: (ledger, index in ledger), ascending.
    #[must_use]
    pub fn history(&self, account: &AccountId) -> &[(u32, u32)] {
        self.history.get(account).map_or(&[], Vec::as_slice)
    }

    /// An entry of a closed ledger.
    #[must_use]
    pub fn entry_at(&self, key: &Hash256, index: u32) -> Option<Arc<Stored>> {
        self.archive.get(key, index)
    }

    /// An entry of the open ledger.
    #[must_use]
    pub fn open_entry(&self, key: &Hash256) -> Option<Arc<Stored>> {
        match self.open.overlay.get(key) {
            Some(slot) => slot.clone(),
            None => self.archive.get(key, self.last_closed().index),
        }
    }

    #[must_use]
    pub fn open_account(&self, id: &AccountId) -> Option<Account> {
        match &self.open_entry(&keylet::account(id))?.entry {
            super::entry::Entry::Account(account) => Some(account.clone()),
            _ => None,
        }
    }

    /// Ids of the open ledger's transactions, in order of arrival.
    #[must_use]
    pub fn open_transactions(&self) -> Vec<Hash256> {
        self.open.applied.iter().map(|(tx, _)| tx.hash).collect()
    }

    #[must_use]
    pub fn queue(&self) -> &queue::Queue {
        &self.queue
    }

    /// Cost of the open ledger for a reference transaction, in drops.
    #[must_use]
    pub fn open_ledger_fee(&self) -> u64 {
        self.faults.open_ledger_fee.unwrap_or(0).max(self.rules.base_fee)
    }

    /// Cost of the open ledger for a transaction with this base fee, in drops, rounded up.
    #[must_use]
    pub fn escalated(&self, base_fee: u64) -> u64 {
        let (fee, load, base) = (
            u128::from(base_fee),
            u128::from(self.open_ledger_fee()),
            u128::from(self.rules.base_fee.max(1)),
        );
        u64::try_from((fee * load).div_ceil(base)).unwrap_or(u64::MAX)
    }
}
