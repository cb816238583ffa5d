//! What somebody did, as the audit log keeps it. Never changed, never removed.

use crate::ids::OperatorId;
use sea_orm::entity::prelude::*;

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    /// By the wall clock.
    pub at_ms: i64,
    /// The operator it concerned.
    pub operator_id: Option<OperatorId>,
    pub actor_kind: ActorKind,
    /// The number of the member, the operator (an integrator) or the manufacturer.
    pub actor_id: Option<i64>,
    /// A member's e-mail address, or what is known of whoever has a shell.
    pub actor_name: String,
    /// The visitor's address.
    pub address: Option<String>,
    /// [`Operation`](crate::access::operations::Operation), as its word.
    pub operation: String,
    /// What it was done to: `machine 12`, `sale 6J0K..`.
    pub subject: String,
    /// JSON: what changed, as it was. Without secrets.
    pub before: Option<String>,
    /// JSON: what changed, as it is since. Without secrets.
    pub after: Option<String>,
}

/// Which kind of somebody acted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumIter, DeriveActiveEnum, serde::Serialize)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person who signed in.
    Member,
    /// An operator's program.
    Integrator,
    /// A manufacturer's tool.
    Manufacturer,
    /// The server, or its command line.
    System,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
