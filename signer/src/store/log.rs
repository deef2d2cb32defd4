//! The governance log as this party has it, what contradicts it, and this party's own brake.

use super::{Store, StoreError, commit, from_json, to_json};
use bursar_domain::{
    governance::{
        log::{Entry, EntryDigest, Head},
        state::State,
    },
    time::Timestamp,
};
use redb::{ReadableTable, ReadableTableMetadata as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

/// By place in the log.
const GOVERNANCE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("governance");
/// Entries that contradict the log, by digest.
const FORKS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("governance_forks");
/// What this party's people decided about the log and about signing at all.
const OWN: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("own_decisions");
const SWITCH: &str = "freeze";
const TRUSTED: &str = "trustedHead";
/// With the genesis of a log behind it: the newest policy that was in force in it when it was begun again.
const FLOOR: &str = "policyFloor/";
/// Logs that this party had before it began one again.
const FORMER: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("governance_former");

/// Contradictions that are kept: the first ones. Everybody who can write to the relay can make more.
const KEEP_FORKS: u64 = 100;

/// An entry and when this party first saw it, by its own clock: delays count from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenEntry {
    #[serde(flatten)]
    pub entry: Entry,
    pub seen_at: Timestamp,
}

/// An entry that names a place which another one has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fork {
    pub at: Timestamp,
    pub entry: Entry,
    pub reason: String,
}

/// What this party holds against any log that it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pins {
    /// The head that this party's people know of from elsewhere: nothing is signed without it.
    pub trusted: Option<Head>,
    /// Nothing is signed under a policy of an entry before this one.
    pub policy_floor: Option<u64>,
}

/// A log that this party had until it began one again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Former {
    pub at: Timestamp,
    pub entries: Vec<SeenEntry>,
    pub forks: Vec<Fork>,
    pub trusted_head: Option<Head>,
    /// The entry of the newest policy that was in force in it.
    pub policy: Option<u64>,
}

/// Why a log is not begun again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestartRefused {
    #[error(
        "this party had a log of this genesis before: give --trust SEQ:DIGEST, the newest entry that you have compared with the other \
         parties over another channel"
    )]
    TrustMissing,
    #[error(
        "--trust: entry {given} is before entry {least}, whose policy was in force here: give a newer one"
    )]
    TrustTooOld { given: u64, least: u64 },
    #[error("--trust: entry 0 is the genesis itself: give the digest of --genesis, or a later entry")]
    NotTheGenesis,
}

/// This party signs nothing since then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalFreeze {
    pub at: Timestamp,
    pub reason: String,
}

pub(super) fn create(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(GOVERNANCE)?;
    write.open_table(FORKS)?;
    write.open_table(FORMER)?;
    write.open_table(OWN)?;
    Ok(())
}

impl Store {
    /// The whole log, in order.
    pub fn governance(&self) -> Result<Vec<SeenEntry>, StoreError> {
        let table = self.0.begin_read()?.open_table(GOVERNANCE)?;
        table.iter()?.map(|row| from_json("governance", row?.1.value())).collect()
    }

    /// Adds entries after the last, from the place `from` on. On disk when it returns. What is there is never replaced: then nothing is
    /// added.
    pub(crate) fn append_governance(&self, from: u64, entries: &[SeenEntry]) -> Result<bool, StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(GOVERNANCE)?;
            if table.len()? != from {
                return Ok(false);
            }
            for (seq, entry) in (from..).zip(entries) {
                table.insert(seq, to_json(entry).as_slice())?;
            }
        }
        commit(write, "governance learnt")?;
        Ok(true)
    }

    /// False if it is known, or if there are too many.
    pub(crate) fn record_fork(&self, fork: &Fork) -> Result<bool, StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(FORKS)?;
            let digest = fork.entry.digest().0;
            if table.get(digest)?.is_some() || table.len()? >= KEEP_FORKS {
                return Ok(false);
            }
            table.insert(digest, to_json(fork).as_slice())?;
        }
        commit(write, "fork recorded")?;
        Ok(true)
    }

    pub fn forks(&self) -> Result<Vec<Fork>, StoreError> {
        let table = self.0.begin_read()?.open_table(FORKS)?;
        table.iter()?.map(|row| from_json("governance_forks", row?.1.value())).collect()
    }

    /// This party's own brake, if it is on.
    pub fn local_freeze(&self) -> Result<Option<LocalFreeze>, StoreError> {
        local_freeze(&self.0.begin_read()?.open_table(OWN)?)
    }

    pub fn set_local_freeze(&self, freeze: Option<&LocalFreeze>) -> Result<(), StoreError> {
        self.decide_own(SWITCH, freeze.map(to_json))
    }

    /// The head that this party's people know of from elsewhere: nothing is signed without it.
    pub fn trusted_head(&self) -> Result<Option<Head>, StoreError> {
        let table = self.0.begin_read()?.open_table(OWN)?;
        table.get(TRUSTED)?.map(|row| from_json("own_decisions", row.value())).transpose()
    }

    /// What is held against a log that begins with `genesis`.
    pub fn pins(&self, genesis: EntryDigest) -> Result<Pins, StoreError> {
        let table = self.0.begin_read()?.open_table(OWN)?;
        let floor = table.get(format!("{FLOOR}{genesis}").as_str())?;
        let policy_floor = floor.map(|row| from_json("own_decisions", row.value())).transpose()?;
        Ok(Pins { trusted: self.trusted_head()?, policy_floor })
    }

    /// The head without which nothing is to be signed when a log of `genesis` is begun: `trust`, which must be given unless this party never
    /// had such a log. Nobody else could tell a log that was cut short, with what was suspended or frozen at its end undone.
    pub fn trust_to_restart(
        &self,
        genesis: EntryDigest,
        trust: Option<Head>,
    ) -> Result<Result<Head, RestartRefused>, StoreError> {
        let begins = |entries: &[SeenEntry]| entries.first().is_some_and(|it| it.entry.digest() == genesis);
        let entries = self.governance()?;
        let now = begins(&entries);
        let known = now || self.former()?.iter().any(|former| begins(&former.entries));
        let first = Head { seq: 0, digest: genesis };
        let trust = match trust {
            Some(trust) => trust,
            None if known => return Ok(Err(RestartRefused::TrustMissing)),
            None => first,
        };
        if trust.seq == 0 && trust != first {
            return Ok(Err(RestartRefused::NotTheGenesis));
        }
        let policy = if now { newest_policy(genesis, &entries) } else { None };
        // No higher: the log that the parties agree on may be the shorter one.
        let least = self.pins(genesis)?.policy_floor.max(policy).unwrap_or(0);
        if trust.seq < least {
            return Ok(Err(RestartRefused::TrustTooOld { given: trust.seq, least }));
        }
        Ok(Ok(trust))
    }

    /// Empties the log, and what was decided about it; `trusted` is waited for from then on. All of it is kept under [`former`](Self::former); what this party signed, saw, froze
    /// and was told by its people stays as it is. A log that begins with the same entry must come to a policy that is no older.
    pub fn restart_governance(&self, trusted: &Head, now: Timestamp) -> Result<Former, StoreError> {
        let (entries, forks) = (self.governance()?, self.forks()?);
        let genesis = entries.first().map(|first| first.entry.digest());
        let former = Former {
            at: now,
            policy: genesis.and_then(|genesis| newest_policy(genesis, &entries)),
            trusted_head: self.trusted_head()?,
            entries,
            forks,
        };
        let write = self.0.begin_write()?;
        {
            write.open_table(GOVERNANCE)?.retain(|_, _| false)?;
            write.open_table(FORKS)?.retain(|_, _| false)?;
            let mut own = write.open_table(OWN)?;
            own.insert(TRUSTED, to_json(trusted).as_slice())?;
            if let (Some(genesis), Some(policy)) = (genesis, former.policy) {
                let name = format!("{FLOOR}{genesis}");
                let known = own.get(name.as_str())?.map(|row| from_json("own_decisions", row.value()));
                let floor = known.transpose()?.unwrap_or(0).max(policy);
                own.insert(name.as_str(), to_json(&floor).as_slice())?;
            }
            let mut all = write.open_table(FORMER)?;
            let next = all.len()?;
            all.insert(next, to_json(&former).as_slice())?;
        }
        commit(write, "governance restarted")?;
        Ok(former)
    }

    /// The logs that this party had before, in their order.
    pub fn former(&self) -> Result<Vec<Former>, StoreError> {
        let table = self.0.begin_read()?.open_table(FORMER)?;
        table.iter()?.map(|row| from_json("governance_former", row?.1.value())).collect()
    }

    pub fn set_trusted_head(&self, head: &Head) -> Result<(), StoreError> {
        self.decide_own(TRUSTED, Some(to_json(head)))
    }

    fn decide_own(&self, name: &'static str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(OWN)?;
            match value {
                Some(value) => table.insert(name, value.as_slice())?,
                None => table.remove(name)?,
            };
        }
        commit(write, "decided here")?;
        Ok(())
    }
}

/// A log that cannot be replayed (by a newer version of this program, say) counts as if its last entry were a policy.
fn newest_policy(genesis: EntryDigest, entries: &[SeenEntry]) -> Option<u64> {
    match State::replay(genesis, entries.iter().map(|seen| (&seen.entry, seen.seen_at))) {
        Ok(state) => Some(state.policy()?.version.seq),
        Err(_) => u64::try_from(entries.len()).ok(),
    }
}

fn local_freeze(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<LocalFreeze>, StoreError> {
    table.get(SWITCH)?.map(|row| from_json("own_decisions", row.value())).transpose()
}

/// Within the transaction that takes part.
pub(super) fn local_freeze_in(write: &WriteTransaction) -> Result<Option<LocalFreeze>, StoreError> {
    local_freeze(&write.open_table(OWN)?)
}
