//! What people do by hand: to sales, to members, to machines.

use super::steps::{add_columns, create_index, create_table};
use sea_orm::ConnectionTrait;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ("machines", big_integer_null("retired_ms")),
            ("operators", big_integer("members_version").default(0).take()),
            ("modules", big_integer_null("operator_id")),
        ];
        add_columns(manager, columns).await?;
        // A module is its machine's operator's, and stays so when another takes its place.
        let owners =
            "UPDATE modules SET operator_id = (SELECT m.operator_id FROM machines m WHERE m.module_id = modules.id)
            WHERE operator_id IS NULL";
        manager.get_connection().execute_unprepared(owners).await?;
        create_table(manager, sale_actions()).await?;
        create_index(manager, "sale_actions", &["sale_id", "request_key"], true).await
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
