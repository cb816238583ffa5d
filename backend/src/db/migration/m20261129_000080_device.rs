//! How a module's running total of coins is believed, and corrections of the coins booked.

use sea_orm::{ConnectionTrait, DbBackend};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Which machine a module's total is counted for; since when it is known; a total that is not believed yet, and since when;
/// how often counting began anew.
const COLUMNS: [&str; 4] = ["coins_machine_id", "coins_ms", "coins_doubted", "coins_doubted_ms"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let mut columns: Vec<ColumnDef> = COLUMNS.into_iter().map(big_integer_null).collect();
        columns.push(big_integer("coins_epoch").default(0).take());
        for column in columns {
            let name = column.get_column_name().to_string();
            if !manager.has_column("modules", &name).await? {
                manager.alter_table(Table::alter().table(Alias::new("modules")).add_column(column).to_owned()).await?;
            }
        }
        // What was counted so far was counted for the machine that a module is wired to.
        let known = "UPDATE modules SET coins_ms = seen_ms, coins_machine_id = \
                     (SELECT id FROM machines WHERE machines.module_id = modules.id) WHERE seen_ms IS NOT NULL";
        manager.get_connection().execute_unprepared(known).await?;
        let mut corrections = Table::create()
            .table(Alias::new("coin_corrections"))
            .if_not_exists()
            .col(big_integer("id").auto_increment().primary_key())
            .col(big_integer("operator_id"))
            .col(big_integer("machine_id"))
            .col(big_integer("at_ms"))
            .col(big_integer("amount_minor"))
            .col(string_len("reason", 190))
            .take();
        // Text compares byte by byte on both databases.
        if manager.get_database_backend() == DbBackend::MySql {
            corrections.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
        }
        manager.create_table(corrections).await?;
        let name = "ix_coin_corrections_machine_id";
        if !manager.has_index("coin_corrections", name).await? {
            let (table, column) = (Alias::new("coin_corrections"), Alias::new("machine_id"));
            manager.create_index(Index::create().name(name).table(table).col(column).to_owned()).await?;
        }
        Ok(())
    }
}
