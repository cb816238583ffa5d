//! The settings wanted of each module, what it last learned, and what it last told of itself.

use super::steps::create_table;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Bytes of a stored message: as long as its payload may be.
const BODY: u32 = 255;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A column at a time, for SQLite; and only those missing, for MySQL, which commits each by itself.
        for column in [
            big_integer("settings_wanted").default(0).take(),
            var_binary_null("settings_body", BODY),
            big_integer_null("settings_changed_ms"),
        ] {
            if !manager.has_column("modules", column.get_column_name()).await? {
                let modules = Table::alter().table(Alias::new("modules")).add_column(column).to_owned();
                manager.alter_table(modules).await?;
            }
        }
        for table in [lessons(), diagnoses()] {
            create_table(manager, table).await?;
        }
        let name = "ix_commands_module_id_action_sequence";
        if !manager.has_index("commands", name).await? {
            let mut index = Index::create();
            index.name(name).table(Alias::new("commands"));
            for column in ["module_id", "action", "sequence"] {
                index.col(Alias::new(column));
            }
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().to_owned()
}

fn lessons() -> TableCreateStatement {
    table("lessons")
        .col(string_len("module_id", 10).primary_key())
        .col(var_binary("body", BODY))
        .col(string_len("verdict", 64))
        .col(big_integer("heard_ms"))
        .take()
}

fn diagnoses() -> TableCreateStatement {
    table("diagnoses")
        .col(string_len("module_id", 10).primary_key())
        .col(var_binary("body", BODY))
        .col(big_integer("heard_ms"))
        .take()
}
