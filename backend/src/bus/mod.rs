//! The bus: MQTT, over which modules, integrators and manufacturers are reached. The backend is an MQTT client, of the
//! embedded broker or of an external one alike.

pub(crate) mod mqtt;
pub(crate) mod tunnel;

use crate::Result;
use async_trait::async_trait;

pub use mqtt::{BusEvent, MqttBus, MqttConfig, MqttReader};
/// Version of the JSON objects for integrators and manufacturers. Within a version fields are added, never changed.
pub(crate) const JSON_VERSION: u8 = 1;

/// The sending side. Incoming messages go to [`crate::flows::take_message::on_message`].
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes at QoS 1; `Ok` once it is queued to go out. `expiry_s` is MQTT's message expiry.
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> Result<()>;
    /// Whether the broker is connected.
    fn connected(&self) -> bool;
}
