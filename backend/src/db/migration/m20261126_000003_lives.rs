//! How often each module's memory began anew.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("modules", "lives").await? {
            let lives = big_integer("lives").default(0).take();
            manager.alter_table(Table::alter().table(Alias::new("modules")).add_column(lives).to_owned()).await?;
        }
        Ok(())
    }
}
