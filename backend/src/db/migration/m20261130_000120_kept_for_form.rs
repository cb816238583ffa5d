//! The order that a form was answered with in place of one of its own: its payer had paid it already, or was paying it.

use super::steps::{add_columns, create_index};
use sea_orm_migration::{prelude::*, schema::string_len_null};

#[derive(DeriveMigrationName)]
pub struct Migration;

/// As the form's own key.
const TEXT: u32 = 190;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_columns(manager, [("sales", string_len_null("kept_for_form", TEXT))]).await?;
        create_index(manager, "sales", &["kept_for_form"], false).await
    }
}
