//! Manufacturers' topics: `made/<manufacturer>/<module>/status`, plain JSON: how its modules are, and nothing of money.
//! docs/PROTOCOL.md has the fields.

use super::JSON_VERSION;
use crate::{Backend, machines::fleet::fault_words};
use protocol::{ModuleId, messages::Status};
use serde::Serialize;

#[derive(Serialize)]
struct HealthJson<'a> {
    v: u8,
    at_ms: i64,
    online: bool,
    firmware: &'a str,
    boot: u32,
    signal_csq: Option<u8>,
    supply_mv: Option<u16>,
    faults: Vec<&'static str>,
    settings_version: u32,
}

impl Backend {
    pub(crate) async fn tell_manufacturer_of_status(
        &self,
        manufacturer_id: i64,
        module: ModuleId,
        status: &Status<'_>,
    ) {
        let manufacturer = match self.manufacturer_row(manufacturer_id).await {
            Ok(manufacturer) => manufacturer,
            Err(error) => {
                tracing::warn!(%error, "a manufacturer was not told of a status");
                return;
            }
        };
        let json = HealthJson {
            v: JSON_VERSION,
            at_ms: self.wall_ms(),
            online: status.online,
            firmware: status.firmware,
            boot: status.mark.boot,
            signal_csq: status.signal_csq,
            supply_mv: status.supply_mv,
            faults: fault_words(status.faults.into()),
            settings_version: status.settings_version,
        };
        self.tell(&format!("made/{}/{module}/status", manufacturer.slug), &json, true).await;
    }
}
