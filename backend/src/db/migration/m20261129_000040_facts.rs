//! Facts from providers that we did not ask for: refunds made elsewhere, disputes, daily statements; what was really paid.

use super::steps::{add_columns, create_index, create_table};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Columns of short text that is compared: fits MySQL's index limits.
const SHORT: u32 = 64;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            ("payment_attempts", big_integer_null("paid_minor")),
            ("payment_attempts", string_len_null("paid_currency", 3)),
            ("refunds", string_len("outside_id", SHORT).default("").take()),
            ("refunds", integer("reversals").default(0).take()),
            ("sales", string_len("dispute", SHORT).default("").take()),
        ];
        add_columns(manager, columns).await?;
        for table in [disputes(), statements()] {
            create_table(manager, table).await?;
        }
        for (table, columns, unique) in INDEXES {
            create_index(manager, table, columns, *unique).await?;
        }
        // Of a payment there may be several refunds that were made elsewhere.
        let one_a_cause = "ix_refunds_attempt_id_cause";
        if manager.has_index("refunds", one_a_cause).await? {
            manager.drop_index(Index::drop().name(one_a_cause).table(Alias::new("refunds")).to_owned()).await?;
        }
        let accounts = "SELECT id FROM merchant_accounts";
        let begun = "SELECT account_id FROM statements";
        let begin = format!(
            "INSERT INTO statements (account_id, day, state, tries, due_ms, facts, learned, orphans) \
             SELECT id, 0, 'due', 0, 0, 0, 0, 0 FROM ({accounts}) a WHERE a.id NOT IN ({begun})"
        );
        manager.get_connection().execute_unprepared(&begin).await?;
        Ok(())
    }
}

const INDEXES: &[(&str, &[&str], bool)] = &[
    ("refunds", &["attempt_id", "cause", "outside_id"], true),
    ("disputes", &["account_id", "dispute_id"], true),
    ("disputes", &["attempt_id"], false),
    ("statements", &["account_id", "day"], true),
    ("statements", &["due_ms"], false),
];

fn table(name: &'static str) -> TableCreateStatement {
    Table::create().table(Alias::new(name)).if_not_exists().to_owned()
}

fn id() -> ColumnDef {
    big_integer("id").auto_increment().primary_key().take()
}

fn disputes() -> TableCreateStatement {
    table("disputes")
        .col(id())
        .col(big_integer("account_id"))
        .col(big_integer("sale_id"))
        .col(big_integer("attempt_id"))
        .col(string_len("dispute_id", SHORT))
        .col(big_integer("amount_minor"))
        .col(big_integer("fee_minor"))
        .col(string_len("currency", 3))
        .col(string_len("state", SHORT))
        .col(big_integer("opened_ms"))
        .col(big_integer_null("closed_ms"))
        .take()
}

fn statements() -> TableCreateStatement {
    table("statements")
        .col(id())
        .col(big_integer("account_id"))
        .col(big_integer("day"))
        .col(string_len("state", SHORT))
        .col(integer("tries"))
        .col(big_integer_null("due_ms"))
        .col(big_integer("facts"))
        .col(big_integer("learned"))
        .col(big_integer("orphans"))
        .col(big_integer_null("read_ms"))
        .take()
}
