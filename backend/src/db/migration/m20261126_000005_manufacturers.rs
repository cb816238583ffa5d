//! Manufacturers, and who made each module.

use sea_orm::DbBackend;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut manufacturers = Table::create()
            .table(Alias::new("manufacturers"))
            .if_not_exists()
            .col(big_integer("id").auto_increment().primary_key())
            .col(string_len("slug", 64))
            .col(string_len("name", 190))
            .col(string_len_null("tool_password_hash", 190))
            .col(big_integer("created_ms"))
            .take();
        // Text compares byte by byte on both databases.
        if manager.get_database_backend() == DbBackend::MySql {
            manufacturers.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(manufacturers).await?;
        let name = "ix_manufacturers_slug";
        if !manager.has_index("manufacturers", name).await? {
            let (table, column) = (Alias::new("manufacturers"), Alias::new("slug"));
            manager.create_index(Index::create().name(name).table(table).col(column).unique().to_owned()).await?;
        }
        if !manager.has_column("modules", "manufacturer_id").await? {
            let column = big_integer_null("manufacturer_id");
            manager.alter_table(Table::alter().table(Alias::new("modules")).add_column(column).to_owned()).await?;
        }
        Ok(())
    }
}
