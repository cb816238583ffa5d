//! Who may do what: operators, their members, manufacturers, sessions.

pub(crate) mod manufacturer;
pub mod manufacturers;
pub(crate) mod member;
pub mod members;
pub(crate) mod operator;
pub mod operators;
pub(crate) mod passwords;
pub(crate) mod session;
pub mod sign_in;
pub mod signed_in;

pub use members::{MemberRow, MemberVersionsSeen};
pub use operators::{NewOperator, OperatorChange, OperatorRow};
pub use sign_in::{Fingerprints, MqttMember, MqttReading, PasswordOwners};
