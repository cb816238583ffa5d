//! Who makes modules.

use crate::ids::ManufacturerId;
use sea_orm::entity::prelude::*;

/// Who makes modules.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "manufacturers")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: ManufacturerId,
    pub slug: String,
    pub name: String,
    pub tool_password_hash: Option<String>,
    pub created_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
