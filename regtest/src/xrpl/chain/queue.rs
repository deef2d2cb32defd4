//! Transaction queue: what pays less than the open ledger costs waits here.
//! Source: <https://xrpl.org/docs/concepts/transactions/transaction-queue>

use std::sync::Arc;

use super::super::apply;
use super::super::ids::{AccountId, keylet};
use super::super::result::Ter;
use super::super::tx::{SeqProxy, Tx};
use super::Chain;

const MAX_PER_ACCOUNT: usize = 10;
const MAX_QUEUE: usize = 2000;
/// A queued transaction must be able to wait this many ledgers.
const LAST_LEDGER_BUFFER: u32 = 2;
/// A replacement pays more than this part of the old fee, in percent (rippled's `TxQ`: `feeLevelPaid > requiredRetryLevel`).
const REPLACEMENT_PERCENT: u128 = 125;

/// Transactions in order of arrival.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Vec<Arc<Tx>>,
}

impl Queue {
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queued transactions of an account, by sequence.
    #[must_use]
    pub fn of(&self, account: &AccountId) -> Vec<Arc<Tx>> {
        let mut own: Vec<_> = self.waiting.iter().filter(|tx| tx.account == *account).cloned().collect();
        own.sort_by_key(|tx| tx.seq);
        own
    }

    /// First sequence from `next` on that no queued transaction uses.
    #[must_use]
    pub fn next_sequence(&self, account: &AccountId, mut next: u32) -> u32 {
        for tx in self.of(account) {
            if tx.seq == SeqProxy::Sequence(next) {
                next = next.saturating_add(1);
            }
        }
        next
    }

    fn remove(&mut self, tx: &Tx) {
        self.waiting.retain(|waiting| waiting.hash != tx.hash);
    }
}

impl Chain {
    /// Decides whether a transaction goes into the queue; `None`: the engine is to try it now.
    pub(super) fn offer_to_queue(&mut self, tx: &Arc<Tx>, fail_hard: bool) -> Option<Ter> {
        let fee = tx.fee()?;
        let base = apply::base_fee(tx, &self.rules);
        let account = self.open_account(&tx.account)?;
        let in_order = match tx.seq {
            SeqProxy::Sequence(sequence) => sequence == account.sequence,
            SeqProxy::Ticket(_) => true,
        };
        let predecessors = self.queue.of(&tx.account);
        // Pays the price and is next in line, or cannot even pay the unloaded fee: not a matter for the queue.
        if (fee >= self.escalated(base) && in_order) || fee < base {
            return None;
        }
        let seq_is_ahead = match tx.seq {
            SeqProxy::Sequence(sequence) => {
                if sequence < account.sequence {
                    return None;
                }
                sequence > self.queue.next_sequence(&tx.account, account.sequence)
            }
            SeqProxy::Ticket(ticket) => self.open_entry(&keylet::ticket(&tx.account, ticket)).is_none(),
        };
        if seq_is_ahead || (predecessors.is_empty() && !in_order) {
            return None;
        }
        let last = tx.number("LastLedgerSequence");
        if fail_hard
            || tx.json.contains_key("AccountTxnID")
            || last.is_some_and(|last| last < self.open_index().saturating_add(LAST_LEDGER_BUFFER))
        {
            return Some(Ter::TelCanNotQueue);
        }
        if let Some(same) = predecessors.iter().find(|queued| queued.seq == tx.seq) {
            let old = u128::from(same.fee().unwrap_or(0));
            if u128::from(fee) * 100 <= old * REPLACEMENT_PERCENT {
                return Some(Ter::TelCanNotQueueFee);
            }
            let same = Arc::clone(same);
            self.queue.remove(&same);
        } else if predecessors.len() >= MAX_PER_ACCOUNT || self.queue.len() >= MAX_QUEUE {
            return Some(Ter::TelCanNotQueueFull);
        }
        let in_flight: u64 = predecessors.iter().filter_map(|queued| queued.fee()).sum();
        if !predecessors.is_empty() && in_flight.saturating_add(fee) > account.balance {
            return Some(Ter::TelCanNotQueueBalance);
        }
        if let Some(refused) = self.dry_run(tx) {
            return Some(refused);
        }
        self.queue.waiting.push(Arc::clone(tx));
        Some(Ter::TerQueued)
    }

    /// A transaction that cannot apply at all is refused with its own result, not queued.
    fn dry_run(&self, tx: &Tx) -> Option<Ter> {
        let closed = self.last_closed().index;
        let mut overlay = self.open.overlay.clone();
        let mut view = super::View::new(&self.archive, closed, &mut overlay);
        let mode =
            apply::Mode { ledger: closed + 1, open: true, retry: false, fail_hard: false, unsigned: false };
        match apply::apply(&mut view, tx, &self.rules, mode).result {
            // Behind other queued transactions of its account.
            Ter::TerPreSeq => None,
            result if result.is_success() || result.is_claimed() => None,
            result => Some(result),
        }
    }

    /// Moves what pays enough from the queue into the new open ledger, dearest first; drops what has expired.
    pub(super) fn drain_queue(&mut self) {
        let open = self.open_index();
        self.queue.waiting.retain(|tx| tx.number("LastLedgerSequence").is_none_or(|last| last >= open));
        loop {
            let mut candidates: Vec<Arc<Tx>> = self
                .queue
                .waiting
                .iter()
                .filter(|tx| tx.fee().unwrap_or(0) >= self.escalated(apply::base_fee(tx, &self.rules)))
                .filter(|tx| match (tx.seq, self.open_account(&tx.account)) {
                    (SeqProxy::Sequence(sequence), Some(account)) => sequence <= account.sequence,
                    _ => true,
                })
                .cloned()
                .collect();
            candidates.sort_by_key(|tx| (std::cmp::Reverse(tx.fee()), tx.hash));
            let Some(tx) = candidates.first() else { return };
            self.queue.remove(tx);
            self.apply_open(tx, false);
        }
    }
}
