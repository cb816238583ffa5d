//! Integrators' topics, remembered by operator.

use std::{
    collections::BTreeMap,
    sync::{Arc, RwLock},
};

/// Where integrators are told of machines, by the machines' numbers: `v1/<operator>/<machine>`. Remembered, since each
/// step of a sale is told, and neither name ever changes. Bounded by the number of machines.
#[derive(Default)]
pub(crate) struct Topics(pub(crate) RwLock<BTreeMap<i64, Arc<str>>>);
