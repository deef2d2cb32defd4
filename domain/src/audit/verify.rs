//! An export against public keys, line by line, with nothing else at hand.
//!
//! The chain says *where*: each entry's hash follows from the one before and from what the entry says, so what was changed, left out,
//! put in or moved shows at that entry. The co-signers' signatures say *that*: whoever can write the file can compute hashes, too, but
//! not sign a checkpoint over them. An entry is vouched for once a checkpoint after it has enough signatures.

mod orders;
mod signed;

use orders::Orders;

use super::{
    Place,
    act::{Act, Signed},
    checkpoint::{Checkpoint, CheckpointSignature},
    record::{CheckpointRecord, EntryRecord, FORMAT, Record},
};
use crate::{
    governance::{
        directory::Directory,
        log::{self, EntryDigest},
        signature::InvalidSignature,
        state::{Refused, State},
    },
    ids::TransferId,
    intent::InvalidInitiatorSignature,
    recall::InvalidRecall,
    signing::PartyIndex,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// What somebody who verifies knows from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The co-signers' audit keys.
    pub parties: BTreeMap<PartyIndex, [u8; 32]>,
    /// How many of them must have signed.
    pub threshold: usize,
    /// The governance log's first entry. Where it is not given, it is the one that the co-signers signed with their checkpoints.
    pub genesis: Option<EntryDigest>,
}

/// What is first wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct Broken {
    pub place: Where,
    pub fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Where {
    Header,
    /// This entry of the governance log.
    Governance {
        seq: u64,
    },
    Entry {
        sequence: u64,
    },
    /// One of these entries: hashes were computed anew, and only the co-signers' signatures tell.
    Between {
        first: u64,
        last: u64,
    },
    /// The checkpoint that ends with this entry.
    Checkpoint {
        sequence: u64,
    },
    /// Behind this entry.
    After {
        sequence: u64,
    },
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the header"),
            Self::Governance { seq } => write!(f, "entry {seq} of the governance log"),
            Self::Entry { sequence } => write!(f, "entry {sequence}"),
            Self::Between { first, last } if first == last => write!(f, "entry {first}"),
            Self::Between { first, last } => write!(f, "one of the entries {first} to {last}"),
            Self::Checkpoint { sequence } => write!(f, "the checkpoint at entry {sequence}"),
            Self::After { sequence: 0 } => f.write_str("before the first entry"),
            Self::After { sequence } => write!(f, "after entry {sequence}"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the line is not one of an export: {0}")]
    Line(String),
    #[error("the file does not begin with a header of format {FORMAT}")]
    NoHeader,
    #[error("another record belongs here")]
    Misplaced,
    #[error("it is missing: entry {found} comes in its place")]
    Missing { found: u64 },
    #[error("what it says is not what was chained")]
    Changed,
    #[error("act: {0}")]
    Act(String),
    #[error("signed: {0}")]
    Signed(String),
    #[error("the order that was signed is missing from the file")]
    NoOrder,
    #[error("the order in the file is not the one that was signed")]
    OtherOrder,
    #[error("order: {0}")]
    Initiator(InvalidInitiatorSignature),
    #[error("order: it has no terms, and the desk was governed by then: a bare key orders nothing there")]
    BareOrder,
    #[error(
        "order: terms.policy: entry {0} of the governance log published no policy that ever was in force"
    )]
    NoPolicy(u64),
    #[error(
        "entry {seq} of the governance log was appended here, and the order at entry {order} names a policy that came into force no earlier"
    )]
    PolicyAhead { seq: u64, order: u64 },
    #[error("recall: {0}")]
    Recall(InvalidRecall),
    #[error("its signature cannot be verified: the governance log in the file ends before entry {0}")]
    NoLog(u64),
    #[error("signature: {0}")]
    Signature(InvalidSignature),
    #[error("{0}")]
    Governance(Refused),
    #[error("it belongs to the governance log of another desk")]
    OtherDesk,
    #[error("its hash is not that of the chain in this file")]
    OtherHistory,
    #[error("it is for another desk than the file")]
    CheckpointDesk,
    #[error("it is not newer than the one before")]
    CheckpointTime,
    #[error("party {party} is said to have signed it with a key that is not the one you gave")]
    ForeignKey { party: PartyIndex },
    #[error("party {party} has not signed this")]
    Forged { party: PartyIndex },
    #[error("party {party} is there twice")]
    SignedTwice { party: PartyIndex },
    #[error("the file ends here without its last line: it was cut off")]
    CutOff,
    #[error("the last line does not name the last entry")]
    OtherEnd,
}

/// What an unbroken file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub desk: EntryDigest,
    /// Absent if there is no entry.
    pub first: Option<u64>,
    pub last: Place,
    pub entries: u64,
    pub governance_entries: u64,
    /// Checkpoints with enough signatures.
    pub checkpoints: u64,
    /// The last of them: all up to here is as it was when the co-signers signed.
    pub confirmed: Option<Checkpoint>,
    /// Who signed that one.
    pub confirmed_by: BTreeSet<PartyIndex>,
    /// Entries after it. Nobody vouches for them yet.
    pub unsigned: u64,
    /// Signatures in entries that were verified: of orders and recalls, votes, changes, what compliance decided, and what services said.
    pub signatures: u64,
}

/// Takes the lines of an export, one after the other. What it keeps grows with the governance log only.
pub struct Verifier {
    keys: Keys,
    /// After the header.
    header: Option<EntryDigest>,
    first: Option<u64>,
    last: Place,
    log: Option<State>,
    /// The directory after each entry of the governance log.
    directories: Vec<Directory>,
    digests: Vec<EntryDigest>,
    orders: Orders,
    previous: Option<Checkpoint>,
    confirmed: Option<(Checkpoint, BTreeSet<PartyIndex>)>,
    entries: u64,
    checkpoints: u64,
    signatures: u64,
    ended: bool,
}

impl Verifier {
    pub const fn new(keys: Keys) -> Self {
        Self {
            keys,
            header: None,
            first: None,
            last: Place::START,
            log: None,
            directories: Vec::new(),
            digests: Vec::new(),
            orders: Orders::new(),
            previous: None,
            confirmed: None,
            entries: 0,
            checkpoints: 0,
            signatures: 0,
            ended: false,
        }
    }

    /// One line, without its end.
    ///
    /// # Errors
    /// The first thing that is wrong. Go no further: what comes after it means nothing.
    pub fn line(&mut self, line: &str) -> Result<(), Broken> {
        let record = serde_json::from_str(line);
        let record = record.map_err(|error| self.here(Fault::Line(error.to_string())))?;
        self.record(record)
    }

    fn record(&mut self, record: Record) -> Result<(), Broken> {
        if self.ended {
            return Err(self.here(Fault::Misplaced));
        }
        match (self.header, record) {
            (None, Record::Header { format: FORMAT, desk, after, .. }) => self.header(desk, after),
            (None, _) => Err(Broken { place: Where::Header, fault: Fault::NoHeader }),
            (Some(_), Record::Header { .. }) => Err(self.here(Fault::Misplaced)),
            (Some(desk), Record::Governance { seq, document, signatures, seen_at }) => {
                let entry = log::Entry { document, signatures };
                let fail = |fault| Err(Broken { place: Where::Governance { seq }, fault });
                if self.first.is_some() || seq != self.digests.len() as u64 {
                    return fail(Fault::Misplaced);
                }
                let taken = match self.log.take() {
                    None => State::genesis(&entry, desk),
                    Some(mut state) => state.append(&entry, seen_at).map(|_| state),
                };
                match taken {
                    Ok(state) => {
                        self.orders.logged(&state);
                        self.directories.push(state.directory().clone());
                        self.log = Some(state);
                    }
                    Err(refused) => return fail(Fault::Governance(refused)),
                }
                self.digests.push(entry.digest());
                Ok(())
            }
            (Some(_), Record::Entry(entry)) => self.entry(&entry),
            (Some(desk), Record::Checkpoint(record)) => self.checkpoint(desk, record),
            (Some(_), Record::End { last }) if last == self.last => {
                self.ended = true;
                Ok(())
            }
            (Some(_), Record::End { .. }) => Err(self.here(Fault::OtherEnd)),
        }
    }

    fn header(&mut self, desk: EntryDigest, after: Place) -> Result<(), Broken> {
        let fail = |fault| Err(Broken { place: Where::Header, fault });
        if self.keys.genesis.is_some_and(|genesis| genesis != desk) {
            return fail(Fault::OtherDesk);
        }
        if after.sequence == 0 && after != Place::START {
            return fail(Fault::Changed);
        }
        (self.header, self.last) = (Some(desk), after);
        Ok(())
    }

    fn entry(&mut self, record: &EntryRecord) -> Result<(), Broken> {
        let expected = self.last.sequence.saturating_add(1);
        let fail = |fault| Err(Broken { place: Where::Entry { sequence: expected }, fault });
        if record.sequence != expected {
            return fail(Fault::Missing { found: record.sequence });
        }
        let place = self.last.next(record.entry().digest());
        if place.hash != record.hash {
            return fail(Fault::Changed);
        }
        if let Some(act) = &record.act
            && let Err(error) = serde_json::from_str::<Act>(act)
        {
            return fail(Fault::Act(error.to_string()));
        }
        match self.signed(record) {
            Ok(verified) => self.signatures = self.signatures.saturating_add(verified),
            Err(fault) => return fail(fault),
        }
        self.last = place;
        self.first = self.first.or(Some(expected));
        self.entries = self.entries.saturating_add(1);
        Ok(())
    }

    fn checkpoint(&mut self, desk: EntryDigest, record: CheckpointRecord) -> Result<(), Broken> {
        let CheckpointRecord { checkpoint, signatures } = record;
        let sequence = checkpoint.sequence;
        let fail = |fault| Err(Broken { place: Where::Checkpoint { sequence }, fault });
        let older = self
            .previous
            .is_some_and(|previous| checkpoint.sequence <= previous.sequence || checkpoint.at < previous.at);
        if older {
            return fail(Fault::CheckpointTime);
        }
        if sequence != self.last.sequence {
            return fail(Fault::Misplaced);
        }
        let by = match self.signers(&checkpoint, &signatures) {
            Ok(by) => by,
            Err(fault) => return fail(fault),
        };
        // An installation may have signed checkpoints before it was governed.
        if checkpoint.desk != desk && checkpoint.desk != EntryDigest::NONE {
            return fail(Fault::CheckpointDesk);
        }
        if checkpoint.hash != self.last.hash {
            // Where somebody we know signed it, the chain is what was changed; else it may be the checkpoint.
            if by.is_empty() {
                return fail(Fault::OtherHistory);
            }
            let good = self.confirmed.as_ref().map_or(0, |(confirmed, _)| confirmed.sequence);
            let first = good.saturating_add(1).max(self.first.unwrap_or(sequence));
            let place = Where::Between { first, last: sequence };
            return Err(Broken { place, fault: Fault::OtherHistory });
        }
        if checkpoint.desk != EntryDigest::NONE {
            self.orders.governed();
        }
        self.previous = Some(checkpoint);
        // One from before the desk was governed says nothing about the log that it obeys now.
        let is_of_desk = checkpoint.desk == desk || self.keys.genesis == Some(desk);
        if is_of_desk && by.len() >= self.keys.threshold.max(1) {
            self.checkpoints = self.checkpoints.saturating_add(1);
            self.confirmed = Some((checkpoint, by));
        }
        Ok(())
    }

    /// Whose signatures are under it. One of a party without a given key counts for nothing.
    fn signers(
        &self,
        checkpoint: &Checkpoint,
        signatures: &[CheckpointSignature],
    ) -> Result<BTreeSet<PartyIndex>, Fault> {
        let mut by = BTreeSet::new();
        let mut named = BTreeSet::new();
        for signature in signatures {
            let party = signature.party;
            if !named.insert(party) {
                return Err(Fault::SignedTwice { party });
            }
            let Some(key) = self.keys.parties.get(&party) else { continue };
            if *key != signature.public_key {
                return Err(Fault::ForeignKey { party });
            }
            if !signature.verifies(checkpoint) {
                return Err(Fault::Forged { party });
            }
            by.insert(party);
        }
        Ok(by)
    }

    fn here(&self, fault: Fault) -> Broken {
        Broken { place: Where::After { sequence: self.last.sequence }, fault }
    }

    /// After the last line.
    ///
    /// # Errors
    /// A file that was cut off.
    pub fn finish(self) -> Result<Report, Broken> {
        let Some(desk) = self.header else {
            return Err(Broken { place: Where::Header, fault: Fault::NoHeader });
        };
        if !self.ended {
            return Err(self.here(Fault::CutOff));
        }
        let confirmed_to = self.confirmed.as_ref().map(|(confirmed, _)| confirmed.sequence);
        let before = self.first.map_or(self.last.sequence, |first| first.saturating_sub(1));
        let unsigned = self.last.sequence.saturating_sub(confirmed_to.unwrap_or(before).max(before));
        let (confirmed, confirmed_by) = self.confirmed.unzip();
        Ok(Report {
            desk,
            first: self.first,
            last: self.last,
            entries: self.entries,
            governance_entries: self.digests.len() as u64,
            checkpoints: self.checkpoints,
            confirmed,
            confirmed_by: confirmed_by.unwrap_or_default(),
            unsigned,
            signatures: self.signatures,
        })
    }
}

/// The transfer whose order belongs beside an entry, to look it up: where the order was signed, a payout of it taken back, or a screening
/// service spoke about it.
pub fn order_of(signed: Option<&str>, transfer: Option<&str>) -> Option<TransferId> {
    let signed: Signed = serde_json::from_str(signed?).ok()?;
    signed.is_of_order().then(|| transfer?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
