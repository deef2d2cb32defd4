//! Submitting: into the open ledger, into the queue, or kept for later.

use std::sync::Arc;

use super::super::apply::{self, Mode, Outcome};
use super::super::ids::AccountId;
use super::super::result::Ter;
use super::super::tx::{SeqProxy, Tx};
use super::super::view::View;
use super::{Chain, Known, Local};

/// rippled tries its own clients' transactions again for this many ledgers.
const HOLD_LEDGERS: u32 = 5;

/// Answer to a submit, as `submit` gives it.
#[derive(Clone, Debug)]
pub struct Submitted {
    pub tx: Arc<Tx>,
    pub result: Ter,
    pub accepted: bool,
    pub applied: bool,
    pub broadcast: bool,
    pub queued: bool,
    pub kept: bool,
    /// Next sequence by the open ledger, and the same with the queue counted in.
    pub sequence_next: u32,
    pub sequence_available: u32,
    /// Cost of the open ledger for this transaction, in drops.
    pub open_ledger_cost: u64,
}

impl Chain {
    /// Takes a transaction whose local checks have passed.
    pub fn submit(&mut self, tx: Tx, fail_hard: bool) -> Submitted {
        let tx = Arc::new(tx);
        self.known.entry(tx.hash).or_insert_with(|| Known { tx: Arc::clone(&tx), validated: None });
        let outcome = self.try_open(&tx, fail_hard);
        let hard_failure = fail_hard && !outcome.applied;
        let queued = outcome.result == Ter::TerQueued;
        if !hard_failure {
            let mut expires = self.open_index().saturating_add(HOLD_LEDGERS);
            if let Some(last) = tx.number("LastLedgerSequence") {
                expires = expires.min(last.saturating_add(1));
            }
            self.locals.push(Local { tx: Arc::clone(&tx), expires });
            if outcome.result.is_retry() && !queued {
                self.held.insert((tx.account, tx.seq), Arc::clone(&tx));
            }
        }
        let sequence_next = self.open_account(&tx.account).map_or(0, |account| account.sequence);
        let answer = Submitted {
            result: outcome.result,
            accepted: !hard_failure,
            applied: outcome.applied,
            broadcast: outcome.applied || queued,
            queued,
            kept: !hard_failure,
            sequence_next,
            sequence_available: self.queue.next_sequence(&tx.account, sequence_next),
            open_ledger_cost: self.escalated(apply::base_fee(&tx, &self.rules)),
            tx: Arc::clone(&tx),
        };
        if outcome.result.is_success() {
            self.release_held(tx.account, tx.seq);
        }
        answer
    }

    /// Into the open ledger if its fee is high enough, else into the queue.
    pub(super) fn try_open(&mut self, tx: &Arc<Tx>, fail_hard: bool) -> Outcome {
        if let Some(result) = self.offer_to_queue(tx, fail_hard) {
            return Outcome { result, applied: false, delivered: Default::default() };
        }
        self.apply_open(tx, fail_hard)
    }

    pub(super) fn apply_open(&mut self, tx: &Arc<Tx>, fail_hard: bool) -> Outcome {
        let closed = self.last_closed().index;
        let mode = Mode { ledger: closed + 1, open: true, retry: false, fail_hard, unsigned: false };
        let mut view = View::new(&self.archive, closed, &mut self.open.overlay);
        let outcome = apply::apply(&mut view, tx, &self.rules, mode);
        if outcome.applied {
            view.commit(None);
            self.open.applied.push((Arc::clone(tx), outcome.result));
        }
        outcome
    }

    /// After a success, the held transactions of the same account that follow it without a gap apply by themselves.
    fn release_held(&mut self, account: AccountId, seq: SeqProxy) {
        let SeqProxy::Sequence(sequence) = seq else { return };
        let mut next = sequence.saturating_add(1);
        while let Some(tx) = self.held.remove(&(account, SeqProxy::Sequence(next))) {
            let outcome = self.try_open(&tx, false);
            if outcome.result.is_retry() && outcome.result != Ter::TerQueued {
                self.held.insert((account, tx.seq), tx);
                return;
            }
            if !outcome.result.is_success() {
                return;
            }
            next = next.saturating_add(1);
        }
    }
}

impl Chain {
    /// Tries an unsigned transaction on the open ledger and leaves no trace. The key is taken as authorised.
    #[must_use]
    pub fn simulate(&self, tx: &Tx) -> (Outcome, Option<serde_json::Value>) {
        let closed = self.last_closed().index;
        let mode = Mode { ledger: closed + 1, open: true, retry: false, fail_hard: false, unsigned: true };
        let mut overlay = self.open.overlay.clone();
        let mut view = View::new(&self.archive, closed, &mut overlay);
        let outcome = apply::apply(&mut view, tx, &self.rules, mode);
        let changes = view.commit(None);
        let meta = outcome
            .applied
            .then(|| super::super::meta::metadata(&changes, 0, outcome.result, &outcome.delivered));
        (outcome, meta)
    }
}
