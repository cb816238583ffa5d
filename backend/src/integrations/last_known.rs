//! Publishes the last known facts of every machine and module after each (re)connection to the broker, which may have
//! lost its retained messages or may be another broker. These messages carry `live: false`.
//!
//! A module's facts are published in the lane of its own messages, so that they cannot overtake them. If a message of
//! the module arrived since the connection began (its retained status counts), the stored facts are live. Modules are
//! published one after another, so that a large fleet does not delay current messages.

use crate::{
    Context, Result,
    ids::MachineId,
    integrations::{integrators::publish_last_known_to_integrators, manufacturers::publish_last_known_to_manufacturer},
    machines::machine,
    modules::{module, rows::wired_machine},
};
use protocol::ModuleId;
use sea_orm::{QueryOrder, QuerySelect, prelude::*};
use std::time::Duration;

/// Rows read at once.
const PAGE_ROWS: u64 = 500;

/// How long after a failed read or publish it is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// Publishes what is stored about a module for its manufacturer, and for the operator of the machine it is wired to.
/// `live` says whether it is current or only the last known state.
///
/// # Errors
/// An error of the store or the bus: try again.
pub(crate) async fn publish_last_known(ctx: &Context, module: ModuleId, live: bool) -> Result<()> {
    let Some(row) = module::Entity::find_by_id(module.as_str()).one(ctx.db.read()).await? else { return Ok(()) };
    if let Some(manufacturer_id) = row.manufacturer_id {
        publish_last_known_to_manufacturer(ctx, manufacturer_id, &row, live).await?;
    }
    match wired_machine(ctx.db.read(), module.as_str()).await? {
        Some(machine) => publish_last_known_to_integrators(ctx, &machine, Some(&row), live).await,
        None => Ok(()),
    }
}

async fn modules_after(ctx: &Context, id: &str) -> Result<Vec<String>> {
    let modules = module::Entity::find().select_only().column(module::Column::Id);
    let page = modules.filter(module::Column::Id.gt(id)).order_by_asc(module::Column::Id).limit(PAGE_ROWS);
    Ok(page.into_tuple().all(ctx.db.read()).await?)
}

async fn unwired_after(ctx: &Context, id: MachineId) -> Result<Vec<machine::Model>> {
    let unwired = machine::Entity::find().filter(machine::Column::ModuleId.is_null());
    let page = unwired.filter(machine::Column::Id.gt(id)).order_by_asc(machine::Column::Id).limit(PAGE_ROWS);
    Ok(page.all(ctx.db.read()).await?)
}

/// Publishes what is last known of all machines and modules. Modules are published through `in_lane`, which says
/// whether that worked, or that nobody listens any more.
pub(crate) async fn publish_all_last_known<F: Future<Output = Option<bool>>>(
    backend: Context,
    in_lane: impl Fn(ModuleId) -> F,
) {
    let mut last = String::new();
    loop {
        let ids = retry(|| modules_after(&backend, &last)).await;
        let Some(id) = ids.last() else { break };
        last.clone_from(id);
        for module in ids.iter().filter_map(|id| ModuleId::parse(id).ok()) {
            loop {
                match in_lane(module).await {
                    Some(true) => break,
                    Some(false) => tokio::time::sleep(RETRY).await,
                    None => return,
                }
            }
        }
    }
    let mut last = MachineId(i64::MIN);
    loop {
        let machines = retry(|| unwired_after(&backend, last)).await;
        let Some(machine) = machines.last() else { return };
        last = machine.id;
        for machine in &machines {
            retry(|| publish_last_known_to_integrators(&backend, machine, None, false)).await;
        }
    }
}

/// Tries until it succeeds.
async fn retry<T, F: Future<Output = Result<T>>>(work: impl Fn() -> F) -> T {
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
