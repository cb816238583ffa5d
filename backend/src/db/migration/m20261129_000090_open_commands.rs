//! Finds a module's open commands without walking all it ever had.

use sea_orm_migration::prelude::*;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let name = "ix_commands_module_id_due_ms";
        if !manager.has_index("commands", name).await? {
            let mut index = Index::create();
            index.name(name).table(Alias::new("commands")).col(Alias::new("module_id")).col(Alias::new("due_ms"));
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
    }
}
