//! What the web is told by whoever starts it.

use async_trait::async_trait;
use serde::Serialize;
use std::{fmt, sync::Arc};

/// Gives the metrics as Prometheus text.
pub type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// How the web behaves.
#[derive(Clone)]
pub struct WebConfig {
    /// Where people reach it, `https://pay.example.com`, without a slash at the end. Printed as QR codes; with `https`
    /// browsers are told to stay with it.
    pub public_url: String,
    /// Whether the last address in `X-Forwarded-For` is believed. Only behind a proxy of one's own, which sets it.
    pub trust_proxy_header: bool,
    /// Whether cookies are sent over https only.
    pub secure_cookies: bool,
    /// Signs the tokens in forms. Random, and the same for all servers behind a load balancer.
    pub csrf_key: [u8; 32],
    /// How much one address may ask.
    pub limits: Limits,
    /// The demo's panel at `/demo`, if this is a demo.
    pub demo: Option<DemoPanel>,
    /// What `/metrics` shows; without it there is no `/metrics`.
    pub metrics: Option<MetricsText>,
}

impl fmt::Debug for WebConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key stays out of logs.
        f.debug_struct("WebConfig")
            .field("public_url", &self.public_url)
            .field("trust_proxy_header", &self.trust_proxy_header)
            .field("secure_cookies", &self.secure_cookies)
            .field("limits", &self.limits)
            .field("demo", &self.demo.is_some())
            .finish_non_exhaustive()
    }
}

/// How much may be asked. A rate of 0 means no limit. Rates are a minute's, and a minute's worth may come at once.
///
/// Phones share addresses behind their carrier, so what consumers may do is generous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Scan and sale pages from one address.
    pub scans_per_minute: u32,
    /// Orders from one address.
    pub orders_per_minute: u32,
    /// Attempts to sign in from one address.
    pub sign_ins_per_minute: u32,
    /// Attempts to sign in with one e-mail address.
    pub sign_ins_per_email_per_minute: u32,
    /// Live streams at once, of all pages together.
    pub live_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            scans_per_minute: 600,
            orders_per_minute: 120,
            sign_ins_per_minute: 30,
            sign_ins_per_email_per_minute: 10,
            live_streams: 10_000,
        }
    }
}

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
    /// Where the sandbox's pages are.
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
}

/// The demo's virtual modules: what they are, and hands to move them.
#[async_trait]
pub trait DemoControl: Send + Sync {
    /// All modules that this process runs or could run.
    fn modules(&self) -> Vec<DemoModule>;
    /// Cuts a module's power. Nothing happens if it is off.
    async fn stop(&self, id: &str);
    /// Switches a module on. Nothing happens if it is on.
    async fn start(&self, id: &str);
    /// Drops a coin into its machine.
    async fn coin(&self, id: &str);
}
