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
    verify::{Allowed, Part},
};
use bursar_domain::{
    amount::Amount,
    asset::Asset,
    governance::{directory::UserId, policy::Price},
    intent::{IntentDigest, Payment},
    time::Timestamp,
    wallet::WalletDescriptor,
};
use redb::{ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};
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

    /// Keeps an order for a person to look at, unless it is there.
    pub(crate) fn ask_person(&self, confirmation: &Confirmation) -> Result<(), StoreError> {
        let id = confirmation.id;
        if self.0.begin_read()?.open_table(CONFIRMATIONS)?.get(id.0)?.is_some() {
            return Ok(());
        }
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(CONFIRMATIONS)?;
            if table.get(id.0)?.is_none() {
                table.insert(id.0, to_json(confirmation).as_slice())?;
            }
        }
        commit(write, "word asked")?;
        Ok(())
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

    /// All that people were ever asked.
    pub fn confirmations(&self) -> Result<Vec<Confirmation>, StoreError> {
        let table = self.0.begin_read()?.open_table(CONFIRMATIONS)?;
        table.iter()?.map(|row| from_json("confirmations", row?.1.value())).collect()
    }
}
