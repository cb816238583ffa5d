//! What a module last learned about its coin line.

use sea_orm::entity::prelude::*;

/// What a module last learned about its coin line.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "lessons")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub module_id: String,
    /// As the protocol writes it.
    pub body: Vec<u8>,
    /// The operator's decision: `open`, `accepted`, `discarded`.
    pub verdict: Verdict,
    pub heard_ms: i64,
}

/// What a person decided about a learning result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing yet.
    Open,
    /// The profile is that of the wanted settings.
    Accepted,
    /// It is not used.
    Discarded,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
