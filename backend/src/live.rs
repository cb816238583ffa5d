//! Live events: what the pages and the integrators' topics show as it happens. They are never the source of truth: a
//! reader who missed one reads the database.

use crate::{
    ids::{MachineId, OperatorId, SaleToken},
    sales::state::SaleState,
};
use serde::Serialize;
use tokio::sync::broadcast;

/// Events a slow reader may lag behind before it misses some.
const BACKLOG_EVENTS: usize = 4096;

/// Something happened.
#[derive(Debug, Clone, Serialize)]
pub struct LiveEvent {
    /// The operator.
    pub operator_id: OperatorId,
    /// The machine, where it has one.
    pub machine_id: Option<MachineId>,
    /// What happened.
    pub what: LiveKind,
    /// When (unix milliseconds).
    pub at_ms: i64,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LiveKind {
    /// A module's status changed: online or offline, faults, signal.
    Status,
    /// A command to a module, or its acknowledgement, changed.
    Module,
    /// Coins were inserted.
    Pulse {
        /// Pulses newly counted.
        pulses: i64,
    },
    /// A sale changed its state.
    Sale {
        /// Its public token.
        token: SaleToken,
        /// The state it is in now.
        state: SaleState,
    },
    /// A member's password was changed, or a member was removed: live pages check whether their viewer may still see
    /// them.
    Members,
    /// A person should look at it: a payment without an order, a refund that is stuck, a mismatch.
    Alarm {
        /// A sentence.
        message: String,
    },
}

/// The one sender of live events.
#[derive(Clone)]
pub struct Live(broadcast::Sender<LiveEvent>);

impl Default for Live {
    fn default() -> Self {
        Self(broadcast::channel(BACKLOG_EVENTS).0)
    }
}

impl Live {
    /// Events from now on.
    pub fn watch(&self) -> broadcast::Receiver<LiveEvent> {
        self.0.subscribe()
    }

    /// Sends an event to all watchers; it is fine if there are none.
    pub(crate) fn emit(&self, event: LiveEvent) {
        let _ = self.0.send(event);
    }
}
