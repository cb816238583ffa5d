//! What a member is for an operator.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use strum::IntoStaticStr;

/// What a member is for an operator. [`Operation::rule`](crate::access::operations::Operation::rule) says what each may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, DeriveActiveEnum, IntoStaticStr, Serialize,
)]
#[sea_orm(rs_type = "String", db_type = "String(StringLen::N(16))", rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Whose business it is: may do everything.
    Owner,
    /// Runs it: everything but people, merchant accounts and the business itself.
    Manager,
    /// Looks after machines and modules; sees no takings.
    Technician,
    /// Looks after money: sees sales and takings, changes no machine.
    Accountant,
    /// Sees machines and sales, and changes nothing.
    Viewer,
}

impl Role {
    /// All roles, the one that may do most first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Manager, Self::Technician, Self::Accountant, Self::Viewer];

    /// The word for it, as stored.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
