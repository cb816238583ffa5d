//! A real store for each test: a SQLite file, SQLite in memory, or a database of its own on a MariaDB.
//!
//! `COINWIRE_TEST_DATABASE` chooses: unset for a SQLite file, `sqlite::memory:`, or `mysql://user@host:port`.

use backend::db::Db;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, Statement};
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Where a test's data is.
pub struct Store {
    /// To open it (again).
    pub url: String,
    place: Place,
}

enum Place {
    /// Removed when it is dropped.
    File {
        _folder: TempDir,
    },
    Memory,
    /// On a disk that is kept elsewhere.
    Disk,
    Server {
        url: String,
        name: String,
    },
}

impl Store {
    /// An empty store of the kind the environment chooses.
    pub async fn create() -> Self {
        match std::env::var("COINWIRE_TEST_DATABASE") {
            Err(_) => Self::file(),
            Ok(url) if url == "sqlite::memory:" => Self::memory(),
            Ok(url) if url.starts_with("mysql://") => Self::on_server(url.trim_end_matches('/').to_owned()).await,
            Ok(url) => {
                panic!("COINWIRE_TEST_DATABASE is {url:?}: it must be sqlite::memory: or mysql://user@host:port")
            }
        }
    }

    /// A SQLite file, whatever the environment says.
    pub fn file() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}?mode=rwc", folder.path().join("coinwire.db").display());
        Self { url, place: Place::File { _folder: folder } }
    }

    /// SQLite in memory, whatever the environment says.
    pub fn memory() -> Self {
        Self { url: "sqlite::memory:".into(), place: Place::Memory }
    }

    /// On a disk that fails, whatever the environment says.
    pub fn on_disk(disk: &failing_disk::Disk) -> Self {
        Self { url: disk.url(), place: Place::Disk }
    }

    async fn on_server(server: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("coinwire_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let connection = Database::connect(&server).await.expect("the test's database server answers");
        connection.execute_unprepared(&format!("CREATE DATABASE {name}")).await.unwrap();
        connection.close().await.unwrap();
        Self { url: format!("{server}/{name}"), place: Place::Server { url: server, name } }
    }

    /// Whether it ends with its last connection, so that nothing can be opened again.
    pub fn is_volatile(&self) -> bool {
        matches!(self.place, Place::Memory)
    }

    /// Whether it is on a database server.
    pub fn is_on_server(&self) -> bool {
        matches!(self.place, Place::Server { .. })
    }

    /// Opens and migrates it.
    pub async fn open(&self) -> Db {
        let db = Db::open(&self.url).await.unwrap();
        db.migrate().await.unwrap();
        db
    }

    /// A connection past the backend, to get in its way.
    pub async fn stranger(&self) -> DatabaseConnection {
        let mut options = sea_orm::ConnectOptions::new(&self.url);
        options.max_connections(1).sqlx_logging(false);
        Database::connect(options).await.unwrap()
    }

    /// Takes the store away under the backend's feet (on a server only).
    pub async fn drop_database(&self) {
        let Place::Server { url, name } = &self.place else { panic!("only a server has databases to drop") };
        drop_database(url, name).await;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Place::Server { url, name } = &self.place else { return };
        let (url, name) = (url.clone(), name.clone());
        // On a thread and runtime of its own: the test's may be on its way out, by a panic even.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(drop_database(&url, &name));
        });
        let _ = dropped.join();
    }
}

async fn drop_database(url: &str, name: &str) {
    let mut options = sea_orm::ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let connection = Database::connect(options).await.unwrap();
    // A test that ends leaves connections behind, some in the middle of a transaction that would hold us up.
    let users = format!("SELECT id FROM information_schema.processlist WHERE db = '{name}'");
    for user in rows(&connection, &users).await {
        let id: i64 = user.try_get("", "id").unwrap();
        // It may be gone by now.
        let _ = connection.execute_unprepared(&format!("KILL {id}")).await;
    }
    connection.execute_unprepared(&format!("DROP DATABASE IF EXISTS {name}")).await.unwrap();
    connection.close().await.unwrap();
}

/// Rows of a query, past the backend.
pub async fn rows(db: &DatabaseConnection, sql: &str) -> Vec<QueryResult> {
    let backend: DbBackend = db.get_database_backend();
    db.query_all_raw(Statement::from_string(backend, sql)).await.unwrap()
}

/// Tables of the store, copies left out.
async fn tables(db: &DatabaseConnection) -> Vec<String> {
    let sql = if db.get_database_backend() == DbBackend::MySql {
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
    } else {
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    };
    let names = rows(db, sql).await.into_iter().map(|row| row.try_get_by_index(0).unwrap());
    names.filter(|name: &String| !name.starts_with("copy_")).collect()
}

/// Copies every table beside itself.
pub async fn copy(db: &DatabaseConnection) {
    for name in tables(db).await {
        db.execute_unprepared(&format!("CREATE TABLE copy_{name} AS SELECT * FROM {name}")).await.unwrap();
    }
}

/// Puts every table back to its copy.
pub async fn restore(db: &DatabaseConnection) {
    for name in tables(db).await {
        db.execute_unprepared(&format!("DELETE FROM {name}")).await.unwrap();
        db.execute_unprepared(&format!("INSERT INTO {name} SELECT * FROM copy_{name}")).await.unwrap();
    }
}
