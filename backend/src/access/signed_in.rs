//! The member who is signed in.

use crate::{
    access::{
        actor::{Actor, Who},
        role::Role,
    },
    ids::{MemberId, OperatorId},
    money::Currency,
};
use serde::Serialize;
use std::net::IpAddr;

/// Who is signed in.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// The member.
    pub member_id: MemberId,
    /// The operator the member belongs to.
    pub operator_id: OperatorId,
    /// The operator's name.
    pub operator: String,
    /// The operator's short name in topics.
    pub slug: String,
    /// The address the member signs in with.
    pub email: String,
    /// The member's role.
    pub role: Role,
    /// The currency of the operator's prices.
    pub currency: Currency,
    /// Name of the operator's time zone.
    pub time_zone: String,
    /// Changes whenever the password or the role changes. Not a secret.
    #[serde(skip)]
    pub fingerprint: String,
}

impl Member {
    /// The member as an [`Actor`] at an address.
    pub fn actor(&self, address: Option<IpAddr>) -> Actor {
        let (member, operator, role) = (self.member_id, self.operator_id, self.role);
        Actor { who: Who::Member { member, operator, role, email: self.email.clone() }, address }
    }
}
