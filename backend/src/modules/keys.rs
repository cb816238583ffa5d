//! The keys of modules, remembered. `secrets` derives them.

use protocol::{MessageKey, ModuleId};
use std::{collections::BTreeMap, sync::RwLock};

/// Message keys known so far. Bounded by the number of registered modules: strangers are not remembered.
#[derive(Default)]
pub(crate) struct Keys(pub(crate) RwLock<BTreeMap<ModuleId, MessageKey>>);
