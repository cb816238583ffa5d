//! One row that is written to prove that the store can be.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut table = Table::create()
            .table(Alias::new("store_proof"))
            .if_not_exists()
            .col(big_integer("id").primary_key())
            .col(big_integer("written"))
            .take();
        if manager.get_database_backend() == DbBackend::MySql {
            table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(table).await?;
        let connection = manager.get_connection();
        connection.execute_unprepared("DELETE FROM store_proof").await?;
        connection.execute_unprepared("INSERT INTO store_proof (id, written) VALUES (1, 0)").await?;
        Ok(())
    }
}
