//! Whoever is signed in.

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
