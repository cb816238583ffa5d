//! The files of a SQLite store: private, and watched for a write-ahead log that was lost.
//!
//! Data that is committed but not yet copied into the database is in the `-wal` file alone. If that file is truncated,
//! emptied or missing, SQLite opens what remains without an error. So from time to time a rising number is committed
//! and then written into a file next to the database. If the database later holds a lower number than the file, it has
//! lost commits.

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What is appended to the database's name for the file with the mark.
const MARK: &str = "-mark";

/// Where a SQLite store is.
#[derive(Debug, Clone)]
pub(super) struct Files {
    database: PathBuf,
    /// Whether the database is created if it does not exist.
    create_if_missing: bool,
}

/// What a store's mark says at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitMark {
    /// No marked commit is missing.
    Intact,
    /// Commits are missing: the database has a lower number than the file beside it.
    Behind {
        /// The file with the mark.
        file: PathBuf,
        /// The write-ahead log that held the commits.
        wal: PathBuf,
    },
}

impl Files {
    /// The files of `sqlite://path?..`; `None` if the URL does not name a file.
    pub fn of(url: &str) -> Option<Self> {
        let options: SqliteConnectOptions = url.parse().ok()?;
        Some(Self { database: options.get_filename().to_owned(), create_if_missing: url.contains("mode=rwc") })
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.database.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Makes them readable by the owner only, whatever the umask. SQLite gives its other files the mode of the
    /// database.
    pub fn make_private(&self) {
        if self.create_if_missing && !self.database.exists() {
            // If that fails, SQLite reports why.
            let _ = private_file().create_new(true).open(&self.database);
        }
        for file in ["", "-wal", "-shm", MARK].map(|suffix| self.beside(suffix)) {
            if let Err(error) = restrict(&file)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(%error, file = %file.display(), "other users can read this file, and its mode cannot be changed");
            }
        }
    }

    /// Saves the committed number. It need not reach the disk: an older number only makes the check less strict.
    pub fn save_mark(&self, number: i64) -> io::Result<()> {
        let file = self.beside(MARK);
        // Fixed width, so that each number overwrites the previous one completely.
        let text = format!("{number:020}\n");
        io::Write::write_all(&mut private_file().create(true).open(&file)?, text.as_bytes())
    }

    /// Compares the database's number with the one in the file.
    pub fn compare(&self, number: i64) -> CommitMark {
        let file = self.beside(MARK);
        let kept = fs::read_to_string(&file).ok().and_then(|text| text.trim().parse::<i64>().ok());
        match kept {
            Some(kept) if kept > number => CommitMark::Behind { file, wal: self.beside("-wal") },
            _ => CommitMark::Intact,
        }
    }
}

fn private_file() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Removes all permissions of group and others from a file.
#[cfg(unix)]
fn restrict(file: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = fs::metadata(file)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(permissions.mode() & 0o700);
        fs::set_permissions(file, permissions)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn restrict(_: &Path) -> io::Result<()> {
    Ok(())
}
