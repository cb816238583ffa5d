//! Topics on which integrators and manufacturers are told what happens.

pub(crate) mod integrators;
pub(crate) mod last_known;
pub(crate) mod manufacturers;
pub(crate) mod publish;
pub(crate) mod topics;
