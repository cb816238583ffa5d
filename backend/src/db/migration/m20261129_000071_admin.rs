//! What people do by hand: to sales, to members, to machines.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for (table, column) in [
            ("machines", big_integer_null("retired_ms")),
            ("operators", big_integer("members_version").default(0).take()),
            ("modules", big_integer_null("operator_id")),
        ] {
            if !manager.has_column(table, column.get_column_name()).await? {
                manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned()).await?;
            }
        }
        // A module is its machine's operator's, and stays so when another takes its place.
        let owners =
            "UPDATE modules SET operator_id = (SELECT m.operator_id FROM machines m WHERE m.module_id = modules.id)
            WHERE operator_id IS NULL";
        manager.get_connection().execute_unprepared(owners).await?;
        let mut actions = sale_actions();
        // Text compares byte by byte on both databases.
        if manager.get_database_backend() == DbBackend::MySql {
            actions.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(actions).await?;
        let name = "ix_sale_actions_sale_id_request_key";
        if !manager.has_index("sale_actions", name).await? {
            let mut index = Index::create();
            index
                .name(name)
                .table(Alias::new("sale_actions"))
                .col(Alias::new("sale_id"))
                .col(Alias::new("request_key"));
            manager.create_index(index.unique().to_owned()).await?;
        }
        Ok(())
    }
}

fn sale_actions() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("sale_actions"))
        .if_not_exists()
        .col(big_integer("id").auto_increment().primary_key())
        .col(big_integer("sale_id"))
        .col(string_len("request_key", 64))
        .col(string_len("action", 64))
        .col(big_integer("amount_minor"))
        .col(string_len("reason", 190))
        .col(string_len("done_by", 190))
        .col(big_integer("at_ms"))
        .take()
}
