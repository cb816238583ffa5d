//! What is wrong with the store, in a sentence that says what to do.

use crate::Error;
use sea_orm::{ConnAcquireErr, DbErr, RuntimeErr, sqlx};

/// Error message of a writer that timed out waiting for its turn or for a lock.
const LOCK_TIMEOUT_MESSAGE: &str = "the database was locked by another program, or busy, for 5 s; nothing was written";

/// Why a store cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFault {
    /// There is no room left.
    Full,
    /// It is read-only.
    ReadOnly,
    /// Another program holds it.
    Locked,
    /// Reading, writing or syncing failed.
    Disk,
    /// The file is damaged, or is no database.
    Damaged,
    /// The store or its server does not answer.
    Gone,
    /// Something else.
    Other,
}

impl StoreFault {
    /// The store's fault behind an error; `None` if the error is about the data to be stored.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crates have many more, about the data")]
    pub fn of(error: &DbErr) -> Option<Self> {
        let error = match error {
            DbErr::Exec(RuntimeErr::SqlxError(error))
            | DbErr::Query(RuntimeErr::SqlxError(error))
            | DbErr::Conn(RuntimeErr::SqlxError(error)) => error,
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => return Some(Self::Locked),
            DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) | DbErr::Conn(RuntimeErr::Internal(_)) => {
                return Some(Self::Gone);
            }
            DbErr::Custom(text) if text == LOCK_TIMEOUT_MESSAGE => return Some(Self::Locked),
            _ => return None,
        };
        match &**error {
            sqlx::Error::Database(error) if error.is_unique_violation() => None,
            sqlx::Error::Database(error) => match error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                Some(error) => Some(Self::of_mysql(error.number())),
                None => error.code().and_then(|code| code.parse().ok()).and_then(Self::of_sqlite),
            },
            sqlx::Error::PoolTimedOut => Some(Self::Locked),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Some(Self::Gone),
            sqlx::Error::BeginFailed | sqlx::Error::InvalidSavePointStatement => Some(Self::Other),
            _ => None,
        }
    }

    /// By SQLite's extended result code.
    fn of_sqlite(code: u32) -> Option<Self> {
        // The low byte is the kind of error, the rest says which one.
        match code & 0xFF {
            13 => Some(Self::Full),
            8 => Some(Self::ReadOnly),
            5 | 6 => Some(Self::Locked),
            10 | 14 => Some(Self::Disk),
            11 | 26 => Some(Self::Damaged),
            // A constraint: the data does not fit. The exception is our own commit hook (SQLITE_CONSTRAINT_COMMITHOOK),
            // which undoes a statement outside of a transaction.
            19 if code != 531 => None,
            _ => Some(Self::Other),
        }
    }

    /// By MySQL's error number.
    fn of_mysql(number: u16) -> Self {
        match number {
            1021 | 1114 => Self::Full,
            1036 | 1290 | 1792 | 1836 => Self::ReadOnly,
            1020 | 1205 | 1213 => Self::Locked,
            1016 | 1026 | 1030 | 1180 => Self::Disk,
            1034 | 1194 | 1712 => Self::Damaged,
            1040 | 1044 | 1045 | 1049 | 1053 | 1077 | 1129 | 1130 | 1152 | 1158..=1161 | 1203 | 1226 | 1317 | 1927 => {
                Self::Gone
            }
            _ => Self::Other,
        }
    }

    /// For a metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Locked => "locked",
            Self::Disk => "disk",
            Self::Damaged => "damaged",
            Self::Gone => "gone",
            Self::Other => "other",
        }
    }

    /// What is wrong and what to do, for the person who runs the server.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Full => {
                "the database cannot be written: its disk is full; free some space, and writing resumes by itself"
            }
            Self::ReadOnly => {
                "the database cannot be written: it is read-only; look at the files' owner and mode, at the disk's mount \
                options, or at the server's read_only"
            }
            Self::Locked => {
                "the database cannot be written: another program has held it locked for 5 s (a backup, a database shell?); \
                end that program or its transaction"
            }
            Self::Disk => {
                "the database cannot be written: its disk or file system fails, or its folder cannot be written to; look \
                at the system's log, and make a copy of the database before anything else"
            }
            Self::Damaged => {
                "the database is damaged, or is not a database; stop the server, keep the file, and put back the last backup"
            }
            Self::Gone => "the database does not answer",
            Self::Other => "the database cannot be written; the log says why",
        }
    }
}

/// The error of a writer that timed out.
pub(super) fn lock_timeout_error() -> Error {
    Error::Store(DbErr::Custom(LOCK_TIMEOUT_MESSAGE.into()))
}

/// Whether another writer was in the way, so that trying again may help.
pub(super) fn is_contention(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return false;
    };
    let sqlx::Error::Database(error) = &**error else { return false };
    match error.code().as_deref() {
        // SQLite: BUSY_SNAPSHOT, LOCKED (for BUSY it has waited already). MySQL: deadlock.
        Some("517" | "6" | "40001") => true,
        // MySQL reports a lock wait timeout (1205) and "record changed since last read" (1020) under the general state.
        Some("HY000") => error.message().contains("Lock wait") || error.message().contains("Record has changed"),
        _ => false,
    }
}
