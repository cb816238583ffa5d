//! Who acts: roles of members, and the audit log.

use super::steps::{add_columns, create_index, create_table};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // Whoever was a member could do everything.
        add_columns(manager, [("members", string_len("role", 16).default("owner").take())]).await?;
        create_table(manager, audit()).await?;
        create_index(manager, "audit", &["operator_id", "id"], false).await
    }
}

fn audit() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("audit"))
        .if_not_exists()
        .col(big_integer("id").auto_increment().primary_key())
        .col(big_integer("at_ms"))
        .col(big_integer_null("operator_id"))
        .col(string_len("actor_kind", 16))
        .col(big_integer_null("actor_id"))
        .col(string_len("actor_name", 190))
        .col(string_len_null("address", 64))
        .col(string_len("operation", 64))
        .col(string_len("subject", 190))
        .col(text_null("before"))
        .col(text_null("after"))
        .take()
}
