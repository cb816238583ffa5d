//! Whom a payer turns to: the operator's contact, as its pages show it.

use sea_orm_migration::{prelude::*, schema::*};

/// As long as the longest text a page shows of an operator.
const CONTACT_CHARS: u32 = 190;

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("operators", "contact").await? {
            let contact = string_len("contact", CONTACT_CHARS).default("").take();
            manager.alter_table(Table::alter().table(Alias::new("operators")).add_column(contact).to_owned()).await?;
        }
        Ok(())
    }
}
