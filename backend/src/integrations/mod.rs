//! Topics for integrators and manufacturers, told of what happens.

pub(crate) mod integrators;
pub(crate) mod last_known;
pub(crate) mod manufacturers;
pub(crate) mod publish;
pub(crate) mod topics;
