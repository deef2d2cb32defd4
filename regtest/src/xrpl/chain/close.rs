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
    done: Vec<Done>,
}

/// A transaction that is in the ledger under construction.
struct Done {
    tx: Arc<Tx>,
    forced: Option<Ter>,
    outcome: Outcome,
    changes: Vec<Change>,
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
            transactions: building.done.iter().map(|done| (Arc::clone(&done.tx), done.forced)).collect(),
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
            building.done.push(Done { tx: Arc::clone(tx), forced, outcome: outcome.clone(), changes });
        }
        Some(outcome)
    }

    fn finish(&mut self, building: Building, close_time: u32) {
        let parent = self.last_closed();
        let ids: Vec<Hash256> = building.done.iter().map(|done| done.tx.hash).collect();
        let mut account_hash = parent.account_hash;
        let mut burnt = 0u64;
        for Done { changes, .. } in &building.done {
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
        for (index, Done { tx, outcome, changes, .. }) in (0u32..).zip(&building.done) {
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

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use serde_json::{Value, json};

    use super::super::super::entry::{Account, account_flags};
    use super::super::super::ids::AccountId;
    use super::super::super::tx::Tx;
    use super::*;

    const PLAYERS: usize = 6;

    fn rules() -> apply::Rules {
        apply::Rules { base_fee: 10, reserve_base: 1_000_000, reserve_increment: 200_000, network_id: 0 }
    }

    fn player(number: usize) -> String {
        AccountId([number as u8 + 1; 20]).to_string()
    }

    /// A chain on which the genesis account has paid every player, and on which no key needs to be right: the master
    /// key check is on the account of `SigningPubKey`, so players sign with a regular key that is set directly.
    fn chain(public: &str) -> Chain {
        let mut chain = Chain::new(rules(), 1000);
        let signer = AccountId::of_public_key(&hex::decode(public).unwrap());
        let mut overlay = Overlay::new();
        let mut view = View::new(&chain.archive, FIRST_LEDGER, &mut overlay);
        let genesis = AccountId::parse(super::super::GENESIS_ADDRESS).unwrap();
        let mut source = view.account(&genesis).unwrap();
        for number in 0..PLAYERS {
            let mut account = Account::new(AccountId([number as u8 + 1; 20]), 5_000_000, 3);
            account.regular_key = Some(signer);
            source.balance -= account.balance;
            view.put_account(account);
        }
        view.put_account(source);
        chain.archive.close(FIRST_LEDGER, overlay);
        chain
    }

    fn random_tx(rng: &mut StdRng, chain: &Chain, public: &str) -> Value {
        let from = player(rng.gen_range(0..PLAYERS));
        let account = chain.open_account(&AccountId::parse(&from).unwrap()).unwrap();
        let sequence = (i64::from(account.sequence) + [0, 0, 0, 0, 0, -1, 1, 2][rng.gen_range(0..8)]).max(1);
        let mut tx = json!({
            "Account": from, "SigningPubKey": public, "TxnSignature": "00", "Flags": 0,
            "Sequence": sequence, "Fee": rng.gen_range(9..40).to_string(),
            "LastLedgerSequence": chain.open_index() + rng.gen_range(0..8),
        });
        match rng.gen_range(0..10) {
            0 => {
                tx["TransactionType"] = json!("TicketCreate");
                tx["TicketCount"] = json!(rng.gen_range(1..3));
            }
            1 => {
                tx["TransactionType"] = json!("AccountSet");
                tx[if rng.r#gen() { "SetFlag" } else { "ClearFlag" }] = json!([1, 3, 9][rng.gen_range(0..3)]);
            }
            2 => {
                tx["TransactionType"] = json!("DepositPreauth");
                tx["Authorize"] = json!(player(rng.gen_range(0..PLAYERS)));
            }
            _ => {
                tx["TransactionType"] = json!("Payment");
                tx["Destination"] = json!(player(rng.gen_range(0..PLAYERS + 2)));
                tx["Amount"] = json!(rng.gen_range(1..3_000_000u64).to_string());
                if rng.r#gen() && account.ticket_count > 0 {
                    tx["Sequence"] = json!(0);
                    tx["TicketSequence"] = json!(rng.gen_range(3..account.sequence));
                }
            }
        }
        tx
    }

    /// Whatever is sent, in whatever order: no drop appears, only fees vanish, owner counts stay true, and the journal
    /// rebuilds the very same ledgers.
    #[test]
    fn random_traffic_should_conserve_drops_and_replay_to_equal_hashes() {
        let public = "0330E7FC9D56BB25D6893BA3F317AE5BCF33B3291BD63DB32654A313222F7FD020";
        let mut applied = 0;
        for seed in 0..12 {
            let mut rng = StdRng::seed_from_u64(seed);
            let (mut chain, mut copy) = (chain(public), chain(public));
            for round in 0..12 {
                if rng.gen_range(0..4) == 0 {
                    chain.faults.flip_provisional = 1;
                    chain.faults.drop_provisional = 1;
                }
                chain.faults.open_ledger_fee = (rng.gen_range(0..3) == 0).then_some(20);
                for number in 0..12u8 {
                    let json = random_tx(&mut rng, &chain, public).as_object().unwrap().clone();
                    let blob = serde_json::to_vec(&(&json, seed, round, number)).unwrap();
                    chain.submit(Tx::from_json(json, blob).unwrap(), rng.gen_range(0..8) == 0);
                }
                let closing = chain.accept(0);
                applied += closing.transactions.len();
                copy.replay(closing).expect("the journal of a close applies again");
                assert_eq!(chain.last_closed().hash, copy.last_closed().hash);
                check(&chain);
            }
        }
        assert!(applied > 500, "only {applied} transactions were applied: the generator is too wild");
    }

    fn check(chain: &Chain) {
        let index = chain.last_closed().index;
        let genesis = AccountId::parse(super::super::GENESIS_ADDRESS).unwrap();
        let everyone = (0..PLAYERS + 2).map(|number| AccountId([number as u8 + 1; 20])).chain([genesis]);
        let mut total = 0;
        for id in everyone {
            let key = super::super::keylet::account(&id);
            let Some(stored) = chain.entry_at(&key, index) else { continue };
            let super::super::super::entry::Entry::Account(account) = &stored.entry else {
                panic!("{stored:?}")
            };
            total += account.balance;
            assert_eq!(account.owned.len(), account.owner_count as usize);
            assert!(account.owned.iter().all(|key| chain.entry_at(key, index).is_some()));
            assert!(!account.has(account_flags::DISABLE_MASTER));
        }
        assert_eq!(total, chain.last_closed().total_coins);
    }
}
