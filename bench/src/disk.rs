//! The disk's speed, which limits durable commits.

use anyhow::Result;
use sea_orm::{ConnectionTrait, Database};
use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

/// How long each figure is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Figures of the disk.
pub struct Limits {
    /// Appends of 4 KiB made durable, one after the other.
    pub syncs_per_s: f64,
    /// Transactions of one row in SQLite (write-ahead log, full synchronisation), one after the other.
    pub commits_per_s: f64,
}

/// Measures the disk under `dir`.
pub async fn limits(dir: &Path) -> Result<Limits> {
    Ok(Limits { syncs_per_s: syncs(dir)?, commits_per_s: commits(dir).await? })
}

fn syncs(dir: &Path) -> Result<f64> {
    let path = dir.join("syncs");
    let mut file = File::create(&path)?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < MEASURED {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

async fn commits(dir: &Path) -> Result<f64> {
    let path = dir.join("commits.db");
    let db = Database::connect(format!("sqlite://{}?mode=rwc", path.display())).await?;
    db.execute_unprepared("PRAGMA journal_mode = WAL").await?;
    db.execute_unprepared("PRAGMA synchronous = FULL").await?;
    db.execute_unprepared("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v TEXT)").await?;
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < MEASURED {
        db.execute_unprepared("INSERT INTO t (v) VALUES ('a row')").await?;
        count += 1;
    }
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    db.close().await?;
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
    Ok(rate)
}
