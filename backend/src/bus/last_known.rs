//! The last known facts of every machine and module, published again whenever the broker was connected to anew: it may have
//! lost what it had retained, or be another one. They say of themselves that they are not live.
//!
//! A module's turn comes in the lane of its own messages, so that none of them is overtaken; if it was heard since the
//! connection began (its retained status, too), what is stored is live. One after another, so that a large fleet does not
//! crowd out what happens now.

use super::mqtt::Work;
use crate::{
    Backend, Result,
    machines::machine,
    modules::{module, status},
};
use protocol::ModuleId;
use sea_orm::{QueryOrder, QuerySelect, prelude::*};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Rows that are read at once.
const PAGE_ROWS: u64 = 500;
/// What could not be published, or read, is tried again this much later.
const RETRY: Duration = Duration::from_millis(500);

impl Backend {
    /// Publishes what is stored of a module for its manufacturer, and for the operator of the machine it is wired to. `live`
    /// says whether it still holds, or is what was last known.
    ///
    /// # Errors
    /// The store's or the bus's: it is to be tried again.
    pub(super) async fn tell_known(&self, module: ModuleId, live: bool) -> Result<()> {
        let Some(row) = module::Entity::find_by_id(module.as_str()).one(self.db.read()).await? else { return Ok(()) };
        if let Some(manufacturer_id) = row.manufacturer_id {
            self.tell_manufacturer_of_known(manufacturer_id, &row, live).await?;
        }
        match status::wired_machine(self.db.read(), module).await? {
            Some(machine) => self.tell_integrators_of_known(&machine, Some(&row), live).await,
            None => Ok(()),
        }
    }

    async fn modules_after(&self, id: &str) -> Result<Vec<String>> {
        let modules = module::Entity::find().select_only().column(module::Column::Id);
        let page = modules.filter(module::Column::Id.gt(id)).order_by_asc(module::Column::Id).limit(PAGE_ROWS);
        Ok(page.into_tuple().all(self.db.read()).await?)
    }

    async fn unwired_after(&self, id: i64) -> Result<Vec<machine::Model>> {
        let unwired = machine::Entity::find().filter(machine::Column::ModuleId.is_null());
        let page = unwired.filter(machine::Column::Id.gt(id)).order_by_asc(machine::Column::Id).limit(PAGE_ROWS);
        Ok(page.all(self.db.read()).await?)
    }
}

/// Publishes what is last known of all: a module's in its lane, which `lane_of` gives.
pub(super) async fn tell_all(backend: Backend, lane_of: impl Fn(&str) -> mpsc::Sender<Work>) {
    let mut last = String::new();
    loop {
        let ids = again(|| backend.modules_after(&last)).await;
        let Some(id) = ids.last() else { break };
        last.clone_from(id);
        for module in ids.iter().filter_map(|id| ModuleId::parse(id).ok()) {
            let lane = lane_of(module.as_str());
            loop {
                let (done, told) = oneshot::channel();
                if lane.send(Work::LastKnown { module, done }).await.is_err() {
                    return;
                }
                match told.await {
                    Ok(true) => break,
                    Ok(false) => tokio::time::sleep(RETRY).await,
                    Err(_) => return,
                }
            }
        }
    }
    let mut last = i64::MIN;
    loop {
        let machines = again(|| backend.unwired_after(last)).await;
        let Some(machine) = machines.last() else { return };
        last = machine.id;
        for machine in &machines {
            again(|| backend.tell_integrators_of_known(machine, None, false)).await;
        }
    }
}

/// Does it until it is done.
async fn again<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> T {
    loop {
        match work().await {
            Ok(done) => return done,
            Err(error) => {
                tracing::debug!(%error, "last known facts are not told yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
