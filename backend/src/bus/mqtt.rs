//! The bus over rumqttc: one session, subscribed again after each reconnect.

use crate::{
    Error, Result,
    bus::{Bus, tunnel::Tunnel},
};
use async_trait::async_trait;
use rumqttc::v5::{
    AsyncClient, Event, EventLoop, Incoming, MqttOptions,
    mqttbytes::{
        QoS,
        v5::{Filter, Packet, PublishProperties, SubscribeReasonCode},
    },
};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// What modules say.
const FILTERS: [&str; 3] = ["m/+/status", "m/+/pulse", "m/+/ack"];

/// Messages on their way out that the client holds at most.
const OUTGOING_MAX: usize = 8_192;

/// Messages to the broker without its acknowledgement, at most.
const IN_FLIGHT_MAX: u16 = 1_024;

const KEEP_ALIVE: Duration = Duration::from_secs(30);

const PACKET_MAX_BYTES: u32 = 64 * 1024;

/// Wait before connecting again; doubled each time, up to the longest.
const RECONNECT_FIRST: Duration = Duration::from_millis(100);

const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// How to reach the broker.
#[derive(Clone)]
pub struct MqttConfig {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Client id; of several backends each has its own.
    pub client_id: String,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
    /// Whether to speak TLS, with the operating system's root certificates.
    pub tls: bool,
}

/// The bus over MQTT.
pub struct MqttBus {
    client: AsyncClient,
    connected: Arc<AtomicBool>,
}

/// What happens on the bus.
#[derive(Debug, Clone)]
pub enum BusEvent {
    /// A connection to the broker began; no module has sent anything on it yet.
    Connected,
    /// The broker sends what modules say from now on.
    Subscribed,
    /// A module's message.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload, sealed.
        payload: bytes::Bytes,
    },
}

/// The receiving end of a bus: yields what happens on it.
pub struct MqttReader {
    event_loop: EventLoop,
    client: AsyncClient,
    connected: Arc<AtomicBool>,
    tunnel: Option<Tunnel>,
    /// The tunnel's task and the subscription's: they end with this.
    carrying: JoinSet<()>,
    subscribing: JoinSet<()>,
    wait: Duration,
}

impl MqttBus {
    /// A bus that connects when its reader is run.
    ///
    /// # Errors
    /// TLS is required but cannot be set up.
    pub fn new(config: MqttConfig) -> Result<(Self, MqttReader)> {
        let tunnel = config.tls.then(|| Tunnel::new(&config.host, config.port)).transpose()?;
        let (host, port) = match &tunnel {
            Some(tunnel) => (Ipv4Addr::LOCALHOST.to_string(), tunnel.port()?),
            None => (config.host, config.port),
        };
        let mut options = MqttOptions::new(config.client_id, host, port);
        options
            .set_credentials(config.username, config.password)
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(true)
            .set_max_packet_size(Some(PACKET_MAX_BYTES))
            .set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        let (client, event_loop) = AsyncClient::new(options, OUTGOING_MAX);
        let connected = Arc::new(AtomicBool::new(false));
        let bus = Self { client: client.clone(), connected: connected.clone() };
        let (carrying, subscribing) = (JoinSet::new(), JoinSet::new());
        Ok((bus, MqttReader { event_loop, client, connected, tunnel, carrying, subscribing, wait: RECONNECT_FIRST }))
    }
}

#[async_trait]
impl Bus for MqttBus {
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> Result<()> {
        let properties = PublishProperties { message_expiry_interval: expiry_s, ..Default::default() };
        // Never waits: a payment must not be delayed because the broker is gone. What was not sent is due again.
        self.client
            .try_publish_with_properties(topic, QoS::AtLeastOnce, retain, payload, properties)
            .map_err(|error| Error::Bus(error.to_string()))
    }

    fn connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }
}

impl MqttReader {
    /// What happens next. Reconnects whenever the connection is lost, and subscribes to the modules' topics again.
    pub async fn next(&mut self) -> BusEvent {
        if let Some(tunnel) = self.tunnel.take() {
            self.carrying.spawn(tunnel.run());
        }
        loop {
            match self.event_loop.poll().await {
                Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                    // The client may be full of what was published during an outage, and has room only once that goes out
                    // below. A subscribe call that still waits on behalf of the last connection is obsolete.
                    self.subscribing.shutdown().await;
                    self.subscribing.spawn(subscribe(self.client.clone()));
                    return BusEvent::Connected;
                }
                Ok(Event::Incoming(Packet::SubAck(answer))) => match refused(&answer.return_codes) {
                    None => {
                        self.wait = RECONNECT_FIRST;
                        self.connected.store(true, Ordering::Relaxed);
                        tracing::info!("connected to the message broker");
                        return BusEvent::Subscribed;
                    }
                    Some(refused) => {
                        tracing::warn!(
                            refused,
                            "the message broker refuses subscriptions, so messages of modules do not arrive; let the backend's user \
                            (broker_username) subscribe to them; trying again"
                        );
                        self.connected.store(false, Ordering::Relaxed);
                        self.event_loop.clean();
                        pause(&mut self.wait).await;
                    }
                },
                Ok(Event::Incoming(Incoming::Publish(publish))) => {
                    let Ok(topic) = String::from_utf8(publish.topic.to_vec()) else { continue };
                    return BusEvent::Message { topic, payload: publish.payload };
                }
                Ok(_) => {}
                Err(error) => {
                    if self.connected.swap(false, Ordering::Relaxed) {
                        tracing::warn!(%error, "lost the message broker; connecting again");
                    }
                    pause(&mut self.wait).await;
                }
            }
        }
    }
}

/// Waits before connecting again, longer each time.
async fn pause(wait: &mut Duration) {
    metrics::counter!("coinwire_bus_reconnects_total").increment(1);
    tokio::time::sleep(*wait).await;
    *wait = (*wait * 2).min(RECONNECT_MAX);
}

/// Subscribes to the modules' topics as soon as the client accepts the request.
async fn subscribe(client: AsyncClient) {
    let filters = FILTERS.map(|filter| Filter::new(filter, QoS::AtLeastOnce));
    if let Err(error) = client.subscribe_many(filters).await {
        tracing::warn!(%error, "could not subscribe");
    }
}

/// The filters that the broker refused, each with the reason it gave.
fn refused(answers: &[SubscribeReasonCode]) -> Option<String> {
    let refused = FILTERS.iter().zip(answers).filter(|(_, answer)| !matches!(answer, SubscribeReasonCode::Success(_)));
    let named: Vec<_> = refused.map(|(filter, answer)| format!("{filter} ({answer:?})")).collect();
    (!named.is_empty()).then(|| named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_filters_are_named() {
        let granted = SubscribeReasonCode::Success(QoS::AtLeastOnce);
        assert_eq!(refused(&[granted; 3]), None);
        let some = [SubscribeReasonCode::NotAuthorized, granted, SubscribeReasonCode::QuotaExceeded];
        assert_eq!(refused(&some).as_deref(), Some("m/+/status (NotAuthorized), m/+/ack (QuotaExceeded)"));
    }
}
