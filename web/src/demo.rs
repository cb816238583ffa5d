//! What the demo's panel shows and does. Only with the feature `demo`.

use async_trait::async_trait;
use serde::Serialize;
use std::sync::Arc;

/// What the demo's panel shows and does.
#[derive(Clone)]
pub struct DemoPanel {
    /// The virtual modules.
    pub control: Arc<dyn DemoControl>,
    /// The operator's sign-in.
    pub operator_email: String,
    /// The operator's password.
    pub operator_password: String,
    /// `mqtt://127.0.0.1:1883`.
    pub mqtt_url: String,
    /// The integrator's MQTT user name.
    pub integrator_username: String,
    /// The integrator's MQTT password.
    pub integrator_password: String,
    /// The integrator's topic filter.
    pub integrator_topics: String,
    /// The URL of the sandbox's pages.
    pub sandbox_url: String,
}

/// A virtual module in a demo, with the machine it drives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoModule {
    /// The module's id.
    pub id: String,
    /// The machine's name.
    pub machine: String,
    /// The machine's scan code.
    pub code: String,
    /// Whether the module runs.
    pub on: bool,
    /// Pulses the virtual machine has counted, coins and credits together.
    pub pulses: u64,
    /// The state of its learning, or how that ended.
    pub learning_result: Option<DemoLearning>,
}

/// A module that learns its coin line, taught from the panel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DemoLearning {
    /// As the module reports it: `quiet`, `sampling`, `confirming`, `stored`, `failed`.
    pub stage: &'static str,
    /// Whether it is over.
    pub ended: bool,
    /// Coins measured so far.
    pub coins: u8,
    /// Coins to measure.
    pub coins_asked: u8,
}

/// The demo's virtual modules: their state, and ways to control them.
#[async_trait]
pub trait DemoControl: Send + Sync {
    /// All modules that this process runs or could run.
    fn modules(&self) -> Vec<DemoModule>;
    /// Cuts a module's power. Nothing happens if it is off.
    async fn stop(&self, id: &str);
    /// Switches a module on. Nothing happens if it is on.
    async fn start(&self, id: &str);
    /// Inserts a coin into its machine.
    async fn coin(&self, id: &str);
    /// Plays the person at its machine while the module learns, and starts learning first if necessary. Does not wait
    /// for the end. Nothing happens if this is already running, or if the module is off.
    async fn teach(&self, id: &str);
}
