//! What this party remembers: burnt session ids, what it took part in signing for each intent, the input amounts that it
//! believed, and what it refused.
//!
//! This is where "one intent, at most one payment" holds even against a hostile orchestrator. Once this party may have
//! given its part of a signature to a transaction, that transaction may confirm at any time. A further transaction for the same
//! intent is safe only if no ledger can ever hold both, so it must share a resource (a UTXO, a nonce, a Sequence) with
//! *every* earlier one. The record is on disk before the first protocol message leaves, and nothing is ever removed.
//! Cancellations are in this: one is signed only if it excludes every payment before it, and no payment is signed after one
//! unless each excludes the other.
//!
//! **Children (Bitcoin, child pays for parent).** A child spends change of a payment that this party took part in. Payments of one
//! intent exclude one another and each has one change output, so at most one child of an intent can ever be final; it pays
//! nobody, and costs at most what its parent leaves of the intent's `max_fee`. The parent's fee is this party's own record of it
//! (the highest, if it was told several): what the package says of the parent's inputs is covered by no
//! signature that is asked for now.
//!
//! **What only costs a fee** (fillers, and cancellations of what this party took no part in paying) is limited by number and sum for each
//! wallet over a rolling window: `burns`.
//!
//! **Expired intents** are cancelled only by parties that took part in what is to be cancelled. Otherwise every intent that ever
//! expired unused would be worth its `max_fee` to whoever wants to burn money.
//!
//! **Fillers** ([`bursar_domain::fill`]) exclude what has their nonce, so they can pay nobody twice; but one could take the place of
//! another order's payment that is on its way, which only a cancellation of that payment may do. So a party that took part in
//! a payment with a nonce fills that nonce never, and pays with no nonce that it took part in filling. To see the first, all
//! that it ever took part in is read: gaps are rare.
//!
//! **Input amounts (BIP-143).** A P2WPKH signature commits to the amount of its own input only. From two packages over one
//! transaction, each with a lie about another input and a fee that looks fair, a hostile orchestrator could put together
//! a transaction whose inputs are worth far more than both said, and miners would get the difference. An output's amount never changes,
//! so the first one that this party signed with is the only one that it ever signs with.

mod burns;
mod checkpoints;
mod file;
mod log;
mod orders;
mod past;

pub use checkpoints::Contradiction;
pub use log::{Fork, Former, LocalFreeze, Pins, RestartRefused, SeenEntry};
pub use orders::ShownOrder;
pub use past::{Past, Spent};

use crate::verify::{Allowed, Part, Refusal, RefusalCode};
use bursar_bitcoin::ClaimedInput;
use bursar_domain::{
    amount::Amount,
    effects::{OutPoint, Resource},
    intent::{InitiatorId, IntentDigest},
    network::Network,
    package::PackageDigest,
    time::Timestamp,
};
use bursar_signer_client::message::SessionId;
use redb::{
    Database, Durability, ReadableTable, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    panic::Location,
    path::{Path, PathBuf},
};

const SESSIONS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("sessions");
const INTENTS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("intents");
const EXTERNAL_IDS: TableDefinition<'static, &str, [u8; 32]> = TableDefinition::new("external_ids");
/// `<network>/<resource>` that this party took part in filling, to the order.
const FILLS: TableDefinition<'static, &str, [u8; 32]> = TableDefinition::new("fills");
/// `<network>/<txid>:<vout>` to satoshi.
const INPUT_AMOUNTS: TableDefinition<'static, &str, u64> = TableDefinition::new("input_amounts");
const REFUSALS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("refusals");
const COUNTERS: TableDefinition<'static, &str, u64> = TableDefinition::new("counters");

/// Refusals that are kept; older ones go.
const KEEP_REFUSALS: u64 = 10_000;

pub struct Store(file::File);

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the co-signer's store: {0}")]
    Database(#[source] Box<redb::Error>),
    #[error("the co-signer's store: table {table}: a row does not decode: {source}")]
    Row { table: &'static str, source: serde_json::Error },
}
impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}
impl StoreError {
    /// Whether it is the file that failed: its disk is full, over a limit, or broken.
    pub fn is_of_its_file(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo))
    }
}

/// One run of the protocol, burnt for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BurntSession {
    pub package: PackageDigest,
    /// SHA-256 of what was signed, hex.
    pub message: String,
    pub at: Timestamp,
}

/// A transaction that this party took part in signing, so that may exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct TookPart {
    /// SHA-256 of the unsigned transaction, hex.
    transaction: String,
    #[serde(default = "TookPart::pays")]
    part: Part,
    /// Not recorded by earlier versions: it may have been any.
    #[serde(default)]
    network: Option<Network>,
    /// Of an order to use up a nonce.
    #[serde(default)]
    fills: bool,
    resources: Vec<Resource>,
    /// What it costs at most; not recorded by earlier versions.
    #[serde(default)]
    fee: Option<Amount>,
    /// What a child of it may spend.
    #[serde(default)]
    makes: Vec<OutPoint>,
    at: Timestamp,
}

impl TookPart {
    /// All that earlier versions took part in.
    const fn pays() -> Part {
        Part::Pays
    }
    /// A filler pays nobody, so there is nothing to take back, whatever its purpose was.
    fn is_payment(&self) -> bool {
        self.part == Part::Pays && !self.fills
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedRefusal {
    pub at: Timestamp,
    pub package: PackageDigest,
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// Totals since the store was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    Completed,
    Failed,
    Refused,
}
impl Counter {
    const ALL: [Self; 3] = [Self::Completed, Self::Failed, Self::Refused];
    const fn name(self) -> &'static str {
        match self {
            Self::Completed => "sessionsCompleted",
            Self::Failed => "sessionsFailed",
            Self::Refused => "refusals",
        }
    }
}

impl Store {
    /// Where a co-signer's folder has it.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join("state.redb")
    }

    /// Whether there is one; an empty file is none.
    pub fn exists(path: &Path) -> bool {
        path.metadata().is_ok_and(|file| file.len() > 0)
    }

    /// Opens the store that is there. None is ever made anew by it, also not of an empty file: what a party remembers keeps it
    /// from signing twice.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::with_tables(path, Database::open(path)?)
    }

    /// Makes a store where there is none, or an empty file: for new shares, and on the word of the party's people
    /// (`--new-session-store`). One that is there is opened.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        Self::with_tables(path, Database::create(path)?)
    }

    fn with_tables(path: &Path, database: Database) -> Result<Self, StoreError> {
        let write = database.begin_write()?;
        write.open_table(SESSIONS)?;
        write.open_table(INTENTS)?;
        write.open_table(EXTERNAL_IDS)?;
        write.open_table(FILLS)?;
        write.open_table(INPUT_AMOUNTS)?;
        write.open_table(REFUSALS)?;
        write.open_table(COUNTERS)?;
        checkpoints::create(&write)?;
        log::create(&write)?;
        past::create(&write)?;
        burns::create(&write)?;
        orders::create(&write)?;
        commit(write, "opened")?;
        Ok(Self(file::File::new(path.to_owned(), database)))
    }

    /// Whether the past allows this package, as things stand. [`take_part`](Self::take_part) decides again, for good.
    pub fn check(&self, allowed: &Allowed, now: Timestamp) -> Result<Result<(), Refusal>, StoreError> {
        let read = self.0.begin_read()?;
        let (intents, externals) = (read.open_table(INTENTS)?, read.open_table(EXTERNAL_IDS)?);
        let (amounts, fills) = (read.open_table(INPUT_AMOUNTS)?, read.open_table(FILLS)?);
        let tables = Tables { intents: &intents, externals: &externals, amounts: &amounts, fills: &fills };
        let earlier = match history(&tables, allowed, now)? {
            Ok(earlier) => earlier,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if allowed.only_costs(earlier.iter().any(TookPart::is_payment)) {
            return burns::may_burn(&read, allowed, now);
        }
        Ok(Ok(()))
    }

    /// Burns the session id and records that this party takes part in signing this transaction, if the past allows it, and
    /// `decide` does, who is told of this party's own past back to `since`. On disk when it returns. Call it before the first
    /// protocol message.
    pub fn take_part(
        &self,
        session: SessionId,
        message: &[u8],
        allowed: &Allowed,
        now: Timestamp,
        since: Option<Timestamp>,
        decide: impl FnOnce(&Past) -> Result<Option<Spent>, Refusal>,
    ) -> Result<Result<(), Refusal>, StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut sessions = write.open_table(SESSIONS)?;
            if sessions.get(session.0)?.is_some() {
                let reason = format!("session {session} was used before");
                return Ok(Err(Refusal::new(RefusalCode::SessionReused, reason)));
            }
            let burnt = BurntSession {
                package: allowed.digest,
                message: hex::encode(Sha256::digest(message)),
                at: now,
            };
            sessions.insert(session.0, to_json(&burnt).as_slice())?;
            let mut intents = write.open_table(INTENTS)?;
            let mut externals = write.open_table(EXTERNAL_IDS)?;
            let mut amounts = write.open_table(INPUT_AMOUNTS)?;
            let mut fills = write.open_table(FILLS)?;
            let tables =
                Tables { intents: &intents, externals: &externals, amounts: &amounts, fills: &fills };
            let mut earlier = match history(&tables, allowed, now)? {
                Ok(earlier) => earlier,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let pays = earlier.iter().any(TookPart::is_payment);
            let past = past::past(&write, allowed, since, pays)?;
            match decide(&past) {
                Ok(Some(spent)) => past::spend(&write, allowed.intent, &spent, now)?,
                Ok(None) => {}
                Err(refusal) => return Ok(Err(refusal)),
            }
            if allowed.only_costs(pays)
                && let Err(refusal) = burns::burn(&write, allowed, now)?
            {
                return Ok(Err(refusal));
            }
            let transaction = hex::encode(Sha256::digest(&allowed.unsigned));
            if !earlier.iter().any(|one| one.transaction == transaction) {
                earlier.push(TookPart {
                    transaction,
                    part: allowed.part,
                    network: Some(allowed.network),
                    fills: allowed.fills,
                    resources: allowed.resources.clone(),
                    fee: Some(allowed.fee),
                    makes: allowed.makes.clone(),
                    at: now,
                });
                intents.insert(allowed.intent.0, to_json(&earlier).as_slice())?;
            }
            // The payment that is undone has it, under the initiator whose signature was verified then.
            if !past.undone_by(allowed.part) {
                externals.insert(external_key(allowed).as_str(), allowed.intent.0)?;
                // A bare key's order keeps its name when the desk is governed later.
                let desk = desk_key(allowed);
                if externals.get(desk.as_str())?.is_none() {
                    externals.insert(desk.as_str(), allowed.intent.0)?;
                }
            }
            if allowed.fills {
                for resource in &allowed.resources {
                    fills.insert(fill_key(allowed, resource).as_str(), allowed.intent.0)?;
                }
            }
            for input in &allowed.believed {
                amounts.insert(amount_key(allowed, input).as_str(), input.value.0)?;
            }
        }
        commit(write, "part taken")?;
        Ok(Ok(()))
    }

    pub fn session(&self, session: SessionId) -> Result<Option<BurntSession>, StoreError> {
        let table = self.0.begin_read()?.open_table(SESSIONS)?;
        table.get(session.0)?.map(|row| from_json("sessions", row.value())).transpose()
    }

    pub fn sessions(&self) -> Result<u64, StoreError> {
        Ok(self.0.begin_read()?.open_table(SESSIONS)?.len()?)
    }

    /// SHA-256, hex, of each transaction that this party took part in signing for the intent, in their order.
    pub fn transactions(&self, intent: IntentDigest) -> Result<Vec<String>, StoreError> {
        let table = self.0.begin_read()?.open_table(INTENTS)?;
        Ok(taken(&table, intent)?.into_iter().map(|one| one.transaction).collect())
    }

    pub fn record_refusal(&self, refusal: &RecordedRefusal) -> Result<(), StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(REFUSALS)?;
            let next = table.last()?.map_or(0, |(key, _)| key.value() + 1);
            table.insert(next, to_json(refusal).as_slice())?;
            if let Some(old) = next.checked_sub(KEEP_REFUSALS) {
                table.remove(old)?;
            }
            add(&mut write.open_table(COUNTERS)?, Counter::Refused)?;
        }
        commit(write, "refused")?;
        Ok(())
    }

    /// The newest first.
    pub fn refusals(&self, limit: usize) -> Result<Vec<RecordedRefusal>, StoreError> {
        let table = self.0.begin_read()?.open_table(REFUSALS)?;
        table.iter()?.rev().take(limit).map(|row| from_json("refusals", row?.1.value())).collect()
    }

    /// On disk with the next change that matters: a count is not worth a sync of its own.
    pub fn count(&self, counter: Counter) -> Result<(), StoreError> {
        let mut write = self.0.begin_write()?;
        write.set_durability(Durability::None)?;
        add(&mut write.open_table(COUNTERS)?, counter)?;
        commit(write, counter.name())?;
        Ok(())
    }

    pub fn counters(&self) -> Result<BTreeMap<&'static str, u64>, StoreError> {
        let table = self.0.begin_read()?.open_table(COUNTERS)?;
        let mut out = BTreeMap::new();
        for counter in Counter::ALL {
            out.insert(counter.name(), table.get(counter.name())?.map_or(0, |row| row.value()));
        }
        Ok(out)
    }
}

/// Makes a write durable. All that this party remembers goes through here, so these are its crash points, each named by the line
/// that calls this.
#[track_caller]
fn commit(write: WriteTransaction, said: &str) -> Result<(), StoreError> {
    let at = Location::caller();
    let boundary = format_args!("commit {}:{} {said}", at.file(), at.line());
    Ok(bursar_crash::around(boundary, || write.commit())?)
}

/// What decides about the past, read or about to be written.
struct Tables<'a, I, E, A> {
    intents: &'a I,
    externals: &'a E,
    amounts: &'a A,
    fills: &'a E,
}

/// The transactions that this party took part in for the intent, or why no further one is allowed.
fn history(
    tables: &Tables<
        '_,
        impl ReadableTable<[u8; 32], &'static [u8]>,
        impl ReadableTable<&'static str, [u8; 32]>,
        impl ReadableTable<&'static str, u64>,
    >,
    allowed: &Allowed,
    now: Timestamp,
) -> Result<Result<Vec<TookPart>, Refusal>, StoreError> {
    let Tables { intents, externals, amounts, fills } = tables;
    if let Some(known) = externals.get(external_key(allowed).as_str())?
        && known.value() != allowed.intent.0
    {
        let reason = format!("external id {} was signed for with another intent", allowed.external_id);
        return Ok(Err(Refusal::new(RefusalCode::ExternalIdReused, reason)));
    }
    let earlier = taken(*intents, allowed.intent)?;
    if let Err(refusal) = fits(&earlier, allowed, now) {
        return Ok(Err(refusal));
    }
    if let Some(refusal) = gap(*intents, *fills, allowed)? {
        return Ok(Err(refusal));
    }
    for input in &allowed.believed {
        if let Some(known) = amounts.get(amount_key(allowed, input).as_str())?
            && known.value() != input.value.0
        {
            let reason = format!(
                "input {} is said to hold {} satoshi; this party signed with {}",
                input.outpoint,
                input.value.0,
                known.value()
            );
            return Ok(Err(Refusal::new(RefusalCode::InputAmountChanged, reason)));
        }
    }
    Ok(Ok(earlier))
}

/// What this party took part in for an order.
fn taken(
    intents: &impl ReadableTable<[u8; 32], &'static [u8]>,
    intent: IntentDigest,
) -> Result<Vec<TookPart>, StoreError> {
    intents.get(intent.0)?.map_or_else(|| Ok(Vec::new()), |row| from_json("intents", row.value()))
}

/// Why a nonce is not to be filled, or is filled already.
fn gap(
    intents: &impl ReadableTable<[u8; 32], &'static [u8]>,
    fills: &impl ReadableTable<&'static str, [u8; 32]>,
    allowed: &Allowed,
) -> Result<Option<Refusal>, StoreError> {
    if !allowed.fills {
        for resource in allowed.resources.iter().filter(|one| matches!(one, Resource::Nonce { .. })) {
            if fills.get(fill_key(allowed, resource).as_str())?.is_some() {
                let reason = format!("{resource} was signed for to be filled; it pays nobody");
                return Ok(Some(Refusal::new(RefusalCode::NonceFilled, reason)));
            }
        }
        return Ok(None);
    }
    for row in intents.iter()? {
        let (_, row) = row?;
        let earlier: Vec<TookPart> = from_json("intents", row.value())?;
        let same =
            |one: &&TookPart| !one.fills && one.network.is_none_or(|network| network == allowed.network);
        let mut used = earlier.iter().filter(same).flat_map(|one| &one.resources);
        if let Some(resource) = used.find(|used| allowed.resources.contains(used)) {
            let reason =
                format!("{resource} was signed for with a payment, which only its own order replaces");
            return Ok(Some(Refusal::new(RefusalCode::NonceTaken, reason)));
        }
    }
    Ok(None)
}

/// Whether what this party took part in for the intent leaves room for this.
fn fits(earlier: &[TookPart], allowed: &Allowed, now: Timestamp) -> Result<(), Refusal> {
    let refuse = |code, reason: &str| Err(Refusal::new(code, reason));
    if allowed.expires_at <= now && (allowed.part != Part::Cancels || earlier.is_empty()) {
        let reason = "the intent has expired by this party's clock, and there is nothing that it signed to be cancelled";
        return refuse(RefusalCode::IntentExpired, reason);
    }
    if allowed.part == Part::Child {
        return adopts(earlier, allowed);
    }
    let transaction = hex::encode(Sha256::digest(&allowed.unsigned));
    let exclusive = |one: &TookPart| one.resources.iter().any(|used| allowed.resources.contains(used));
    // A child is final only if its parent is, which is among the others.
    let mut others = earlier.iter().filter(|one| one.part != Part::Child && one.transaction != transaction);
    if others.any(|one| !exclusive(one)) {
        let reason = "another transaction for this intent was signed, and both could confirm";
        return refuse(RefusalCode::WouldPayTwice, reason);
    }
    Ok(())
}

/// Whether all that a child spends was made by payments of this intent that this party took part in, and leaves it enough of
/// the fee.
fn adopts(earlier: &[TookPart], allowed: &Allowed) -> Result<(), Refusal> {
    for resource in &allowed.resources {
        let makes = |one: &&TookPart| one.makes.iter().any(|made| Resource::Utxo(*made) == *resource);
        let parents: Vec<&TookPart> =
            earlier.iter().filter(|one| one.part == Part::Pays).filter(makes).collect();
        if parents.is_empty() {
            let reason =
                format!("{resource} is not change of a payment of this intent that this party signed");
            return Err(Refusal::new(RefusalCode::UnknownParent, reason));
        }
        // Each of them, for one whose inputs were lied about is recorded like the true one.
        for parent in parents {
            let total = parent.fee.and_then(|fee| fee.checked_add(allowed.fee));
            if total.is_none_or(|total| total > allowed.fee_cap) {
                let reason = format!("with its parent it costs more than the cap of {}", allowed.fee_cap);
                return Err(Refusal::new(RefusalCode::FeeAboveCap, reason));
            }
        }
    }
    Ok(())
}

fn fill_key(allowed: &Allowed, resource: &Resource) -> String {
    format!("{}/{resource}", allowed.network)
}

fn amount_key(allowed: &Allowed, input: &ClaimedInput) -> String {
    format!("{}/{}", allowed.network, input.outpoint)
}

fn external_key(allowed: &Allowed) -> String {
    match &allowed.initiator {
        InitiatorId::Key(key) => format!("{key}/{}", allowed.external_id),
        // No key is written so.
        InitiatorId::User { .. } => desk_key(allowed),
    }
}

/// Of a governed desk a name is one for all: what somebody was told had failed, nobody else orders again under the same name.
fn desk_key(allowed: &Allowed) -> String {
    format!("desk/{}", allowed.external_id)
}

fn add(table: &mut redb::Table<'_, &'static str, u64>, counter: Counter) -> Result<(), StoreError> {
    let value = table.get(counter.name())?.map_or(0, |row| row.value());
    table.insert(counter.name(), value.saturating_add(1))?;
    Ok(())
}

fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("these types have string keys and no fallible serialisers")
}

fn from_json<T: DeserializeOwned>(table: &'static str, row: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(row).map_err(|source| StoreError::Row { table, source })
}
