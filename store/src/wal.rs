//! Takes what commits have left in SQLite's WAL back into the database file, beside the commits.
//!
//! SQLite by itself does that within the commit that fills the WAL, and everybody queues behind it. How long it takes depends on how many
//! pages were touched and how far they lie apart, so it grows with the table: with a million old transfers in the file such a
//! commit took half a second. Here a connection of its own does nearly all of it while others read and write (`PASSIVE` waits for nobody and
//! nobody for it, <https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>); what they commit meanwhile is little, and follows in the
//! writer's turn, so that the WAL is whole for a moment and begins anew.
//!
//! Nothing depends on it: what is in the WAL is durable, and should this fail, SQLite goes by `wal_autocheckpoint`.

use crate::dialect::{Access, Dialect};
use sqlx::{AnyConnection, AnyPool, Connection as _, any::AnyConnectOptions};
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use tokio::{sync::Notify, task::AbortHandle};

/// 60 to 80 MB of WAL: most pages are written again and again, and go back once for many commits.
const COMMITS: u32 = 1000;

const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Ends with the store.
pub(crate) struct Wal {
    commits: AtomicU32,
    full: Arc<Notify>,
    task: AbortHandle,
}

impl Wal {
    /// Call it from within the runtime.
    pub fn keep_short(options: AnyConnectOptions, writer: AnyPool) -> Self {
        let full = Arc::<Notify>::default();
        let task = tokio::spawn(run(options, writer, Arc::clone(&full))).abort_handle();
        Self { commits: AtomicU32::new(0), full, task }
    }

    /// Call it after each commit.
    pub fn committed(&self) {
        if self.commits.fetch_add(1, Ordering::Relaxed) % COMMITS == COMMITS - 1 {
            self.full.notify_one();
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(options: AnyConnectOptions, writer: AnyPool, full: Arc<Notify>) {
    let mut beside = None;
    loop {
        full.notified().await;
        if let Err(error) = shorten(&options, &mut beside, &writer).await {
            tracing::warn!(%error, "the WAL was not taken back into the file; SQLite does so by itself once it is long");
            beside = None;
        }
    }
}

async fn shorten(
    options: &AnyConnectOptions,
    beside: &mut Option<AnyConnection>,
    writer: &AnyPool,
) -> sqlx::Result<()> {
    let connection = match beside {
        Some(connection) => connection,
        None => beside.insert(connect(options).await?),
    };
    sqlx::query(PASSIVE).execute(connection).await?;
    sqlx::query(PASSIVE).execute(&mut *writer.acquire().await?).await?;
    Ok(())
}

async fn connect(options: &AnyConnectOptions) -> sqlx::Result<AnyConnection> {
    let mut connection = AnyConnection::connect_with(options).await?;
    for statement in Dialect::Sqlite.on_connect(Access::Write) {
        sqlx::query(*statement).execute(&mut connection).await?;
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use crate::Store;
    use bursar_domain::time::Timestamp;
    use serde_json::json;
    use std::time::Duration;

    #[tokio::test]
    async fn the_wal_begins_anew_beside_the_commits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let store = Store::open(&format!("sqlite://{}", path.display())).await.unwrap();
        let payload = json!({ "a": "b".repeat(2000) });
        let in_file = || std::fs::metadata(&path).unwrap().len();
        let before = in_file();
        let commit = async || {
            let mut tx = store.write().await.unwrap();
            crate::events::append(&mut tx, "a.b", None, Timestamp(0), &payload).await.unwrap();
            tx.commit().await.unwrap();
        };
        for _ in 0..super::COMMITS {
            commit().await;
        }
        // Far below what SQLite waits for, so only this can have made the file longer.
        for _ in 0..200 {
            if in_file() > before {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{before} bytes before, {} now", in_file());
    }
}
