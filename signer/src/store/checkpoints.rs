//! The last audit checkpoint that this party signed, and what contradicted it.

use super::{Store, StoreError, commit, from_json, to_json};
use bursar_domain::{
    audit::checkpoint::{Checkpoint, NotSigned},
    time::Timestamp,
};
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

const LAST: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("audit_checkpoint");
const ROW: &str = "last";
/// In order of arrival.
const CONTRADICTIONS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("audit_contradictions");

/// Contradictions that are kept: the first ones.
const KEEP: u64 = 100;

/// A checkpoint of another history than the one that this party signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contradiction {
    pub at: Timestamp,
    pub checkpoint: Checkpoint,
    pub reason: String,
}

pub(super) fn create(write: &WriteTransaction) -> Result<(), StoreError> {
    write.open_table(LAST)?;
    write.open_table(CONTRADICTIONS)?;
    Ok(())
}

impl Store {
    /// Notes that this checkpoint is signed, if `decide` says so, who is told of the last one. On disk when it returns. Call it before
    /// the signature leaves.
    pub fn sign_checkpoint(
        &self,
        checkpoint: &Checkpoint,
        decide: impl FnOnce(Option<&Checkpoint>) -> Result<(), NotSigned>,
    ) -> Result<Result<(), NotSigned>, StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(LAST)?;
            let last: Option<Checkpoint> =
                table.get(ROW)?.map(|row| from_json("audit_checkpoint", row.value())).transpose()?;
            if let Err(refused) = decide(last.as_ref()) {
                return Ok(Err(refused));
            }
            if last.as_ref() == Some(checkpoint) {
                return Ok(Ok(()));
            }
            table.insert(ROW, to_json(checkpoint).as_slice())?;
        }
        commit(write, "checkpoint signed")?;
        Ok(Ok(()))
    }

    pub fn last_checkpoint(&self) -> Result<Option<Checkpoint>, StoreError> {
        let table = self.0.begin_read()?.open_table(LAST)?;
        table.get(ROW)?.map(|row| from_json("audit_checkpoint", row.value())).transpose()
    }

    pub fn record_contradiction(&self, found: &Contradiction) -> Result<(), StoreError> {
        let write = self.0.begin_write()?;
        {
            let mut table = write.open_table(CONTRADICTIONS)?;
            let next = table.len()?;
            if next >= KEEP {
                return Ok(());
            }
            table.insert(next, to_json(found).as_slice())?;
        }
        commit(write, "contradiction recorded")?;
        Ok(())
    }

    pub fn contradictions(&self) -> Result<Vec<Contradiction>, StoreError> {
        let table = self.0.begin_read()?.open_table(CONTRADICTIONS)?;
        table.iter()?.map(|row| from_json("audit_contradictions", row?.1.value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bursar_domain::{
        audit::{
            ChainHash, ContentDigest, Place,
            checkpoint::{CheckpointRequest, follows},
        },
        governance::log::EntryDigest,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    fn checkpoint(length: u64) -> Checkpoint {
        let Place { sequence, hash } =
            (0..length).fold(Place::START, |place, _| place.next(ContentDigest([1; 32])));
        Checkpoint { desk: EntryDigest::NONE, sequence, hash, at: NOW }
    }

    fn sign(store: &Store, checkpoint: Checkpoint, digests: usize) -> Result<(), NotSigned> {
        let request = CheckpointRequest { checkpoint, digests: vec![ContentDigest([1; 32]); digests] };
        store.sign_checkpoint(&checkpoint, |last| follows(&request, last, None, NOW)).unwrap()
    }

    #[test]
    fn what_was_signed_binds_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = Store::file_in(folder.path());
        let store = Store::create(&path).unwrap();
        sign(&store, checkpoint(5), 0).unwrap();
        sign(&store, checkpoint(8), 3).unwrap();
        drop(store);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.last_checkpoint().unwrap(), Some(checkpoint(8)));
        assert_eq!(sign(&store, checkpoint(7), 0), Err(NotSigned::Older { last: 8, found: 7 }));
        let other = Checkpoint { hash: ChainHash([9; 32]), ..checkpoint(8) };
        assert!(sign(&store, other, 0).unwrap_err().is_equivocation());
        assert_eq!(sign(&store, checkpoint(10), 1), Err(NotSigned::From(checkpoint(8).place())));
        // The answer was lost: asked again, it is signed again.
        sign(&store, checkpoint(8), 0).unwrap();
        sign(&store, checkpoint(10), 2).unwrap();
        assert_eq!(store.last_checkpoint().unwrap(), Some(checkpoint(10)));
    }

    #[test]
    fn contradictions_are_kept_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&Store::file_in(folder.path())).unwrap();
        let found = Contradiction { at: NOW, checkpoint: checkpoint(1), reason: "another".into() };
        for _ in 0..KEEP + 5 {
            store.record_contradiction(&found).unwrap();
        }
        let kept = store.contradictions().unwrap();
        assert_eq!((kept.len() as u64, &kept[0]), (KEEP, &found));
    }
}
