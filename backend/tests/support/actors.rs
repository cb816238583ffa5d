//! Who acts in tests.

use backend::{
    access::{
        actor::{Actor, Who},
        role::Role,
    },
    ids::{MemberId, OperatorId},
};

/// Whoever has a shell on the server.
pub fn system() -> Actor {
    Actor::system("the tests")
}

/// An owner of an operator.
pub fn acting_for(operator: OperatorId) -> Actor {
    acting_as(operator, Role::Owner)
}

/// A member of an operator with a role.
pub fn acting_as(operator: OperatorId, role: Role) -> Actor {
    let who = Who::Member { member: MemberId(1), operator, role, email: format!("{}@example.org", role.as_str()) };
    Actor { who, address: Some([203, 0, 113, 9].into()) }
}
