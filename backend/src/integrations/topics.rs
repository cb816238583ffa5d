//! A cache of integrators' topics, by machine.

use crate::ids::MachineId;
use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Integrators' topics of machines, by machine number: `v1/<operator>/<machine>`. Cached, since each step of a sale is
/// published and neither name ever changes. Bounded by the number of machines.
#[derive(Default)]
pub(crate) struct Topics(pub(crate) RwLock<BTreeMap<MachineId, Arc<str>>>);
