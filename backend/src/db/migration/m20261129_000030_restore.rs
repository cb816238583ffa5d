//! What a store that was put back from a copy needs: the number by which a sale's credit is known, whether a credit is only
//! asked about, which sales were rebuilt, and which modules know more than the store.

use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ("sales", big_integer_null("credit_sequence")),
            ("sales", boolean("credit_asked").default(false).take()),
            ("sales", big_integer_null("rebuilt_ms")),
            ("modules", big_integer("last_command").default(0).take()),
            ("modules", big_integer_null("behind_ms")),
            ("modules", big_integer("behind_pulses").default(0).take()),
        ];
        for (table, column) in columns {
            if !manager.has_column(table, column.get_column_name()).await? {
                manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned()).await?;
            }
        }
        Ok(())
    }
}
