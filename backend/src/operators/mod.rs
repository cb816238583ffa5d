//! Operators: the tenants, their members, and who is signed in.

pub(crate) mod member;
mod members;
pub(crate) mod operator;
pub(crate) mod registry;
pub(crate) mod session;
mod sign_in;

pub use members::{MemberRow, MembersSeen};
pub use registry::{NewOperator, OperatorChange, OperatorRow};
pub use sign_in::{Fingerprints, MqttMember, MqttReading, PasswordOwners};

use serde::Serialize;

/// Who is signed in.
#[derive(Debug, Clone, Serialize)]
pub struct Member {
    /// The member.
    pub member_id: i64,
    /// The operator the member belongs to.
    pub operator_id: i64,
    /// The operator's name.
    pub operator: String,
    /// The operator's short name in topics.
    pub slug: String,
    /// The address the member signs in with.
    pub email: String,
    /// Name of the operator's time zone.
    pub time_zone: String,
    /// Changes whenever the password does. Not a secret.
    #[serde(skip)]
    pub fingerprint: String,
}
