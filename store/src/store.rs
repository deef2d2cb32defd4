//! The handle on the database, and the transaction that all writes go through.

use crate::{
    act::{self, Doer},
    boundary::{Boundary, Said},
    dialect::{Access, Dialect},
    error::{During, Lack, StoreError},
    events,
    leads::Leads,
    line::{ANSWERS_WITHIN, Line, escaped},
    migrate,
    readers::{Reader, Readers},
    row::Fields,
    signals::{Ear, Signals, Wakes},
    wal::Wal,
};
use sqlx::{
    Any, AnyConnection, AnyPool, Connection,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use std::{
    fs,
    future::Future,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    panic::Location,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// A handle on the database; clones share it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    /// Who writes where no request is being served.
    doer: Option<Arc<Doer>>,
}

struct Inner {
    dialect: Dialect,
    readers: Readers,
    write: AnyPool,
    signals: Arc<Signals>,
    /// Writers of this process queue here for the database's turn, so that they do not fill the pool with connections that wait.
    turn: Arc<Semaphore>,
    /// Those of the job table queue here, so that they always leave a connection to who has the turn: nobody else can go on until
    /// its transaction ends.
    jobs: Arc<Semaphore>,
    /// Hears other processes, on Postgres.
    ear: Option<Ear>,
    /// Leads for this process, on Postgres.
    leads: Option<Leads>,
    /// To a server elsewhere.
    _line: Option<Line>,
    /// On SQLite.
    wal: Option<Arc<Wal>>,
    /// Held by the one who tries out a write.
    trying: Mutex<()>,
    /// What came of the last one.
    tried: std::sync::Mutex<Option<Tried>>,
    /// Holds the files of a database that is to vanish with the handle.
    _scratch: Option<tempfile::TempDir>,
}

/// What came of a write that was tried out.
#[derive(Debug, Clone, Copy)]
struct Tried {
    at: Instant,
    result: Result<(), Option<Lack>>,
}

/// A transaction that writes. What is not committed is rolled back when it is dropped.
///
/// There is one of these at a time, over all processes: keep it short, never await a node or a co-signer while holding it, and
/// never start a second one from the same task (it would wait for the first until it times out).
pub struct WriteTx {
    tx: sqlx::Transaction<'static, Any>,
    dialect: Dialect,
    signals: Arc<Signals>,
    wakes: Wakes,
    said: Said,
    doer: Option<Arc<Doer>>,
    wal: Option<Arc<Wal>>,
    /// Its place among the writers of its kind, given back after the transaction has ended.
    _place: Option<OwnedSemaphorePermit>,
}

impl Store {
    /// Opens the database at `url` and applies the migrations.
    ///
    /// `sqlite:///absolute/path.db` or `sqlite://relative.db`, which is created when it is missing (mode 0600); `sqlite::memory:`,
    /// which is private to this handle and its clones and vanishes with the last of them; or
    /// `postgres://user:password@host:port/database?sslmode=verify-full`, a database that exists, in UTF-8, which any number of
    /// processes share. What the URL leaves out is taken from libpq's variables (`PGPASSWORD`, `PGPASSFILE`, `PGSSLROOTCERT`, …).
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_answering(url, ANSWERS_WITHIN).await
    }

    /// As [`open`](Self::open); an answer of a server that takes longer than this counts as a lost connection. What the server itself gives a
    /// statement, 30 seconds, should be less.
    pub async fn open_answering(url: &str, answers_within: Duration) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        match url.starts_with("postgres://") || url.starts_with("postgresql://") {
            true => Self::open_postgres(url, answers_within).await,
            false => Self::open_sqlite(url).await,
        }
    }

    async fn open_postgres(url: &str, answers_within: Duration) -> Result<Self, StoreError> {
        let dialect = Dialect::Postgres;
        let options = AnyConnectOptions::from_str(url)
            .map_err(|_| StoreError::Url { reason: "it is not a URL".into() })?;
        // A connection of its own: a pool would try again and again, and then say no more than that it took too long.
        let mut first = AnyConnection::connect_with(&options).await.map_err(|error| match error {
            sqlx::Error::Configuration(source) => StoreError::Url { reason: source.to_string() },
            source => StoreError::Unavailable { operation: "store.open", source },
        })?;
        check_encoding(&mut first).await?;
        migrate::run(&mut first, dialect).await?;
        // What is not said in order would be a warning in the server's log.
        first.close().await.during("store.open")?;
        let line = Line::open(url, answers_within)?;
        let pooled = match &line {
            Some(line) => AnyConnectOptions::from_str(line.url()).during("store.open")?,
            None => options.clone(),
        };
        let write = pool(dialect, Access::Write, &pooled).await?;
        let readers = Readers::Server(pool(dialect, Access::Read, &pooled).await?);
        let signals = Arc::<Signals>::default();
        let ear = Some(Ear::new(url.to_owned(), Arc::clone(&signals)));
        let (turn, jobs) = queues(dialect);
        let leads = Some(Leads::new(options));
        let inner = Inner {
            dialect,
            readers,
            write,
            signals,
            turn,
            jobs,
            ear,
            leads,
            _line: line,
            wal: None,
            trying: Mutex::default(),
            tried: std::sync::Mutex::default(),
            _scratch: None,
        };
        Ok(Self { inner: Arc::new(inner), doer: None })
    }

    async fn open_sqlite(url: &str) -> Result<Self, StoreError> {
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
        migrate::run(&mut *write.acquire().await.during("store.open")?, dialect).await?;
        let wal = Some(Arc::new(Wal::keep_short(options.clone(), write.clone())));
        let readers = Readers::file(options);
        let (turn, jobs) = queues(dialect);
        let inner = Inner {
            dialect,
            readers,
            write,
            signals: Arc::default(),
            turn,
            jobs,
            ear: None,
            leads: None,
            _line: None,
            wal,
            trying: Mutex::default(),
            tried: std::sync::Mutex::default(),
            _scratch: scratch,
        };
        Ok(Self { inner: Arc::new(inner), doer: None })
    }

    /// A handle whose transactions are `doer`'s, but for those within [`act::by`].
    pub fn acting(self, doer: Arc<Doer>) -> Self {
        Self { doer: Some(doer), ..self }
    }

    /// Starts a transaction that may write, when all writers before it are done.
    pub async fn write(&self) -> Result<WriteTx, StoreError> {
        const OPERATION: &str = WRITE;
        let turn = place(OPERATION, &self.inner.turn).await?;
        let mut tx = self.begin(OPERATION, self.inner.dialect.begin_write()).await?;
        if let Some(statement) = self.inner.dialect.take_turn() {
            sqlx::query(statement).execute(tx.connection()).await.during(OPERATION)?;
        }
        tx.doer = act::current().or_else(|| self.doer.clone());
        tx._place = Some(turn);
        Ok(tx)
    }

    /// Starts a transaction that writes the job table (and its counter) and nothing else, and reads nothing else: on Postgres it does
    /// not wait for its turn.
    pub(crate) async fn write_jobs(&self) -> Result<WriteTx, StoreError> {
        const OPERATION: &str = WRITE_JOBS;
        let place = place(OPERATION, &self.inner.jobs).await?;
        let mut tx = self.begin(OPERATION, self.inner.dialect.begin_jobs()).await?;
        tx._place = Some(place);
        Ok(tx)
    }

    async fn begin(&self, operation: &'static str, statement: &'static str) -> Result<WriteTx, StoreError> {
        let dialect = self.inner.dialect;
        let tx = self.inner.write.begin_with(statement).await.during(operation)?;
        let signals = Arc::clone(&self.inner.signals);
        let (wakes, said, wal) = (Wakes::default(), Said::default(), self.inner.wal.clone());
        Ok(WriteTx { tx, dialect, signals, wakes, said, doer: None, wal, _place: None })
    }

    /// Whether this process leads `task` ("follow bitcoin:regtest"), of which one process at a time is enough. Ask before each round
    /// of the task: the first that asks leads until its connection for it ends, and then the next. On SQLite everybody leads. It saves
    /// work and nothing else: what is written must be right whoever else believes to lead.
    pub async fn leads(&self, task: &str) -> Result<bool, StoreError> {
        match &self.inner.leads {
            Some(leads) => leads.ask(task).await,
            None => Ok(true),
        }
    }

    /// Whether processes on other machines may share this database.
    pub fn is_shared(&self) -> bool {
        self.inner.dialect == Dialect::Postgres
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&mut *self.reader().await?).await.during("store.ping").map(|_| ())
    }

    /// Whether the database answers, and takes what is written: after a fail-over it may only be read, and its disk may be full. A
    /// write is tried out at most every two seconds, however often this is asked; who asks while another tries gets the answer of
    /// the time before.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.ping().await?;
        let last = self.tried();
        if last.is_some_and(|last| last.result.is_ok() && last.at.elapsed() < TRIED_FOR) {
            return Ok(());
        }
        let _trying = match (self.inner.trying.try_lock(), last) {
            (Ok(turn), _) => turn,
            (Err(_), Some(Tried { result, .. })) => {
                return result.map_err(|lack| StoreError::StillUnavailable { operation: TRY, lack });
            }
            // Nothing is known yet.
            (Err(_), None) => self.inner.trying.lock().await,
        };
        let unavailable = || StoreError::Unavailable { operation: TRY, source: sqlx::Error::PoolTimedOut };
        let written = timeout(WRITTEN_WITHIN, self.try_write()).await;
        let written = written.unwrap_or_else(|_| Err(unavailable()));
        let result = written.as_ref().copied().map_err(StoreError::lack);
        // Whole after each use, so that a poisoned lock does not matter.
        *self.inner.tried.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Tried { at: Instant::now(), result });
        written
    }

    fn tried(&self) -> Option<Tried> {
        *self.inner.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts up a row that nobody reads: one that stays as it is would not be written. The one commit that is no crash point: it
    /// depends on who asks, and nothing depends on it.
    async fn try_write(&self) -> Result<(), StoreError> {
        let WriteTx { mut tx, .. } = self.begin(TRY, self.inner.dialect.begin_jobs()).await?;
        sqlx::query(
            "INSERT INTO counters (name, value) VALUES ('written', 1) \
             ON CONFLICT (name) DO UPDATE SET value = counters.value + 1",
        )
        .execute(&mut *tx)
        .await
        .during(TRY)?;
        tx.commit().await.during(TRY)
    }

    /// Ends when a commit has queued a nudge. A wake-up after the call is never missed, and a single one from before it is kept,
    /// so it may end once without cause. Commits of other processes show on Postgres, within milliseconds as long as the connection
    /// for it holds; on SQLite they do not: poll as well. Call it from within the runtime.
    pub fn notified(&self) -> impl Future<Output = ()> + Send + use<> {
        self.listen();
        self.inner.signals.jobs()
    }

    /// Ends when a commit has appended an event; as [`notified`](Self::notified).
    pub fn events_notified(&self) -> impl Future<Output = ()> + Send + use<> {
        self.listen();
        self.inner.signals.events()
    }

    fn listen(&self) {
        if let Some(ear) = &self.inner.ear {
            ear.open();
        }
    }

    pub(crate) async fn reader(&self) -> Result<Reader, StoreError> {
        self.inner.readers.acquire().await.during("store.read")
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.inner.dialect
    }
}

impl WriteTx {
    /// Makes everything durable, then wakes whoever waits for it.
    ///
    /// Nothing else in this workspace commits what a worker or the API writes (but for a row without meaning, see [`Store::ready`]), so
    /// these are all the crash points of the database; each is named by the line that calls this (not an `async fn`, which would not know its caller).
    #[track_caller]
    pub fn commit(self) -> impl Future<Output = Result<(), StoreError>> + Send {
        const OPERATION: &str = "store.commit";
        let at = Location::caller();
        let mut this = self;
        async move {
            this.tell_at_least().await?;
            let Self { mut tx, dialect, signals, wakes, said, doer, wal, _place: turn } = this;
            let boundary = Boundary { at, said };
            if boundary.said.accepts() {
                bursar_crash::begin();
            }
            if dialect == Dialect::Postgres {
                sqlx::query(wakes.notify()).execute(&mut *tx).await.during(OPERATION)?;
            }
            bursar_crash::passing(&boundary, tx.commit()).await.during(OPERATION)?;
            drop(turn);
            if let Some(wal) = wal {
                wal.committed();
            }
            if let Some(doer) = doer.filter(|_| wakes.events) {
                doer.tell();
            }
            signals.wake(wakes);
            Ok(())
        }
    }

    /// What was asked for is in the log, whatever it changed.
    async fn tell_at_least(&mut self) -> Result<(), StoreError> {
        let Some(doer) = self.doer.clone().filter(|_| !self.wakes.events) else { return Ok(()) };
        let Some(at) = doer.asked_at() else { return Ok(()) };
        let payload = serde_json::json!({ "request": doer.act().origin.request });
        events::append(self, act::ASKED, None, at, &payload).await
    }

    pub(crate) fn connection(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
    pub(crate) fn will_wake_jobs(&mut self) {
        self.wakes.jobs = true;
        self.said.nudge();
    }
    pub(crate) fn doer(&self) -> Option<&Doer> {
        self.doer.as_deref()
    }
    pub(crate) fn will_wake_events(&mut self) {
        self.wakes.events = true;
    }
    /// What names its boundary among the crash points.
    pub(crate) fn said(&mut self) -> &mut Said {
        &mut self.said
    }
}

/// Where writers queue for the database's turn, and for the job table.
fn queues(dialect: Dialect) -> (Arc<Semaphore>, Arc<Semaphore>) {
    let connections = usize::try_from(dialect.connections(Access::Write)).unwrap_or(usize::MAX);
    let beside = connections.saturating_sub(1).clamp(1, Semaphore::MAX_PERMITS);
    (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(beside)))
}

async fn place(operation: &'static str, queue: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    match timeout(TURN_WITHIN, Arc::clone(queue).acquire_owned()).await {
        Ok(place) => Ok(place.expect("the semaphore is never closed")),
        Err(_) => Err(StoreError::Unavailable { operation, source: sqlx::Error::PoolTimedOut }),
    }
}

/// A connection that was not used for this long may have been closed by the server meanwhile.
const RESTED: Duration = Duration::from_millis(500);

/// How long a writer waits for those of its own process.
const TURN_WITHIN: Duration = Duration::from_secs(30);

const WRITE: &str = "store.write";
const WRITE_JOBS: &str = "store.write_jobs";
const TRY: &str = "store.try_write";
/// Operations whose first statement begins a transaction that is to write.
pub(crate) const BEGINS_TO_WRITE: [&str; 3] = [WRITE, WRITE_JOBS, TRY];
/// How long a write that went well answers for the next one.
const TRIED_FOR: Duration = Duration::from_secs(2);
/// How long a write that is tried out may wait for others.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);

/// Text is kept as it is: another encoding would refuse, or change, what does not fit into it.
async fn check_encoding(connection: &mut AnyConnection) -> Result<(), StoreError> {
    const OPERATION: &str = "store.open";
    let row = sqlx::query(
        "SELECT current_database()::text AS name, current_setting('server_encoding') AS encoding",
    )
    .fetch_one(connection)
    .await
    .during(OPERATION)?;
    let fields = Fields::new(&row, "pg_database", "name")?;
    match fields.text("encoding")?.as_str() {
        "UTF8" => Ok(()),
        other => {
            let reason = format!(
                "the database {} has the encoding {other}; make one with ENCODING 'UTF8' TEMPLATE template0",
                fields.text("name")?
            );
            Err(StoreError::Url { reason })
        }
    }
}

async fn pool(dialect: Dialect, access: Access, options: &AnyConnectOptions) -> Result<AnyPool, StoreError> {
    // A file that it may not open for writing SQLite opens for reading, and goes by that for as long as the connection lasts. Such a one is
    // used once, so that the next writer finds out whether that is still so.
    let may_write = (dialect == Dialect::Sqlite && access == Access::Write).then(Arc::<AtomicBool>::default);
    let (found, known) = (may_write.clone(), may_write);
    AnyPoolOptions::new()
        .max_connections(dialect.connections(access))
        .acquire_timeout(dialect.connected_within())
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let found = found.clone();
            Box::pin(async move {
                for statement in dialect.on_connect(access) {
                    sqlx::query(*statement).execute(&mut *connection).await?;
                }
                if let Some(found) = found {
                    found.store(!is_read_only(connection).await, Ordering::Relaxed);
                }
                Ok(())
            })
        })
        // SQLite ends a transaction by itself when it cannot write; the driver goes on counting it as open, and would refuse
        // every later one on this connection. A connection to a server was tested when it was given back; it is asked again
        // only if it has rested since.
        .before_acquire(move |connection, resting| {
            let stays = known.as_ref().is_none_or(|known| known.load(Ordering::Relaxed));
            Box::pin(async move {
                if dialect == Dialect::Postgres && resting.idle_for > RESTED {
                    connection.ping().await?;
                }
                Ok(stays && !connection.is_in_transaction())
            })
        })
        .connect_with(options.clone())
        .await
        .during("store.open")
}

/// Whether SQLite opened the file for reading only: it begins a transaction all the same, and refuses what would write, also to no row.
async fn is_read_only(connection: &mut AnyConnection) -> bool {
    let nothing = "UPDATE counters SET value = value WHERE name IS NULL";
    let tried = sqlx::query(nothing).execute(connection).await.during("store.open");
    tried.is_err_and(|error| error.lack() == Some(Lack::WriteAccess))
}

/// The file that a URL names; `None` for a database in memory.
fn sqlite_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    let bad = |reason: &str| StoreError::Url { reason: reason.into() };
    let rest = url.strip_prefix("sqlite:").ok_or_else(|| bad("only sqlite: and postgres: are supported"))?;
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
    format!("sqlite://{}?mode=rwc", escaped(path))
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
    async fn who_asks_while_another_tries_gets_the_last_answer() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        store.ready().await.unwrap();
        let last = |result| Some(Tried { at: Instant::now() - TRIED_FOR, result });
        let trying = store.inner.trying.lock().await;
        *store.inner.tried.lock().unwrap() = last(Ok(()));
        store.ready().await.unwrap();
        for lack in [None, Some(Lack::Space)] {
            *store.inner.tried.lock().unwrap() = last(Err(lack));
            let error = store.ready().await.unwrap_err();
            assert!(matches!(error, StoreError::StillUnavailable { .. }), "{error:?}");
            assert_eq!(error.lack(), lack);
        }
        drop(trying);
        store.ready().await.unwrap();
        assert!(store.tried().is_some_and(|tried| tried.result.is_ok()));
    }

    #[tokio::test]
    async fn writers_of_jobs_leave_a_connection_to_who_has_the_turn() {
        let folder = tempfile::tempdir().unwrap();
        let options = bursar_regtest::PostgresOptions::new(folder.path()).without_fsync();
        let server = bursar_regtest::Postgres::start(options).await.unwrap();
        let store = Store::open(server.url()).await.unwrap();
        let all = Dialect::Postgres.connections(Access::Write);
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (end, ended) = tokio::sync::watch::channel(false);
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..2 * all {
            let (store, begun, mut ended) = (store.clone(), begun.clone(), ended.clone());
            writers.spawn(async move {
                let jobs = store.write_jobs().await.unwrap();
                begun.send(()).unwrap();
                ended.wait_for(|end| *end).await.unwrap();
                jobs.commit().await.unwrap();
            });
        }
        for _ in 1..all {
            begins.recv().await.unwrap();
        }
        // Time for one too many to take the last one.
        tokio::time::sleep(Duration::from_millis(100)).await;
        store.write().await.unwrap().commit().await.unwrap();
        end.send(true).unwrap();
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
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
        drop(tx);
        // A transaction of the job table leaves nothing behind for the next.
        let mut jobs = store.write_jobs().await.unwrap();
        let level = sqlx::query_scalar("PRAGMA synchronous");
        assert_eq!(level.fetch_one(jobs.connection()).await.ok(), Some(1_i64));
        jobs.commit().await.unwrap();
        let mut tx = store.write().await.unwrap();
        let level = sqlx::query_scalar("PRAGMA synchronous");
        assert_eq!(level.fetch_one(tx.connection()).await.ok(), Some(2_i64));
        drop(tx);
        let files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
        assert!(files.iter().any(|file| file.file_name() == "a%20 b.db-wal"), "{files:?}");
        for file in files {
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
        }
        let write = sqlx::query("DELETE FROM events").execute(&mut *store.reader().await.unwrap()).await;
        assert!(write.is_err(), "readers cannot write");
    }
}
