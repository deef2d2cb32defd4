//! The governance log as this party has it, what contradicts it, and this party's own brake.

use super::{Store, StoreError, commit, from_json, to_json};
use bursar_domain::{
    governance::log::{Entry, Head},
    time::Timestamp,
};
use redb::{
    ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

/// By place in the log.
const GOVERNANCE: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("governance");
/// Entries that contradict the log, by digest.
const FORKS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("governance_forks");
/// What this party's people decided about the log and about signing at all.
const OWN: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("own_decisions");
const SWITCH: &str = "freeze";
const TRUSTED: &str = "trustedHead";

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

    pub(crate) fn record_fork(&self, fork: &Fork) -> Result<(), StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(FORKS)?;
            let digest = fork.entry.digest().0;
            if table.get(digest)?.is_some() || table.len()? >= KEEP_FORKS {
                return Ok(());
            }
            table.insert(digest, to_json(fork).as_slice())?;
        }
        commit(write, "fork recorded")?;
        Ok(())
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

fn local_freeze(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<LocalFreeze>, StoreError> {
    table.get(SWITCH)?.map(|row| from_json("own_decisions", row.value())).transpose()
}

/// Within the transaction that takes part.
pub(super) fn local_freeze_in(write: &WriteTransaction) -> Result<Option<LocalFreeze>, StoreError> {
    local_freeze(&write.open_table(OWN)?)
}
