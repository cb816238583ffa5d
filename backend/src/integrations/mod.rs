//! Topics for integrators and manufacturers, told of what happens.

pub mod integrators;
pub mod last_known;
pub mod manufacturers;
pub mod publish;
pub mod topics;
