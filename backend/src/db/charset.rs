//! Names are in any language: on MySQL, tables hold all of Unicode and compare byte by byte, whatever character set the
//! database was made with.

use crate::{Error, Result};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, DbErr, Statement};

/// The character set of stored text, and how it is compared.
const CHOICE: &str = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin";

/// Makes it the database's default for tables created from now on.
pub(super) async fn choose(connection: &DatabaseConnection) -> Result<()> {
    let other = "SELECT schema_name FROM information_schema.schemata
        WHERE schema_name = DATABASE() AND default_collation_name <> 'utf8mb4_bin'";
    if !names(connection, other).await?.is_empty() {
        connection.execute_unprepared(&format!("ALTER DATABASE {CHOICE}")).await.map_err(refused)?;
    }
    Ok(())
}

/// Converts tables that an earlier version made by the database's own default.
pub(super) async fn convert_tables(connection: &DatabaseConnection) -> Result<()> {
    let others = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()
        AND table_type = 'BASE TABLE' AND table_collation <> 'utf8mb4_bin'";
    for table in names(connection, others).await? {
        tracing::info!(table, "converting a table to utf8mb4");
        connection.execute_unprepared(&format!("ALTER TABLE `{table}` CONVERT TO {CHOICE}")).await.map_err(refused)?;
    }
    Ok(())
}

async fn names(connection: &DatabaseConnection, query: &str) -> Result<Vec<String>, DbErr> {
    let rows = connection.query_all_raw(Statement::from_string(DbBackend::MySql, query)).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

fn refused(error: DbErr) -> Error {
    Error::Config {
        setting: "database_url",
        message: format!(
            "the database's character set cannot hold every name, and changing it was refused ({error}). As its \
            administrator run: ALTER DATABASE .. {CHOICE}"
        ),
    }
}
