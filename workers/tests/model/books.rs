//! What must hold of the store's own books, whatever the chain does.

use super::{
    rules::{Rule, Sight, Violation, broken},
    world::World,
};
use crate::shared::{adapter, payload::Payload};
use bursar_domain::{
    effects::Resource,
    ids::{TransactionId, TransferId},
    lifecycle::{Flags, Replacing, Status, Transfer},
    package::Purpose,
};
use bursar_store::{
    halts::HaltId,
    reservations,
    transactions::{Ended, TransactionRecord},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A parent has so many children at most, one after the other.
const CHILDREN: usize = 3;
/// Of each purpose, the transaction under way and one that is to take its place.
const UNSIGNED: usize = 2;

/// As of the last check.
#[derive(Debug, Default, Clone)]
pub struct Books {
    /// The last event that was read.
    pub read_to: i64,
    /// The last event of each transfer.
    told: BTreeMap<TransferId, Value>,
    /// What there was of a transfer when its signed cancellation was first seen.
    cancelled: BTreeMap<TransferId, BTreeSet<TransactionId>>,
    pub halts: BTreeSet<HaltId>,
    sessions: u32,
}

pub async fn check(world: &World, sight: &Sight, books: &mut Books) -> Result<(), Violation> {
    for (transfer, records) in &sight.transfers {
        cancel_stands(transfer, records, books)?;
        bounded(world, transfer, records)?;
        if sight.jobless.contains(&transfer.id) && transfer.status() != Status::Confirming {
            return Err(broken(Rule::NotLost, transfer, "it has a next step, and no job"));
        }
    }
    reserved(world, sight).await?;
    halted(sight, books)?;
    replays(sight, books)
}

pub fn payload(record: &TransactionRecord) -> Payload {
    adapter::read(&record.unsigned.bytes).unwrap()
}

/// A signed transaction that pays nobody and may still be final.
pub fn signed_cancel(records: &[TransactionRecord]) -> Option<&TransactionRecord> {
    let stands = |record: &&TransactionRecord| {
        record.purpose == Purpose::Cancel && record.signed.is_some() && record.ended.is_none()
    };
    records.iter().find(stands)
}

fn cancel_stands(
    transfer: &Transfer,
    records: &[TransactionRecord],
    books: &mut Books,
) -> Result<(), Violation> {
    if signed_cancel(records).is_none() {
        books.cancelled.remove(&transfer.id);
        return Ok(());
    }
    let ids = || records.iter().map(|record| record.id).collect();
    let before = books.cancelled.entry(transfer.id).or_insert_with(ids);
    let outbids =
        |record: &&TransactionRecord| record.purpose != Purpose::Cancel && !before.contains(&record.id);
    match records.iter().find(outbids) {
        None => Ok(()),
        Some(record) => Err(broken(Rule::CancelStands, transfer, format!("{record:?}"))),
    }
}

fn bounded(world: &World, transfer: &Transfer, records: &[TransactionRecord]) -> Result<(), Violation> {
    let too_many = |what: &str, count: usize| {
        Err(broken(Rule::Bounded, transfer, format!("{count} {what}: {records:?}")))
    };
    let made = || records.iter().filter(|record| record.ended != Some(Ended::Released));
    let own = made().filter(|record| !record.is_child()).count();
    let policy = world.context().chain(world.network()).unwrap().replacement.max_replacements;
    if own > 1 + policy + world.asked.get(&transfer.id).copied().unwrap_or_default() {
        return too_many("transactions", own);
    }
    let unsigned = || made().filter(|record| record.signed.is_none() && record.ended.is_none());
    for purpose in [Purpose::Pay, Purpose::Cancel] {
        let count = unsigned().filter(|record| record.purpose == purpose).count();
        if count > UNSIGNED {
            return too_many("of one purpose are not signed", count);
        }
    }
    let mut children = BTreeMap::<Vec<u8>, (usize, usize)>::new();
    for record in records {
        let Purpose::Child { parent } = &record.purpose else { continue };
        let (all, open) = children.entry(parent.bytes.clone()).or_default();
        *all += 1;
        *open += usize::from(record.ended.is_none());
    }
    match children.values().find(|(all, open)| *all > CHILDREN || *open > 1) {
        Some((all, _)) => too_many("children of one parent", *all),
        None => Ok(()),
    }
}

/// By what the bytes say, not by what the store keeps beside them.
async fn reserved(world: &World, sight: &Sight) -> Result<(), Violation> {
    let mut needed = BTreeMap::<Resource, BTreeSet<TransactionId>>::new();
    for record in sight.records() {
        let all = record.effects.resources.iter().cloned().chain(payload(record).uses);
        for resource in all {
            needed.entry(resource).or_default();
        }
        if record.ended.is_none() {
            for resource in payload(record).uses {
                needed.entry(resource).or_default().insert(record.id);
            }
        }
    }
    let network = world.network();
    let mut numbers = BTreeSet::new();
    for (resource, by) in &needed {
        let holder = reservations::holder(world.store(), network, resource).await.unwrap();
        let fits = match holder {
            Some(holder) => by.contains(&holder),
            None => by.is_empty(),
        };
        if !fits {
            let detail = format!("{resource} is held by {holder:?}, and needed by {by:?}");
            return Err(Violation { rule: Rule::Reserved, detail });
        }
        if let (false, Resource::Nonce { nonce: number, .. }) = (by.is_empty(), resource) {
            numbers.insert(*number);
        }
        if let (false, Resource::Sequence { sequence, .. }) = (by.is_empty(), resource) {
            numbers.insert(u64::from(*sequence));
        }
    }
    let taken = reservations::taken(world.store(), network, &world.desk.account).await.unwrap();
    match taken == numbers {
        true => Ok(()),
        false => {
            let detail = format!("taken are {taken:?}, and needed {numbers:?}");
            Err(Violation { rule: Rule::Reserved, detail })
        }
    }
}

/// One account is all that there is, so that each halt is about everything.
fn halted(sight: &Sight, books: &mut Books) -> Result<(), Violation> {
    let sessions = sight.records().map(|record| record.signing_attempts).sum();
    let stood = books.halts.intersection(&sight.halts).next().is_some();
    let began = sessions > books.sessions;
    (books.halts, books.sessions) = (sight.halts.clone(), sessions);
    match stood && began {
        true => Err(Violation { rule: Rule::Halted, detail: format!("while {:?} stood", sight.halts) }),
        false => Ok(()),
    }
}

fn replays(sight: &Sight, books: &mut Books) -> Result<(), Violation> {
    for event in &sight.events {
        books.read_to = event.sequence;
        let Some(id) = event.transfer else { continue };
        let known = books.told.get(&id);
        let follows = match (event.kind.as_str(), known) {
            ("transfer.submitted", None) => true,
            ("transfer.status_changed", Some(last)) => {
                event.payload["version"].as_u64() == last["version"].as_u64().map(|version| version + 1)
                    && event.payload["from"] == last["to"]
            }
            ("transfer.submitted" | "transfer.status_changed", _) => false,
            _ => continue,
        };
        if !follows {
            let detail = format!("{} {} after {known:?}", event.kind, event.payload);
            return Err(Violation { rule: Rule::Replays, detail });
        }
        books.told.insert(id, event.payload.clone());
    }
    for (transfer, _) in &sight.transfers {
        let told = books.told.get(&transfer.id).cloned().unwrap_or_default();
        let or = |name: &str, otherwise: Value| match &told[name] {
            Value::Null => otherwise,
            value => value.clone(),
        };
        let recalled: Vec<u32> = transfer.recalls.iter().map(|recall| recall.payment).collect();
        let same = told["version"] == json!(transfer.version)
            && told["to"] == json!(transfer.status())
            && told["subStatus"] == json!(transfer.sub_status)
            && told["reason"] == json!(transfer.reason)
            && told["transactionId"] == json!(transfer.state.transaction())
            && or("flags", json!(Flags::default())) == json!(transfer.flags)
            && or("replacing", json!(Replacing::default())) == json!(transfer.replacing)
            && or("recalled", json!([])) == json!(recalled);
        if !same {
            return Err(broken(Rule::Replays, transfer, format!("its events tell {told}")));
        }
    }
    Ok(())
}
