//! Ledger state: every version of every entry, and a writable view on top of a closed ledger.
//!
//! Versions are kept per entry, so an old ledger costs nothing beyond what changed in it, and `account_info` at any
//! numbered ledger is a binary search.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::entry::{Account, Entry, Stored};
use super::ids::{AccountId, Hash256, keylet};

/// An entry, or that there is none.
pub type Version = Option<Arc<Stored>>;

/// Changes not yet in a closed ledger; `None` is a deletion.
pub type Overlay = BTreeMap<Hash256, Version>;

/// One entry before and after a transaction.
#[derive(Debug, Clone)]
pub struct Change {
    pub key: Hash256,
    pub before: Option<Arc<Stored>>,
    pub after: Option<Arc<Stored>>,
    /// What a deleted entry was like at the end.
    pub last: Option<Arc<Stored>>,
}

/// State of all closed ledgers.
#[derive(Debug, Default)]
pub struct Archive {
    /// Per key: (first ledger index with this version, version), ascending.
    versions: BTreeMap<Hash256, Vec<(u32, Version)>>,
}

impl Archive {
    /// The entry as the closed ledger `index` has it.
    #[must_use]
    pub fn get(&self, key: &Hash256, index: u32) -> Option<Arc<Stored>> {
        let versions = self.versions.get(key)?;
        let upto = versions.partition_point(|(first, _)| *first <= index);
        versions[..upto].last()?.1.clone()
    }

    /// Makes the overlay part of closed ledger `index`, which must be the next one.
    pub fn close(&mut self, index: u32, overlay: Overlay) {
        for (key, stored) in overlay {
            self.versions.entry(key).or_default().push((index, stored));
        }
    }
}

/// What a transaction found at a key: in the state, and in the overlay itself (`None`: no slot there).
#[derive(Debug)]
struct Before {
    state: Version,
    slot: Option<Version>,
}

/// Reads a closed ledger through an overlay and writes into the overlay; keeps what it overwrote until
/// [`View::commit`] so that a transaction can be undone.
#[derive(Debug)]
pub struct View<'a> {
    archive: &'a Archive,
    base: u32,
    overlay: &'a mut Overlay,
    undo: BTreeMap<Hash256, Before>,
    /// Last state of what the running transaction removed.
    removed: BTreeMap<Hash256, Arc<Stored>>,
}

impl<'a> View<'a> {
    pub fn new(archive: &'a Archive, base: u32, overlay: &'a mut Overlay) -> Self {
        Self { archive, base, overlay, undo: BTreeMap::new(), removed: BTreeMap::new() }
    }

    #[must_use]
    pub fn get(&self, key: &Hash256) -> Option<Arc<Stored>> {
        match self.overlay.get(key) {
            Some(slot) => slot.clone(),
            None => self.archive.get(key, self.base),
        }
    }

    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<Account> {
        match &self.get(&keylet::account(id))?.entry {
            Entry::Account(account) => Some(account.clone()),
            _ => None,
        }
    }

    #[must_use]
    pub fn exists(&self, key: &Hash256) -> bool {
        self.get(key).is_some()
    }

    /// Writes an entry; its threading stays until [`View::commit`].
    pub fn put(&mut self, key: Hash256, entry: Entry) {
        let old = self.get(&key);
        let (previous_txn, previous_ledger) =
            old.map_or((Hash256::ZERO, 0), |old| (old.previous_txn, old.previous_ledger));
        self.set(key, Some(Arc::new(Stored { entry, previous_txn, previous_ledger })));
    }

    pub fn put_account(&mut self, account: Account) {
        self.put(keylet::account(&account.id), Entry::Account(account));
    }

    pub fn remove(&mut self, key: Hash256) {
        if let Some(last) = self.get(&key) {
            self.removed.insert(key, last);
        }
        self.set(key, None);
    }

    fn set(&mut self, key: Hash256, value: Option<Arc<Stored>>) {
        let state = self.get(&key);
        let slot = self.overlay.insert(key, value);
        self.undo.entry(key).or_insert(Before { state, slot });
    }

    /// Undoes everything since the last commit.
    pub fn rollback(&mut self) {
        self.removed.clear();
        for (key, Before { slot, .. }) in std::mem::take(&mut self.undo) {
            match slot {
                Some(slot) => self.overlay.insert(key, slot),
                None => self.overlay.remove(&key),
            };
        }
    }

    /// Ends a transaction: returns what it changed, in key order, and threads the entries to it when
    /// `thread` names transaction and ledger (rippled leaves the open ledger unthreaded).
    pub fn commit(&mut self, thread: Option<(Hash256, u32)>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, Before { state: before, .. }) in std::mem::take(&mut self.undo) {
            let after = self.get(&key);
            if before == after {
                continue;
            }
            if let (Some((txn, ledger)), Some(stored)) = (thread, &after) {
                let threaded =
                    Stored { entry: stored.entry.clone(), previous_txn: txn, previous_ledger: ledger };
                self.overlay.insert(key, Some(Arc::new(threaded)));
            }
            let last = if after.is_none() { self.removed.remove(&key) } else { None };
            changes.push(Change { key, before, after, last });
        }
        self.removed.clear();
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: u8) -> AccountId {
        AccountId([byte; 20])
    }

    #[test]
    fn rollback_should_restore_state_and_overlay() {
        let archive = Archive::default();
        let mut overlay = Overlay::new();
        let mut view = View::new(&archive, 1, &mut overlay);
        view.put_account(Account::new(id(1), 5, 1));
        view.commit(None);
        view.put_account(Account::new(id(1), 7, 2));
        view.put_account(Account::new(id(2), 7, 2));
        view.rollback();
        assert_eq!(view.account(&id(1)).unwrap().balance, 5);
        assert!(view.account(&id(2)).is_none());
        assert_eq!(overlay.len(), 1);
    }

    #[test]
    fn archive_should_answer_for_every_old_ledger() {
        let mut archive = Archive::default();
        let key = keylet::account(&id(1));
        for (index, balance) in [(2, 10), (5, 20)] {
            let mut overlay = Overlay::new();
            View::new(&archive, index - 1, &mut overlay).put_account(Account::new(id(1), balance, 1));
            archive.close(index, overlay);
        }
        archive.close(7, Overlay::from([(key, None)]));
        let balance = |at| match &archive.get(&key, at)?.entry {
            Entry::Account(account) => Some(account.balance),
            _ => None,
        };
        assert_eq!([1, 2, 4, 5, 6, 7].map(balance), [None, Some(10), Some(10), Some(20), Some(20), None]);
    }
}
