//! All that differs between the databases.
//!
//! Writers take turns on both, one transaction at a time. SQLite knows no other way; on Postgres an advisory lock says whose turn it
//! is, over all processes, so that every function of this crate may read and then write on what it read, on both databases alike
//! (docs/adr/0010-postgres.md). Only the job table is written beside it: its statements are each whole in themselves, and a claim locks
//! its rows.

use std::time::Duration;

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Starts a transaction that will write. On SQLite it takes the write lock at once: a transaction that reads first and
    /// upgrades later would fail with SQLITE_BUSY instead of waiting. On Postgres each statement sees all that was committed before
    /// it, so what follows [`take_turn`](Self::take_turn) sees what the writer before has written.
    ///
    /// The statement also says whether the commit survives a power failure, because on SQLite that is a property of the
    /// connection, which the transaction before may have left otherwise.
    pub const fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA synchronous = FULL; BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
        }
    }

    /// As [`begin_write`](Self::begin_write), for leases and the end of jobs. On SQLite they need not survive a power failure: it
    /// ends every process that holds a lease, and a job that comes back is one look more. They become durable with the next
    /// transaction that is. On Postgres a worker on another machine outlives the server, and must not find its lease
    /// given to two.
    pub const fn begin_jobs(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE",
            Self::Postgres => self.begin_write(),
        }
    }

    /// The first statement of a transaction whose turn is its own until it ends. The number is "bursar" in ASCII.
    pub const fn take_turn(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("SELECT pg_advisory_xact_lock(108256570859890)::text"),
        }
    }

    /// For transactions that may have to wait long for their turn, and then run long.
    pub const fn be_patient(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[],
            Self::Postgres => &["SET LOCAL lock_timeout = 0", "SET LOCAL statement_timeout = 0"],
        }
    }

    /// The row lock of a select that claims rows; SQLite has one writer and needs none.
    pub const fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => "FOR UPDATE SKIP LOCKED",
        }
    }

    /// A line of a migration, in which byte columns are `BYTES`. Text sorts and compares by its bytes on both, whatever the
    /// language of a Postgres database.
    pub fn column_types(self, line: &str) -> String {
        match self {
            Self::Sqlite => line.replace("BYTES", "BLOB"),
            Self::Postgres => line.replace("BYTES", "BYTEA").replace(" TEXT", " TEXT COLLATE \"C\""),
        }
    }

    /// What each connection is told first. An acknowledged commit survives a power failure of the database's machine:
    /// `synchronous=FULL`, and `synchronous_commit` not off. On Postgres, the server ends what takes too long, so that a process
    /// that hangs or a machine that is gone cannot keep the turn.
    pub const fn on_connect(self, access: Access) -> &'static [&'static str] {
        match (self, access) {
            (Self::Sqlite, Access::Write) => &[
                "PRAGMA busy_timeout = 10000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
                // In KiB when negative. Small, so that a process takes hardly more memory over a large file than over a small one; what is
                // not in it is in the system's cache. With half of it, over a million transfers half as much again was written: pages that
                // did not fit went to the WAL more than once.
                "PRAGMA cache_size = -4096",
                // Pages of 4 KiB: 128 MB. Should not happen, see `wal.rs`.
                "PRAGMA wal_autocheckpoint = 32000",
            ],
            (Self::Sqlite, Access::Read) => {
                &["PRAGMA busy_timeout = 10000", "PRAGMA query_only = ON", "PRAGMA cache_size = -1024"]
            }
            (Self::Postgres, Access::Write) => &[POSTGRES_SESSION],
            (Self::Postgres, Access::Read) => &[POSTGRES_SESSION, "SET default_transaction_read_only = on"],
        }
    }

    /// How long a connection is waited for: one that others use, or a server that is not there now. SQLite's one writer is queued for.
    pub const fn connected_within(self) -> Duration {
        match self {
            Self::Sqlite => Duration::from_secs(30),
            Self::Postgres => Duration::from_secs(10),
        }
    }

    /// Connections of each kind and process. SQLite has one writer at a time; queueing for it in the pool is fairer than in its
    /// lock. On Postgres one of the writers has its turn, and the others are for the job table.
    pub const fn connections(self, access: Access) -> u32 {
        match (self, access) {
            (Self::Sqlite, Access::Write) => 1,
            (Self::Sqlite, Access::Read) => 8,
            (Self::Postgres, Access::Write) => 4,
            (Self::Postgres, Access::Read) => 8,
        }
    }
}

/// The longest that a writer keeps the others waiting is what `idle_in_transaction_session_timeout` and `statement_timeout` say.
const POSTGRES_SESSION: &str = "SELECT \
     set_config('statement_timeout', '30s', false), \
     set_config('lock_timeout', '20s', false), \
     set_config('idle_in_transaction_session_timeout', '15s', false), \
     set_config('tcp_keepalives_idle', '15', false), \
     set_config('tcp_keepalives_interval', '5', false), \
     set_config('tcp_keepalives_count', '3', false), \
     set_config('client_min_messages', 'warning', false), \
     set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false), \
     set_config('application_name', coalesce(nullif(current_setting('application_name'), ''), 'bursar'), false)";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}
