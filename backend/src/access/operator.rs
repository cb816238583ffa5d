//! The operator, the tenant.

use crate::{Error, Result, ids::OperatorId, zones::Zone};
use sea_orm::entity::prelude::*;

/// The operator, the tenant.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "operators")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: OperatorId,
    /// Part of its topics, so it never changes.
    pub slug: String,
    pub name: String,
    pub currency: String,
    /// Its time zone, by IANA name.
    pub time_zone: String,
    pub refund_remainder: bool,
    pub integrator_password_hash: Option<String>,
    pub created_ms: i64,
    /// Where payers get help: a phone number, an e-mail address or some words; empty if nothing was given.
    pub contact: String,
    /// Counts changes of its members' credentials, so that other processes notice them.
    pub members_version: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl Model {
    /// The time zone in which its days begin.
    ///
    /// # Errors
    /// `Unknown` if this version does not know the stored time zone.
    pub fn zone(&self) -> Result<Zone> {
        Zone::parse(&self.time_zone).map_err(|_| Error::Unknown { what: "time zone", value: self.time_zone.clone() })
    }
}

impl ActiveModelBehavior for ActiveModel {}
