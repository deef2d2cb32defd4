//! The handle on the database, and the transaction that all writes go through.

use crate::{
    boundary::{Boundary, Said},
    dialect::{Access, Dialect},
    error::{During, StoreError},
    migrate,
};
use sqlx::{
    Any, AnyConnection, AnyPool,
    any::{AnyConnectOptions, AnyPoolOptions},
    pool::PoolConnection,
};
use std::{
    fs,
    future::Future,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    panic::Location,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// A handle on the database; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    read: AnyPool,
    write: AnyPool,
    signals: Arc<Signals>,
    /// Holds the files of a database that is to vanish with the handle.
    _scratch: Option<tempfile::TempDir>,
}

#[derive(Default)]
struct Signals {
    jobs: Arc<Notify>,
    events: Arc<Notify>,
}

/// A transaction that writes. What is not committed is rolled back when it is dropped.
///
/// SQLite has one of these at a time: keep it short, never await a node or a co-signer while holding it, and never start
/// a second one from the same task (it would wait for the first until it times out).
pub struct WriteTx {
    tx: sqlx::Transaction<'static, Any>,
    signals: Arc<Signals>,
    queued_job: bool,
    appended_event: bool,
    said: Said,
}

impl Store {
    /// Opens the database at `url`, creates it when it is missing (mode 0600), and applies the migrations.
    ///
    /// `sqlite:///absolute/path.db`, `sqlite://relative.db`, or `sqlite::memory:`, which is private to this handle and its
    /// clones and vanishes with the last of them.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::Sqlite;
        let (path, scratch) = match sqlite_path(url)? {
            Some(path) => (path, None),
            None => {
                // An in-memory database has no WAL: readers would wait for the writer. A scratch file behaves as production does.
                let folder = tempfile::Builder::new().prefix("bursar-").tempdir();
                let folder = folder.map_err(|source| StoreError::File { path: url.into(), source })?;
                (folder.path().join("scratch.db"), Some(folder))
            }
        };
        create_private(&path)
            .map_err(|source| StoreError::File { path: path.display().to_string(), source })?;
        let options = AnyConnectOptions::from_str(&sqlite_url(&path)).during("store.open")?;
        let write = pool(dialect, Access::Write, &options).await?;
        migrate::run(&write, dialect).await?;
        let read = pool(dialect, Access::Read, &options).await?;
        let inner = Inner { dialect, read, write, signals: Arc::default(), _scratch: scratch };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Starts a transaction that may write.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        let tx = self.inner.write.begin_with(self.inner.dialect.begin_write()).await.during("store.write")?;
        let signals = Arc::clone(&self.inner.signals);
        Ok(WriteTx { tx, signals, queued_job: false, appended_event: false, said: Said::default() })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&mut *self.reader().await?).await.during("store.ping").map(|_| ())
    }

    /// Ends when a commit of this process has queued a nudge. A wake-up after the call is never missed, and a single one
    /// from before it is kept, so it may end once without cause. Other processes' commits do not show: poll as well.
    pub fn notified(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.inner.signals.jobs).notified_owned()
    }

    /// Ends when a commit of this process has appended an event; as [`notified`](Self::notified).
    pub fn events_notified(&self) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&self.inner.signals.events).notified_owned()
    }

    pub(crate) async fn reader(&self) -> Result<PoolConnection<Any>, StoreError> {
        self.inner.read.acquire().await.during("store.read")
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.inner.dialect
    }
}

impl WriteTx {
    /// Makes everything durable, then wakes whoever waits for it.
    ///
    /// Nothing else in this workspace commits what a worker or the API writes, so these are all the crash points of the database;
    /// each is named by the line that calls this (not an `async fn`, which would not know its caller).
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send {
        let Self { tx, signals, queued_job, appended_event, said } = self;
        let boundary = Boundary { at: Location::caller(), said };
        async move {
            if boundary.said.accepts() {
                bursar_crash::begin();
            }
            bursar_crash::passing(&boundary, tx.commit()).await.during("store.commit")?;
            if queued_job {
                wake(&signals.jobs);
            }
            if appended_event {
                wake(&signals.events);
            }
            Ok(())
        }
    }

    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
    pub(crate) fn will_wake_jobs(&mut self) {
        self.queued_job = true;
        self.said.nudge();
    }
    pub(crate) fn will_wake_events(&mut self) {
        self.appended_event = true;
    }
    /// What names its boundary among the crash points.
    pub(crate) fn said(&mut self) -> &mut Said {
        &mut self.said
    }
}

/// Wakes all that wait, and leaves one permit for who is between looking and waiting.
fn wake(signal: &Notify) {
    signal.notify_waiters();
    signal.notify_one();
}

async fn pool(dialect: Dialect, access: Access, options: &AnyConnectOptions) -> Result<AnyPool, StoreError> {
    AnyPoolOptions::new()
        .max_connections(dialect.connections(access))
        .acquire_timeout(Duration::from_secs(30))
        .after_connect(move |connection, _| {
            Box::pin(async move {
                for statement in dialect.on_connect(access) {
                    sqlx::query(*statement).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .connect_with(options.clone())
        .await
        .during("store.open")
}

/// The file that a URL names; `None` for a database in memory.
fn sqlite_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let bad = |reason: &str| StoreError::Url { reason: reason.into() };
    let rest = url.strip_prefix("sqlite:").ok_or_else(|| bad("only sqlite: is supported"))?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (name, options) = rest.split_once('?').unwrap_or((rest, ""));
    if !matches!(options, "" | "mode=rwc" | "mode=rw") {
        return Err(bad("unknown option after '?'"));
    }
    match name {
        ":memory:" => Ok(None),
        "" => Err(bad("no file is named")),
        name => std::path::absolute(name).map(Some).map_err(|e| bad(&e.to_string())),
    }
}

/// The same file as a URL for sqlx, which would otherwise read `%`, `?` and `#` in a path as syntax.
fn sqlite_url(path: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => url.push(char::from(*byte)),
            b if b.is_ascii_alphanumeric() => url.push(char::from(*b)),
            b => url.push_str(&format!("%{b:02X}")),
        }
    }
    url.push_str("?mode=rwc");
    url
}

/// SQLite gives its journal files the mode of the database file, so this protects them too.
fn create_private(path: &Path) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files() {
        let path = |url| sqlite_path(url).map(|path| path.map(|p| p.display().to_string())).ok();
        assert_eq!(path("sqlite:///a/b c.db"), Some(Some("/a/b c.db".into())));
        assert_eq!(path("sqlite:///a.db?mode=rwc"), Some(Some("/a.db".into())));
        assert_eq!(path("sqlite::memory:"), Some(None));
        assert!(
            path("sqlite://rel.db").flatten().is_some_and(|p| p.starts_with('/') && p.ends_with("/rel.db"))
        );
        for bad in ["postgres://x", "sqlite://", "/a.db", "sqlite:///a.db?mode=memory"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_are_escaped() {
        assert_eq!(sqlite_url(Path::new("/a b/%?#.db")), "sqlite:///a%20b/%25%3F%23.db?mode=rwc");
    }

    #[tokio::test]
    async fn the_files_are_private_and_commits_are_durable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a%20 b.db");
        let store = Store::open(&format!("sqlite://{}", path.display())).await.unwrap();
        let mut tx = store.write().await.unwrap();
        for (pragma, expected) in [("synchronous", 2), ("foreign_keys", 1)] {
            let sql = sqlx::AssertSqlSafe(format!("PRAGMA {pragma}"));
            let value: i64 = sqlx::query_scalar(sql).fetch_one(tx.connection()).await.unwrap();
            assert_eq!(value, expected, "{pragma}");
        }
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert!(files.iter().any(|file| file.file_name() == "a%20 b.db-wal"), "{files:?}");
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        let write = sqlx::query("DELETE FROM events").execute(&mut *store.reader().await.unwrap()).await;
        assert!(write.is_err(), "readers cannot write");
    }
}
