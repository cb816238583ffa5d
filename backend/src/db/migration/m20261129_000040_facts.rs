//! Facts from providers that we did not ask for: refunds made elsewhere, disputes, daily statements; what was really paid.

use sea_orm::DbBackend;
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Columns of short text that is compared: fits MySQL's index limits.
const SHORT: u32 = 64;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // A column at a time, for SQLite; and only those missing, for MySQL, which commits each by itself.
        for (table, column) in [
            ("payment_attempts", big_integer_null("paid_minor")),
            ("payment_attempts", string_len_null("paid_currency", 3)),
            ("refunds", string_len("outside_id", SHORT).default("").take()),
            ("refunds", integer("reversals").default(0).take()),
            ("sales", string_len("dispute", SHORT).default("").take()),
        ] {
            if !manager.has_column(table, column.get_column_name()).await? {
                manager.alter_table(Table::alter().table(Alias::new(table)).add_column(column).to_owned()).await?;
            }
        }
        for table in [disputes(), statements()] {
            create(manager, table).await?;
        }
        for (table, columns, unique) in INDEXES {
            index(manager, table, columns, *unique).await?;
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

async fn index(manager: &SchemaManager<'_>, table: &str, columns: &[&str], unique: bool) -> Result<(), DbErr> {
    let name = format!("ix_{table}_{}", columns.join("_"));
    if manager.has_index(table, &name).await? {
        return Ok(());
    }
    let mut index = Index::create();
    index.name(name).table(Alias::new(table));
    for column in columns {
        index.col(Alias::new(*column));
    }
    if unique {
        index.unique();
    }
    manager.create_index(index).await
}

/// Text compares byte by byte on both databases.
async fn create(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        table.engine("InnoDB").character_set("utf8mb4").collate("utf8mb4_bin");
    }
    manager.create_table(table).await
}

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
