//! The bus: MQTT, by which modules, integrators and manufacturers are reached. The backend speaks it as a client, to the
//! embedded broker or to an external one alike.

pub(crate) mod integrators;
mod last_known;
mod manufacturers;
mod mqtt;
mod tunnel;

pub use mqtt::{MqttBus, MqttConfig, MqttReader};

use crate::{Backend, Result};
use async_trait::async_trait;
use serde::Serialize;

/// Version of the JSON objects for integrators and manufacturers: fields are added under it, never changed.
const JSON_VERSION: u8 = 1;

/// The way out. What comes in is handed to [`crate::Backend::on_message`].
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes at QoS 1; `Ok` once it is queued to go out. `expiry_s` is MQTT's message expiry.
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> Result<()>;
    /// Whether the broker is there.
    fn connected(&self) -> bool;
}

impl Backend {
    /// Tells integrators or a manufacturer, as JSON. Best effort, by design: the API and the pages have the truth, and a
    /// status is retained.
    async fn tell(&self, topic: &str, json: &impl Serialize, retain: bool) {
        if let Err(error) = self.try_tell(topic, json, retain).await {
            tracing::debug!(topic, %error, "nobody was told");
        }
    }

    async fn try_tell(&self, topic: &str, json: &impl Serialize, retain: bool) -> Result<()> {
        let payload = serde_json::to_vec(json).expect("what is told is plain JSON");
        self.bus.publish(topic, payload, retain, None).await
    }
}
