//! A cache of the modules' keys. `secrets` derives them.

use protocol::{MessageKey, ModuleId};
use std::{collections::BTreeMap, sync::RwLock};

/// Message keys known so far. Bounded by the number of registered modules: unknown ones are not kept.
#[derive(Default)]
pub(crate) struct Keys(pub(crate) RwLock<BTreeMap<ModuleId, MessageKey>>);
