//! Steps that migrations share. Each does nothing where it was done: MySQL commits every one by itself, so a migration that
//! was interrupted runs again from its beginning. What a step does never changes, since applied migrations rely on it.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

/// Adds those of the columns that are missing, one at a time, for SQLite.
pub(super) async fn add_columns<const COUNT: usize>(
    manager: &SchemaManager<'_>,
    columns: [(&str, ColumnDef); COUNT],
) -> Result<(), DbErr> {
    for (table, column) in columns {
        if !manager.has_column(table, column.get_column_name()).await? {
            manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned()).await?;
        }
    }
    Ok(())
}

/// Creates a table. Text compares byte by byte on both databases.
pub(super) async fn create_table(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    manager.create_table(table).await
}

/// Creates an index, named by its table and columns.
pub(super) async fn create_index(
    manager: &SchemaManager<'_>,
    table: &str,
    columns: &[&str],
    unique: bool,
) -> Result<(), DbErr> {
    let name = format!("ix_{table}_{}", columns.join("_"));
    if manager.has_index(table, &name).await? {
        return Ok(());
    }
    let mut index = Index::create();
    index.name(name).table(Alias::new(table));
    for column in columns {
        index.col(Alias::new(*column));
    }
    if unique {
        index.unique();
    }
    manager.create_index(index).await
}
