//! A person who signs in for an operator.

use crate::{
    access::{passwords::fingerprint, role::Role},
    ids::{MemberId, OperatorId},
};
use sea_orm::entity::prelude::*;

/// A person who signs in for an operator.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "members")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: MemberId,
    pub operator_id: OperatorId,
    pub email: String,
    pub password_hash: String,
    pub role: Role,
    pub created_ms: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl Model {
    /// Changes whenever the password or the role changes; sessions and connections opened before then end. Not a
    /// secret.
    pub fn fingerprint(&self) -> String {
        fingerprint(&format!("{} {}", self.role.as_str(), self.password_hash))
    }
}

impl ActiveModelBehavior for ActiveModel {}
