//! Who acts: roles of members, and the audit log.

use sea_orm::DbBackend;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if !manager.has_column("members", "role").await? {
            // Whoever was a member could do everything.
            let role = string_len("role", 16).default("owner").take();
            manager.alter_table(Table::alter().table(Alias::new("members")).add_column(role).to_owned()).await?;
        }
        let mut audit = audit();
        // Text compares byte by byte on both databases.
        if manager.get_database_backend() == DbBackend::MySql {
            audit.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(audit).await?;
        let name = "ix_audit_operator_id_id";
        if !manager.has_index("audit", name).await? {
            let mut index = Index::create();
            index.name(name).table(Alias::new("audit")).col(Alias::new("operator_id")).col(Alias::new("id"));
            manager.create_index(index.to_owned()).await?;
        }
        Ok(())
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
