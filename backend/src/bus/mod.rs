//! The bus: MQTT, by which modules and integrators are reached. The backend speaks it as a client, to the embedded broker
//! or to an external one alike.

mod integrators;
mod mqtt;

pub use mqtt::{MqttBus, MqttConfig, MqttReader};

use crate::Result;
use async_trait::async_trait;

/// The way out. What comes in is handed to [`crate::Backend::on_message`].
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes at QoS 1; `Ok` once it is queued to go out. `expiry_s` is MQTT's message expiry.
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> Result<()>;
    /// Whether the broker is there.
    fn connected(&self) -> bool;
}
