//! Ways to pay: several accounts of an operator, each with an identity that never changes, and which of them takes which
//! method; what an attempt was asked with, and the provider's own references.

use super::steps::{add_columns, create_index, create_table};
use sea_orm::{ConnectionTrait, Statement};
use sea_orm_migration::{prelude::*, schema::*};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// Columns of short text that is compared: fits MySQL's index limits.
const SHORT: u32 = 64;
/// Columns of providers' own numbers.
const REFERENCE: u32 = 255;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let columns = [
            // Empty until the account is next stored: only its sealed configuration says whose it is.
            ("merchant_accounts", string_len("identity", REFERENCE).default("").take()),
            ("payment_attempts", string_len("method", SHORT).default("h5").take()),
            ("payment_attempts", string_len_null("reference", REFERENCE)),
            ("payment_attempts", text_null("request")),
            ("payment_attempts", text_null("handoff")),
            ("refunds", string_len_null("reference", REFERENCE)),
        ];
        add_columns(manager, columns).await?;
        create_table(manager, choices()).await?;
        create_index(manager, "merchant_accounts", &["operator_id", "provider", "identity"], true).await?;
        create_index(manager, "payment_choices", &["operator_id", "machine_id", "provider", "method"], true).await?;
        create_index(manager, "payment_attempts", &["account_id", "reference"], false).await?;
        // So far an operator had one account with the one provider that there was.
        let chosen = "SELECT operator_id FROM payment_choices";
        let first = format!(
            "INSERT INTO payment_choices (operator_id, machine_id, provider, method, account_id) \
             SELECT operator_id, 0, provider, 'h5', MIN(id) FROM merchant_accounts WHERE active AND provider = 'wechat' \
             AND operator_id NOT IN (SELECT operator_id FROM ({chosen}) c) GROUP BY operator_id, provider"
        );
        manager.get_connection().execute_unprepared(&first).await?;
        // Last, since it drops a column: whatever fails before leaves the store as the program before needs it.
        convert_addresses(manager).await
    }
}

/// Where a payer was sent was the one kind of hand-off: what can still be paid goes on.
async fn convert_addresses(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    if !manager.has_column("payment_attempts", "pay_url").await? {
        return Ok(());
    }
    let (connection, backend) = (manager.get_connection(), manager.get_database_backend());
    let open = "SELECT id, pay_url FROM payment_attempts WHERE state = 'pending' AND pay_url IS NOT NULL";
    for row in connection.query_all_raw(Statement::from_string(backend, open)).await? {
        let (id, url): (i64, String) = (row.try_get("", "id")?, row.try_get("", "pay_url")?);
        let handoff = serde_json::json!({ "kind": "redirect", "url": url }).to_string();
        let update = "UPDATE payment_attempts SET handoff = ? WHERE id = ?";
        connection.execute_raw(Statement::from_sql_and_values(backend, update, [handoff.into(), id.into()])).await?;
    }
    manager.alter_table(Table::alter().table(Alias::new("payment_attempts")).drop_column("pay_url").to_owned()).await
}

fn choices() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("payment_choices"))
        .if_not_exists()
        .col(big_integer("id").auto_increment().primary_key())
        .col(big_integer("operator_id"))
        .col(big_integer("machine_id"))
        .col(string_len("provider", SHORT))
        .col(string_len("method", SHORT))
        .col(big_integer("account_id"))
        .take()
}
