//! Closing a ledger: the open ledger's transactions are applied again to the last closed one, in an order that nobody
//! chooses, so a provisional result is no promise.

use std::sync::Arc;

use super::super::apply::{self, Mode, Outcome};
use super::super::faults::take_one;
use super::super::ids::{Hash256, transaction_set_hash};
use super::super::meta;
use super::super::result::Ter;
use super::super::tx::{SeqProxy, Tx};
use super::super::view::{Change, Overlay, View};
use super::{Chain, ClosedLedger, FIRST_LEDGER, Open, Validated};

const TOTAL_PASSES: u32 = 3;
const RETRY_PASSES: u32 = 1;

/// What the journal must remember of a close so that it can be done again.
#[derive(Clone, Debug)]
pub struct Closing {
    pub close_time: u32,
    /// In order of application, with the result that a fault forced on it.
    pub transactions: Vec<(Arc<Tx>, Option<Ter>)>,
}

/// The header of ledger 2.
pub(super) fn genesis_header(close_time: u32) -> ClosedLedger {
    let mut header = ClosedLedger {
        index: FIRST_LEDGER,
        hash: Hash256::ZERO,
        parent_hash: Hash256::half_sha512(&[b"stand-in genesis"]),
        account_hash: Hash256::half_sha512(&[super::GENESIS_ADDRESS.as_bytes()]),
        transaction_hash: Hash256::ZERO,
        close_time,
        parent_close_time: close_time,
        total_coins: apply::MAX_DROPS,
        transactions: Vec::new(),
    };
    header.hash = header_hash(&header);
    header
}

/// Hash of a header, with rippled's prefix and layout. The account hash inside is the stand-in's own.
fn header_hash(header: &ClosedLedger) -> Hash256 {
    Hash256::half_sha512(&[
        b"LWR\0",
        &header.index.to_be_bytes(),
        &header.total_coins.to_be_bytes(),
        &header.parent_hash.0,
        &header.transaction_hash.0,
        &header.account_hash.0,
        &header.parent_close_time.to_be_bytes(),
        &header.close_time.to_be_bytes(),
        &[10, 0],
    ])
}

/// A ledger under construction.
struct Building {
    overlay: Overlay,
    index: u32,
    done: Vec<(Arc<Tx>, Option<Ter>, Outcome, Vec<Change>)>,
}

impl Chain {
    /// Closes the open ledger at `now` (seconds since 2000), validates it, and opens the next. Returns what the
    /// journal must keep.
    pub fn accept(&mut self, now: u32) -> Closing {
        let close_time = now.max(self.last_closed().close_time.saturating_add(1));
        let mut building = self.start_building();
        let (set, flipped) = self.consensus_set();
        let leftover = self.apply_set(&mut building, set, &flipped);
        let closing = Closing {
            close_time,
            transactions: building.done.iter().map(|(tx, forced, ..)| (Arc::clone(tx), *forced)).collect(),
        };
        self.finish(building, close_time);
        self.open_next(leftover);
        closing
    }

    /// Repeats a close from the journal. `None` when a transaction of it does not apply: the journal is not ours.
    pub fn replay(&mut self, closing: Closing) -> Option<()> {
        let mut building = self.start_building();
        for (tx, forced) in closing.transactions {
            let applied = self.apply_closed(&mut building, &tx, forced, false)?.applied;
            applied.then_some(())?;
        }
        self.finish(building, closing.close_time);
        Some(())
    }

    fn start_building(&self) -> Building {
        Building { overlay: Overlay::new(), index: self.open_index(), done: Vec::new() }
    }

    /// The open ledger's transactions in canonical order, and those whose result a fault flips.
    fn consensus_set(&mut self) -> (Vec<Arc<Tx>>, Vec<Hash256>) {
        let mut flipped = Vec::new();
        let mut set = Vec::new();
        for (tx, provisional) in std::mem::take(&mut self.open.applied) {
            if provisional.is_success() && take_one(&mut self.faults.drop_provisional) {
                self.locals.retain(|local| local.tx.hash != tx.hash);
                continue;
            }
            if provisional.is_success() && take_one(&mut self.faults.flip_provisional) {
                flipped.push(tx.hash);
            }
            set.push(tx);
        }
        canonical_order(&mut set);
        (set, flipped)
    }

    /// rippled's passes: first a `tec` waits for something later to help it, then it is taken. Returns what could
    /// not apply but may in a later ledger.
    fn apply_set(&self, building: &mut Building, mut set: Vec<Arc<Tx>>, flipped: &[Hash256]) -> Vec<Arc<Tx>> {
        let mut retry = true;
        for pass in 0..TOTAL_PASSES {
            let before = building.done.len();
            set.retain(|tx| {
                let forced = flipped.contains(&tx.hash).then_some(Ter::TecUnfundedPayment);
                match self.apply_closed(building, tx, forced, retry) {
                    Some(outcome) if outcome.applied => false,
                    Some(outcome) => outcome.result.is_retry() || outcome.result.is_claimed(),
                    None => false,
                }
            });
            let changed = building.done.len() > before;
            if !changed && !retry {
                break;
            }
            if !changed || pass >= RETRY_PASSES {
                retry = false;
            }
        }
        set
    }

    fn apply_closed(
        &self,
        building: &mut Building,
        tx: &Arc<Tx>,
        forced: Option<Ter>,
        retry: bool,
    ) -> Option<Outcome> {
        let mode = Mode { ledger: building.index, open: false, retry, fail_hard: false, unsigned: false };
        let mut view = View::new(&self.archive, building.index - 1, &mut building.overlay);
        let outcome = match forced {
            Some(result) => apply::claim(&mut view, tx, &self.rules, mode, result)?,
            None => apply::apply(&mut view, tx, &self.rules, mode),
        };
        if outcome.applied {
            let changes = view.commit(Some((tx.hash, building.index)));
            building.done.push((Arc::clone(tx), forced, outcome.clone(), changes));
        }
        Some(outcome)
    }

    fn finish(&mut self, building: Building, close_time: u32) {
        let parent = self.last_closed();
        let ids: Vec<Hash256> = building.done.iter().map(|(tx, ..)| tx.hash).collect();
        let mut account_hash = parent.account_hash;
        let mut burnt = 0u64;
        for (_, _, _, changes) in &building.done {
            for change in changes {
                let after = change.after.as_ref().map(|stored| stored.to_json(&change.key));
                let text = serde_json::to_vec(&after).expect("a JSON map with string keys always serialises");
                account_hash = Hash256::half_sha512(&[&account_hash.0, &change.key.0, &text]);
            }
            burnt = burnt.saturating_add(burnt_by(changes));
        }
        let mut header = ClosedLedger {
            index: building.index,
            hash: Hash256::ZERO,
            parent_hash: parent.hash,
            account_hash,
            transaction_hash: transaction_set_hash(&ids),
            close_time,
            parent_close_time: parent.close_time,
            total_coins: parent.total_coins.saturating_sub(burnt),
            transactions: ids,
        };
        header.hash = header_hash(&header);
        for (index, (tx, _, outcome, changes)) in (0u32..).zip(&building.done) {
            let meta = meta::metadata(changes, index, outcome.result, &outcome.delivered);
            let validated = Validated { ledger: building.index, index, meta };
            let known = super::Known { tx: Arc::clone(tx), validated: Some(validated) };
            self.known.insert(tx.hash, known);
            for account in meta::affected_accounts(changes) {
                self.history.entry(account).or_default().push((building.index, index));
            }
        }
        self.archive.close(building.index, building.overlay);
        self.closed.push(header);
        self.open = Open::default();
    }

    /// Fills the new open ledger: what the closed one left over, the queue, own clients' transactions, the held.
    fn open_next(&mut self, leftover: Vec<Arc<Tx>>) {
        for tx in leftover {
            self.try_open(&tx, false);
        }
        self.drain_queue();
        let open = self.open_index();
        let mut locals = std::mem::take(&mut self.locals);
        locals.retain(|local| local.expires >= open && !self.is_settled(&local.tx));
        for local in &locals {
            self.try_open(&local.tx, false);
        }
        self.locals = locals;
        for (key, tx) in std::mem::take(&mut self.held) {
            let outcome = self.try_open(&tx, false);
            if outcome.result.is_retry() && outcome.result != Ter::TerQueued {
                self.held.insert(key, tx);
            }
        }
    }

    /// Its sequence or ticket is used up, by itself or another.
    fn is_settled(&self, tx: &Tx) -> bool {
        if self.known.get(&tx.hash).is_some_and(|known| known.validated.is_some()) {
            return true;
        }
        let Some(account) = self.open_account(&tx.account) else { return false };
        match tx.seq {
            SeqProxy::Sequence(sequence) => sequence < account.sequence,
            SeqProxy::Ticket(_) => false,
        }
    }
}

/// Drops that a transaction destroyed: what the accounts it touched lost together.
fn burnt_by(changes: &[Change]) -> u64 {
    let drops = |stored: &Option<Arc<super::Stored>>| match stored.as_ref().map(|stored| &stored.entry) {
        Some(super::super::entry::Entry::Account(account)) => account.balance,
        _ => 0,
    };
    let before: u64 = changes.iter().map(|change| drops(&change.before)).sum();
    let after: u64 = changes.iter().map(|change| drops(&change.after)).sum();
    before.saturating_sub(after)
}

/// rippled's CanonicalTXSet: accounts in an order salted by the set itself, then sequences before tickets.
fn canonical_order(set: &mut [Arc<Tx>]) {
    let ids: Vec<Hash256> = set.iter().map(|tx| tx.hash).collect();
    let salt = transaction_set_hash(&ids);
    set.sort_by_key(|tx| {
        let mut key = salt.0;
        for (byte, account) in key.iter_mut().zip(tx.account.0) {
            *byte ^= account;
        }
        (key, tx.seq, tx.hash)
    });
}
