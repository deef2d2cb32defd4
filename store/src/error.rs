//! Why the store could not do what it was asked.

use crate::store::BEGINS_TO_WRITE;
use bursar_domain::{
    chain::BlockRef,
    ids::{TransactionId, TransferId},
    network::Network,
};

/// A failed operation. Nothing of it is committed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not answer, or refused (a deadlock, a wait that took too long, a lost connection): try again later. What was
    /// being committed may be committed or not; look again before acting.
    #[error("store: {operation}: the database is unavailable")]
    Unavailable { operation: &'static str, source: sqlx::Error },
    /// Somebody else is finding out whether it can be written again; this is what was found last.
    #[error(
        "store: {operation}: the database was unavailable when this was last tried, and it is being tried again"
    )]
    StillUnavailable { operation: &'static str, lack: Option<Lack> },
    /// A row makes no sense. Nothing is guessed: restore it or ask its author.
    #[error("store: {table} row {key:?}: column {column}: {reason}")]
    Corrupt { table: &'static str, column: String, key: String, reason: String },
    #[error("store: migration {version}: {reason}")]
    Migration { version: i64, reason: String },
    #[error(
        "database URL: {reason}; expected such as sqlite:///var/lib/bursar/bursar.db or postgres://user:password@host/database"
    )]
    Url { reason: String },
    #[error("database file {path}: cannot be created with mode 0600")]
    File { path: String, source: std::io::Error },
    /// The cursor is not one that this listing gave out.
    #[error("cursor: not one that this listing returned; start again without it")]
    BadCursor,
    /// It contradicts what is there already.
    #[error("store: {operation}: {reason}")]
    Conflict { operation: &'static str, reason: String },
    #[error("store: no row {key:?} in {table}")]
    NotFound { table: &'static str, key: String },
    /// The exclusivity rule (design: one intent, at most one payment).
    #[error(
        "transfer {transfer} already has transaction {other}, which might still pay and shares no resource with the new one"
    )]
    NotExclusive { transfer: TransferId, other: TransactionId },
    /// A step that the state of the row forbids.
    #[error("store: {operation}: {key}: {reason}")]
    Refused { operation: &'static str, key: String, reason: String },
    /// The block does not follow the last one that was applied.
    #[error("{network}: block {} {} does not follow the cursor {cursor:?}", block.height, block.hash)]
    NotNext { network: Network, cursor: Option<BlockRef>, block: BlockRef },
    /// The block to go back to is older than what is kept.
    #[error("{network}: block {height} is not among the blocks kept; the reorganisation is too deep to undo")]
    TooDeep { network: Network, height: u64 },
}

/// What an unavailable database lacks, where it says so. All of these pass, and nothing is lost by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// Its disk is full, over a quota or a limit, or fails.
    Space,
    /// It may only be read.
    WriteAccess,
    /// Somebody else holds it for too long, or has all of its connections.
    Turn,
}

impl StoreError {
    /// `None` where the database cannot be reached, or another error is meant.
    pub fn lack(&self) -> Option<Lack> {
        match self {
            Self::Unavailable { source: sqlx::Error::PoolTimedOut, .. } => Some(Lack::Turn),
            Self::Unavailable { operation, source: sqlx::Error::Database(error) } => {
                lack(&error.code()?, BEGINS_TO_WRITE.contains(operation))
            }
            Self::StillUnavailable { lack, .. } => *lack,
            _ => None,
        }
    }
}

/// SQLite's extended result codes (sqlite.org/rescode.html) as numbers, and Postgres' SQLSTATE (appendix A of its manual).
fn lack(code: &str, begins_to_write: bool) -> Option<Lack> {
    match code {
        // disk_full, io_error
        "53100" | "58030" => return Some(Lack::Space),
        // read_only_sql_transaction
        "25006" => return Some(Lack::WriteAccess),
        // feature_not_supported: a standby's answer to a transaction that is to write. Elsewhere it says other things, such as that
        // a cached plan must not change its result type.
        "0A000" if begins_to_write => return Some(Lack::WriteAccess),
        // too_many_connections, lock_not_available, cannot_connect_now
        "53300" | "55P03" | "57P03" => return Some(Lack::Turn),
        _ => {}
    }
    // The primary code is the lowest byte.
    match code.parse::<u32>().ok().filter(|_| code.len() < 5)? & 0xff {
        // SQLITE_FULL, SQLITE_IOERR
        13 | 10 => Some(Lack::Space),
        // SQLITE_READONLY, SQLITE_PERM
        8 | 3 => Some(Lack::WriteAccess),
        // SQLITE_BUSY, SQLITE_LOCKED
        5 | 6 => Some(Lack::Turn),
        _ => None,
    }
}

/// Names the operation that failed. `operation` is `<table>.<verb>`.
pub(crate) trait During<T> {
    fn during(self, operation: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, operation: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| match source {
            sqlx::Error::ColumnDecode { index, source } => StoreError::Corrupt {
                table: operation.split_once('.').map_or(operation, |(table, _)| table),
                column: index,
                key: String::new(),
                reason: source.to_string(),
            },
            sqlx::Error::Database(e)
                if e.is_unique_violation() || e.is_foreign_key_violation() || e.is_check_violation() =>
            {
                StoreError::Conflict { operation, reason: e.message().to_owned() }
            }
            source => StoreError::Unavailable { operation, source },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_what_is_lacking() {
        for (code, expected) in [
            ("13", Some(Lack::Space)),
            ("778", Some(Lack::Space)),
            ("53100", Some(Lack::Space)),
            ("8", Some(Lack::WriteAccess)),
            ("1032", Some(Lack::WriteAccess)),
            ("25006", Some(Lack::WriteAccess)),
            ("5", Some(Lack::Turn)),
            ("517", Some(Lack::Turn)),
            ("53300", Some(Lack::Turn)),
            ("40001", None),
            ("08006", None),
            ("1", None),
            ("11", None),
        ] {
            assert_eq!(lack(code, false), expected, "{code}");
            assert_eq!(lack(code, true), expected, "{code}");
        }
        assert_eq!(lack("0A000", true), Some(Lack::WriteAccess));
        assert_eq!(lack("0A000", false), None, "a cached plan, for one");
    }
}
