//! Who may do what: operators, their members and roles, manufacturers, sessions; who acts, and what was done.

pub mod actor;
pub mod audit;
pub(crate) mod audit_entry;
pub(crate) mod manufacturer;
pub mod manufacturers;
pub(crate) mod member;
pub mod members;
pub mod operations;
pub(crate) mod operator;
pub mod operators;
pub(crate) mod passwords;
pub mod role;
pub(crate) mod session;
pub mod sign_in;
pub mod signed_in;

pub use audit_entry::ActorKind;
pub use members::{MemberRow, MemberVersionsSeen};
pub use operators::OperatorRow;
pub use sign_in::{Fingerprints, MqttMember, MqttReading, PasswordOwners};
