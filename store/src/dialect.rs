//! All that differs between the databases.

/// Which database is behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
}

impl Dialect {
    /// Starts a transaction that will write. On SQLite it takes the write lock at once: a transaction that reads first and
    /// upgrades later would fail with SQLITE_BUSY instead of waiting.
    pub const fn begin_write(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
        }
    }

    /// The row lock of a select that claims rows; SQLite has one writer and needs none.
    pub const fn skip_locked(self) -> &'static str {
        match self {
            Self::Sqlite => "",
        }
    }

    /// The type of byte columns, for which migrations write `BYTES`.
    pub const fn bytes(self) -> &'static str {
        match self {
            Self::Sqlite => "BLOB",
        }
    }

    /// What each connection is told first. `synchronous=FULL`: a commit that was acknowledged survives a power failure.
    pub const fn on_connect(self, access: Access) -> &'static [&'static str] {
        match (self, access) {
            (Self::Sqlite, Access::Write) => &[
                "PRAGMA busy_timeout = 10000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
            ],
            (Self::Sqlite, Access::Read) => &["PRAGMA busy_timeout = 10000", "PRAGMA query_only = ON"],
        }
    }

    /// Connections of each kind. SQLite has one writer at a time; queueing for it in the pool is fairer than in its lock.
    pub const fn connections(self, access: Access) -> u32 {
        match (self, access) {
            (Self::Sqlite, Access::Write) => 1,
            (Self::Sqlite, Access::Read) => 8,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}
