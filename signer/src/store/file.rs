//! The file behind a co-signer's store, opened again after it failed (a full disk, say).
//!
//! After an error of its file redb takes no more writes, so that nothing is built on what may not have been written. What holds then is what
//! the file says when it is opened again, as after a crash: a commit that failed is in it whole, or not at all. If it is,
//! this party remembers to have taken part where it did not, which costs a refusal at most.

use super::StoreError;
use redb::{Database, ReadTransaction, ReadableDatabase as _, WriteTransaction};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) struct File {
    path: PathBuf,
    /// `None` from when it failed until it could be opened again.
    database: Mutex<Option<Arc<Database>>>,
}

impl File {
    pub fn new(path: PathBuf, database: Database) -> Self {
        Self { path, database: Mutex::new(Some(Arc::new(database))) }
    }

    pub fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database()?.begin_read()?)
    }

    /// # Errors
    /// The database's; where its file failed, after one attempt to open it again.
    pub fn begin_write(&self) -> Result<WriteTransaction, StoreError> {
        let database = self.database()?;
        match database.begin_write().map_err(redb::Error::from) {
            Err(redb::Error::PreviousIo) => self.forget(database),
            begun => return Ok(begun?),
        }
        Ok(self.database()?.begin_write()?)
    }

    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut open = self.lock();
        if let Some(database) = &*open {
            return Ok(database.clone());
        }
        // Never made anew where it is gone: that is for people to decide (`--new-session-store`).
        let database = Arc::new(Database::open(&self.path)?);
        tracing::warn!("the co-signer's store failed, and is open again");
        Ok(open.insert(database).clone())
    }

    /// Lets go of what failed, and with it of the file's lock once nobody else is about to begin something there.
    fn forget(&self, failed: Arc<Database>) {
        let mut open = self.lock();
        if open.as_ref().is_some_and(|database| Arc::ptr_eq(database, &failed)) {
            *open = None;
        }
        drop(failed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        // One assignment, so that a poisoned lock does not matter.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{StorageBackend, TableDefinition, backends::FileBackend};
    use std::{
        fs, io,
        sync::atomic::{AtomicBool, Ordering},
    };

    const TABLE: TableDefinition<'static, u64, u64> = TableDefinition::new("test");

    /// A file on a disk that may be full.
    #[derive(Debug)]
    struct Disk {
        file: FileBackend,
        full: Arc<AtomicBool>,
    }
    impl Disk {
        fn room(&self) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            Ok(())
        }
    }
    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.file.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.file.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.file.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.file.close()
        }
    }

    fn put(store: &File, key: u64) -> Result<(), StoreError> {
        let write = store.begin_write()?;
        write.open_table(TABLE)?.insert(key, key)?;
        write.commit()?;
        Ok(())
    }

    #[test]
    fn what_failed_is_opened_again_with_all_that_was_committed_and_never_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("state.redb"), folder.path().join("aside"));
        let file = fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let disk = Disk { file: FileBackend::new(file).unwrap(), full: full.clone() };
        let store = File::new(path.clone(), Database::builder().create_with_backend(disk).unwrap());
        put(&store, 1).unwrap();
        full.store(true, Ordering::SeqCst);
        assert!(put(&store, 2).unwrap_err().is_of_its_file());

        fs::rename(&path, &aside).unwrap();
        for _ in 0..2 {
            assert!(put(&store, 3).is_err() && !path.exists());
        }
        fs::rename(&aside, &path).unwrap();
        put(&store, 3).unwrap();
        let table = store.begin_read().unwrap().open_table(TABLE).unwrap();
        assert!(table.get(1).unwrap().is_some() && table.get(3).unwrap().is_some());
    }
}
