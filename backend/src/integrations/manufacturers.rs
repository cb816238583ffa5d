//! Manufacturers' topics: `made/<manufacturer>/<module>/status`, plain JSON: the state of its modules, and nothing
//! about money. docs/PROTOCOL.md has the fields.

use crate::{
    Context, Result,
    access::manufacturers::manufacturer_row,
    bus::JSON_VERSION,
    ids::ManufacturerId,
    integrations::publish::{publish_json, try_publish_json},
    machines::fleet::fault_names,
    modules::module,
};
use protocol::{ModuleId, messages::Status};
use serde::Serialize;

#[derive(Serialize)]
struct HealthJson<'a> {
    v: u8,
    at_ms: i64,
    /// Whether the module said it just now; if not, it is the last known state.
    live: bool,
    as_of_ms: Option<i64>,
    online: bool,
    firmware: &'a str,
    boot: i64,
    signal_csq: Option<u8>,
    supply_mv: Option<u16>,
    faults: Vec<&'static str>,
    settings_version: i64,
}

pub(crate) async fn publish_status_to_manufacturer(
    ctx: &Context,
    manufacturer_id: ManufacturerId,
    module: ModuleId,
    status: &Status<'_>,
) {
    let manufacturer = match manufacturer_row(ctx, manufacturer_id).await {
        Ok(manufacturer) => manufacturer,
        Err(error) => {
            tracing::warn!(%error, "could not publish a status for a manufacturer");
            return;
        }
    };
    let now_ms = ctx.wall_ms();
    let json = HealthJson {
        v: JSON_VERSION,
        at_ms: now_ms,
        live: true,
        as_of_ms: Some(now_ms),
        online: status.online,
        firmware: status.firmware,
        boot: status.mark.boot.into(),
        signal_csq: status.signal_csq,
        supply_mv: status.supply_mv,
        faults: fault_names(status.faults.into()),
        settings_version: status.settings_version.into(),
    };
    publish_json(ctx, &format!("made/{}/{module}/status", manufacturer.slug), &json, true).await;
}

/// Publishes what is stored about a module.
pub(crate) async fn publish_last_known_to_manufacturer(
    ctx: &Context,
    manufacturer_id: ManufacturerId,
    module: &module::Model,
    live: bool,
) -> Result<()> {
    let manufacturer = manufacturer_row(ctx, manufacturer_id).await?;
    let json = HealthJson {
        v: JSON_VERSION,
        at_ms: module.seen_ms.unwrap_or(ctx.now_ms()),
        live,
        as_of_ms: module.seen_ms,
        online: module.online,
        firmware: &module.firmware,
        boot: module.status_boot,
        signal_csq: module.signal_csq.and_then(|csq| csq.try_into().ok()),
        supply_mv: module.supply_mv.and_then(|mv| mv.try_into().ok()),
        faults: fault_names(module.faults),
        settings_version: module.settings_version,
    };
    try_publish_json(ctx, &format!("made/{}/{}/status", manufacturer.slug, module.id), &json, true).await
}
