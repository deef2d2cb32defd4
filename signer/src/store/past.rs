//! What this party itself knows of earlier orders, for policy and for its people: when it first saw an order, what it paid, and
//! what somebody here decided.
//!
//! It is read in the very transaction that takes part, and what is taken part in is added there. So of two packages that are each
//! within a limit and together above it, at the same time, one is refused.

use super::{
    INTENTS, Store, StoreError, TookPart, commit, from_json,
    log::{LocalFreeze, local_freeze_in},
    taken, to_json,
};
use crate::{
    confirm::{Confirmation, Verdict},
    verify::{Allowed, Part, Refusal, RefusalCode},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{directory::UserId, policy::Price},
    intent::{IntentDigest, Payment},
    time::Timestamp,
    wallet::WalletDescriptor,
};
use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// When each order was first shown to this party; microseconds since the epoch.
pub(super) const SEEN: TableDefinition<'static, [u8; 32], i64> = TableDefinition::new("intents_seen");
/// What this party took part in paying, by when it did so last, and order.
const SPENT: TableDefinition<'static, (i64, [u8; 32]), &[u8]> = TableDefinition::new("spent");
/// Where an order is in [`SPENT`].
const SPENT_AT: TableDefinition<'static, [u8; 32], i64> = TableDefinition::new("spent_at");
const CONFIRMATIONS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("confirmations");

/// An order that this party took part in paying. It counts once, as long as the last time is in the window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spent {
    pub wallet: WalletDescriptor,
    pub asset: Asset,
    pub initiator: UserId,
    pub total: Amount,
    pub payments: Vec<Payment>,
    /// What the asset was worth then, by a quote that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
}

/// What there is to know about one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When this party first saw it.
    pub seen_at: Option<Timestamp>,
    /// All others that it took part in paying since the time that was asked for, each with when.
    pub spent: Vec<(Timestamp, Spent)>,
    pub freeze: Option<LocalFreeze>,
    pub verdict: Option<Verdict>,
    /// Whether it took part in a payment of this order, which may be final some day.
    pub pays: bool,
}

impl Past {
    /// Whether something of this kind takes back a payment that this party took part in, and so can cost no more than that would.
    pub fn undone_by(&self, part: Part) -> bool {
        part == Part::Cancels && self.pays
    }
}

pub(super) fn create(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(SEEN)?;
    write.open_table(SPENT)?;
    write.open_table(SPENT_AT)?;
    write.open_table(CONFIRMATIONS)?;
    Ok(())
}

/// As it is within the transaction, in which the intents' table is open: `pays` as in [`Past`]. `since`: what was paid before does not matter; `None` when nothing of it does.
pub(super) fn past(
    write: &WriteTransaction,
    allowed: &Allowed,
    since: Option<Timestamp>,
    pays: bool,
) -> Result<Past, StoreError> {
    let intent = allowed.intent;
    let seen_at = write.open_table(SEEN)?.get(intent.0)?.map(|row| Timestamp(row.value()));
    let spent = match since {
        Some(since) => spent_since(&write.open_table(SPENT)?, intent, since)?,
        None => Vec::new(),
    };
    let verdict = verdict(&write.open_table(CONFIRMATIONS)?, allowed.question())?;
    Ok(Past { seen_at, spent, freeze: local_freeze_in(write)?, verdict, pays })
}

/// Counts this order from now on.
pub(super) fn spend(
    write: &WriteTransaction,
    intent: IntentDigest,
    spent: &Spent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut table = write.open_table(SPENT)?;
    if let Some(before) = write.open_table(SPENT_AT)?.insert(intent.0, now.0)? {
        table.remove((before.value(), intent.0))?;
    }
    table.insert((now.0, intent.0), to_json(spent).as_slice())?;
    Ok(())
}

fn spent_since(
    table: &impl ReadableTable<(i64, [u8; 32]), &'static [u8]>,
    but: IntentDigest,
    since: Timestamp,
) -> Result<Vec<(Timestamp, Spent)>, StoreError> {
    let mut out = Vec::new();
    // Without an end: what a clock that ran ahead has written counts, too.
    for row in table.range((since.0, [0; 32])..)? {
        let (key, row) = row?;
        let (at, order) = key.value();
        if order != but.0 {
            out.push((Timestamp(at), from_json("spent", row.value())?));
        }
    }
    Ok(out)
}

fn verdict(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    intent: IntentDigest,
) -> Result<Option<Verdict>, StoreError> {
    let Some(row) = table.get(intent.0)? else { return Ok(None) };
    Ok(from_json::<Confirmation>("confirmations", row.value())?.verdict)
}

/// Whether people can still answer this, or have.
fn is_asked(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    id: IntentDigest,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(row) = table.get(id.0)? else { return Ok(false) };
    let known: Confirmation = from_json("confirmations", row.value())?;
    Ok(!known.is_open() || !known.is_over(now))
}

fn has_room(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    question: &Confirmation,
    most: u32,
    now: Timestamp,
) -> Result<Result<(), Refusal>, StoreError> {
    let mut open: u32 = 0;
    for row in table.iter()? {
        let known: Confirmation = from_json("confirmations", row?.1.value())?;
        if known.is_open() && !known.is_over(now) && known.crowds(question) {
            open = open.saturating_add(1);
        }
    }
    if open < most {
        return Ok(Ok(()));
    }
    let whose = match &question.user {
        Some(user) => user.to_string(),
        None => question.initiator.to_string(),
    };
    let what = if question.pays_nobody.is_some() { "orders that pay nobody" } else { "payments" };
    let reason = format!(
        "{open} {what} of {whose} wait for this party's people, and no more are asked about at a time: answer some \
         (bursar-signer pending, approve, reject)"
    );
    Ok(Err(Refusal::new(RefusalCode::TooManyQuestions, reason)))
}

impl Store {
    /// As [`Past`], outside of any transaction that writes.
    pub fn past(&self, allowed: &Allowed, since: Option<Timestamp>) -> Result<Past, StoreError> {
        let intent = allowed.intent;
        let read = self.0.begin_read()?;
        let spent = match since {
            Some(since) => spent_since(&read.open_table(SPENT)?, intent, since)?,
            None => Vec::new(),
        };
        Ok(Past {
            seen_at: read.open_table(SEEN)?.get(intent.0)?.map(|row| Timestamp(row.value())),
            spent,
            verdict: verdict(&read.open_table(CONFIRMATIONS)?, allowed.question())?,
            freeze: self.local_freeze()?,
            pays: taken(&read.open_table(INTENTS)?, intent)?.iter().any(TookPart::is_payment),
        })
    }

    /// Whether it is remembered when an order was first seen.
    pub(crate) fn was_seen(&self, intent: IntentDigest) -> Result<bool, StoreError> {
        Ok(self.0.begin_read()?.open_table(SEEN)?.get(intent.0)?.is_some())
    }

    /// Keeps an order for a person to look at, unless it is there or `most` like it of its initiator wait already. What nobody answered in
    /// time makes room, and is asked anew where it still matters; answers stay.
    pub(crate) fn ask_person(
        &self,
        question: &Confirmation,
        most: u32,
        now: Timestamp,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let id = question.id;
        let read = self.0.begin_read()?;
        if is_asked(&read.open_table(CONFIRMATIONS)?, id, now)? {
            return Ok(Ok(()));
        }
        // Before anything is written: who asks in vain makes no work for the disk.
        if let Err(refusal) = has_room(&read.open_table(CONFIRMATIONS)?, question, most, now)? {
            return Ok(Err(refusal));
        }
        drop(read);
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(CONFIRMATIONS)?;
            if is_asked(&table, id, now)? {
                return Ok(Ok(()));
            }
            // Another may have come meanwhile.
            if let Err(refusal) = has_room(&table, question, most, now)? {
                return Ok(Err(refusal));
            }
            let mut over = Vec::new();
            for row in table.iter()? {
                let (id, row) = row?;
                let known: Confirmation = from_json("confirmations", row.value())?;
                if known.is_open() && known.is_over(now) {
                    over.push(id.value());
                }
            }
            for id in over {
                table.remove(id)?;
            }
            table.insert(id.0, to_json(question).as_slice())?;
        }
        commit(write, "word asked")?;
        Ok(Ok(()))
    }

    /// Records what a person says. A rejection stays; an approval can still be taken back by one. `None`: nobody asked.
    pub(crate) fn answer(
        &self,
        intent: IntentDigest,
        verdict: Verdict,
    ) -> Result<Option<Confirmation>, StoreError> {
        let write = self.0.begin_write()?;
        let answered = {
            let mut table = write.open_table(CONFIRMATIONS)?;
            let known =
                table.get(intent.0)?.map(|row| from_json("confirmations", row.value())).transpose()?;
            let Some(mut confirmation): Option<Confirmation> = known else { return Ok(None) };
            if !matches!(confirmation.verdict, Some(Verdict::Rejected { .. })) {
                confirmation.verdict = Some(verdict);
                table.insert(intent.0, to_json(&confirmation).as_slice())?;
            }
            confirmation
        };
        commit(write, "word given")?;
        Ok(Some(answered))
    }

    /// All that people were asked, but for what nobody answered in time.
    pub fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        let table = self.0.begin_read()?.open_table(CONFIRMATIONS)?;
        table.iter()?.map(|row| from_json("confirmations", row?.1.value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::{MAX_QUESTIONS, PaysNobody};
    use bursar_domain::{
        ids::TransferId,
        intent::{InitiatorId, InitiatorKey},
    };
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_000 + seconds)
    }

    fn question(number: u32, key: u8, user: Option<&str>, pays_nobody: Option<PaysNobody>) -> Confirmation {
        let mut id = [key; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        Confirmation {
            id: IntentDigest(id),
            asked_at: NOW,
            transfer: TransferId::new(uuid::Uuid::from_u128(u128::from(number))),
            external_id: format!("order-{number}").parse().unwrap(),
            initiator: InitiatorId::Key(InitiatorKey([key; 32])),
            user: user.map(|user| user.parse().unwrap()),
            wallet: "xrp:0/xrp-ed25519/0".parse().unwrap(),
            asset: Asset::Xrp,
            payments: Vec::new(),
            pays_nobody,
            fee: Amount::from_u64(1),
            max_fee: Amount::from_u64(1),
            expires_at: at(60),
            rules: Vec::new(),
            verdict: None,
        }
    }

    fn open() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&Store::file_in(folder.path())).unwrap();
        (folder, store)
    }

    fn ask(store: &Store, question: &Confirmation, most: u32, now: Timestamp) -> bool {
        match store.ask_person(question, most, now).unwrap() {
            Ok(()) => true,
            Err(refusal) => {
                assert_eq!(refusal.code, RefusalCode::TooManyQuestions);
                assert!(refusal.code.is_temporary(), "the orchestrator asks again");
                false
            }
        }
    }

    #[test]
    fn people_are_asked_so_much_of_one_initiator_and_what_they_leave_open_is_forgotten() {
        let (_folder, store) = open();
        let own = |number| question(number, 1, None, None);
        assert_eq!([0, 1, 2, 3].map(|number| ask(&store, &own(number), 3, NOW)), [true, true, true, false]);
        assert!(ask(&store, &own(1), 3, NOW), "what is asked about already is no more");
        assert!(ask(&store, &question(9, 2, None, None), 3, NOW), "others have room");
        let filler = |number| question(number, 1, None, Some(PaysNobody::Fills { nonce: 7 }));
        assert!(ask(&store, &filler(20), 1, NOW) && !ask(&store, &filler(21), 1, NOW), "of its own kind");
        assert_eq!(store.confirmations().unwrap().len(), 5);
        // An answer makes room, and stays.
        let no = Verdict::Rejected { at: NOW, reason: "no".into() };
        store.answer(own(0).id, no.clone()).unwrap().unwrap();
        assert!(ask(&store, &own(3), 3, NOW) && !ask(&store, &own(4), 3, NOW));
        // What expired unanswered goes when there is another question.
        assert!(ask(&store, &Confirmation { expires_at: at(600), ..own(4) }, 3, at(60)));
        let left = store.confirmations().unwrap();
        let left: Vec<_> = left.into_iter().map(|one| (one.id, one.verdict)).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert!(left.contains(&(own(0).id, Some(no))) && left.contains(&(own(4).id, None)));
    }

    /// As long as it is asked for at all: what takes back an order that has expired.
    #[test]
    fn what_was_left_open_for_too_long_is_asked_anew() {
        let (_folder, store) = open();
        let cancels = question(1, 1, None, Some(PaysNobody::Cancels));
        assert!(ask(&store, &cancels, 1, NOW));
        let again = Confirmation { asked_at: at(60), expires_at: at(600), ..cancels.clone() };
        assert!(ask(&store, &again, 1, at(59)));
        assert_eq!(store.confirmations().unwrap(), [cancels], "it can still be answered");
        assert!(ask(&store, &again, 1, at(60)));
        assert_eq!(store.confirmations().unwrap(), std::slice::from_ref(&again));
        // What was answered is not asked again.
        let yes = Verdict::Approved { at: at(61) };
        let answered = store.answer(again.id, yes.clone()).unwrap().unwrap();
        assert!(ask(&store, &Confirmation { expires_at: at(9_000), ..again }, 1, at(600)));
        assert_eq!((store.confirmations().unwrap(), answered.verdict.clone()), (vec![answered], Some(yes)));
    }

    #[test]
    fn the_keys_of_one_user_share_their_room() {
        let (_folder, store) = open();
        let of = |number, key, user| question(number, key, Some(user), None);
        assert!(ask(&store, &of(1, 1, "anna"), 1, NOW));
        assert!(!ask(&store, &of(2, 2, "anna"), 1, NOW), "another key of hers");
        assert!(ask(&store, &of(3, 3, "otto"), 1, NOW));
    }

    #[test]
    fn a_flood_of_questions_stays_small() {
        let (_folder, store) = open();
        let fees = crate::rules::FeeLimit { window: Duration::from_secs(1), count: 4, sum: Amount::ZERO };
        for number in 0..MAX_QUESTIONS + 3 {
            let payment = question(number, 1, None, None);
            let asked = ask(&store, &payment, payment.most_open(&fees), NOW);
            assert_eq!(asked, number < MAX_QUESTIONS, "{number}");
        }
        for number in 1_000..1_010 {
            let filler = question(number, 1, None, Some(PaysNobody::Cancels));
            let asked = ask(&store, &filler, filler.most_open(&fees), NOW);
            assert_eq!(asked, number < 1_004, "{number}");
        }
        assert_eq!(store.confirmations().unwrap().len(), 204);
    }
}
