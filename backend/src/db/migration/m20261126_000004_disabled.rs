//! Since when a module's credential is disabled.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("modules", "disabled_ms").await? {
            let since = big_integer_null("disabled_ms");
            manager.alter_table(Table::alter().table(Alias::new("modules")).add_column(since).to_owned()).await?;
        }
        // Looked at twice a second: see the server's gate.
        if !manager.has_index("modules", "ix_modules_disabled_ms").await? {
            let (table, column) = (Alias::new("modules"), Alias::new("disabled_ms"));
            manager
                .create_index(Index::create().name("ix_modules_disabled_ms").table(table).col(column).to_owned())
                .await?;
        }
        Ok(())
    }
}
