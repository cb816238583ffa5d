//! rumqttd's router in process, over its local links: everything that knows rumqttd is in this file.
//!
//! This relies on the following facts (rumqttd 0.20.0): a link publishes at QoS 0; `LinkTx::send` blocks while the
//! router's event queue (1,000) is full; after `Unschedule` a link is silent until woken; nothing may follow a
//! `Disconnect` on a link; `build` blocks; a link's name must not hold `+$#/`. The router thread cannot be stopped:
//! when nothing refers to it any more it sleeps until the process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Forward, Notification, RouterConfig};
use tokio::sync::oneshot;

use super::OPEN_TIMEOUT;
use crate::core::CoreError;

/// Size and number of the log's segments. A reader that is behind by more than their product loses messages. (The
/// router counts topic and payload; it is given no properties.) So the log is always read, into bounded queues of the
/// gate, and publishers are held back well before (`Limits::core_window_bytes`).
const SEGMENT_BYTES: usize = 512 * 1024;
const SEGMENTS: usize = 8;
/// Packets the router forwards to a link in one go.
const FORWARD_PACKETS: u64 = 100;
/// Most links: one in, one out, and some for tests.
const LINKS: usize = 8;
/// The probe's topic: no client can publish or name it, since it is not printable.
const PROBE_TOPIC: &str = "\u{1}probe";

type BuiltLink = Option<(LinkTx, LinkRx)>;

/// A running router.
pub(super) struct Router {
    // The router's sender cannot be named outside rumqttd; a closure can hold it.
    build: Arc<dyn Fn(&str) -> BuiltLink + Send + Sync>,
    /// Number of links opened so far, used for their names.
    links: AtomicU64,
}

impl Router {
    /// Starts a router thread.
    pub fn start() -> Router {
        let config = RouterConfig {
            max_connections: LINKS,
            max_outgoing_packet_count: FORWARD_PACKETS,
            max_segment_size: SEGMENT_BYTES,
            max_segment_count: SEGMENTS,
            ..RouterConfig::default()
        };
        let events = rumqttd::Router::new(0, config).spawn();
        Router {
            build: Arc::new(move |name| {
                LinkBuilder::new(name, events.clone()).build().ok().map(|(tx, rx, _)| (tx, rx))
            }),
            links: AtomicU64::new(0),
        }
    }

    /// Opens a link.
    pub async fn link(&self) -> Result<Link, CoreError> {
        let name = self.links.fetch_add(1, Ordering::Relaxed);
        let build = self.build.clone();
        let (built, building) = oneshot::channel();
        // Its own thread, not one of the runtime: if the router dies just now, `build` never returns, and the runtime
        // could never end.
        let building_thread = std::thread::Builder::new().name("broker-link".to_owned()).spawn(move || {
            if let Some((tx, rx)) = build(&format!("gate-{name}")) {
                // If nobody waits any more, the link is dropped here, which closes it.
                let _ = built.send(Link { tx, rx, is_unscheduled: false });
            }
        });
        building_thread.map_err(|_| CoreError::Unavailable)?;
        match tokio::time::timeout(OPEN_TIMEOUT, building).await {
            Ok(Ok(link)) => Ok(link),
            _ => Err(CoreError::Unavailable),
        }
    }
}

/// A link to the router. Dropping it closes it.
pub(super) struct Link {
    tx: LinkTx,
    rx: LinkRx,
    /// Whether the router waits to be told that there is room again.
    is_unscheduled: bool,
}

/// The router is gone.
pub(super) struct RouterGone;

/// A publish as it comes from the router.
pub(super) struct Forwarded {
    pub publish: Publish,
    /// Its place in the log of the filter that it matched; places are contiguous.
    pub offset: Option<u64>,
}

impl From<Forward> for Forwarded {
    fn from(forward: Forward) -> Forwarded {
        let offset = forward.cursor.map(|(_, offset)| offset);
        Forwarded { publish: forward.publish, offset }
    }
}

impl Link {
    /// Hands a packet to the router.
    pub fn push(&mut self, packet: Packet) -> Result<(), RouterGone> {
        let mut waiting = self.tx.buffer();
        if !waiting.is_empty() {
            // An event that makes the router take everything waiting is already on its way.
            waiting.push_back(packet);
            return Ok(());
        }
        drop(waiting);
        match self.tx.send(packet).now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => Err(RouterGone),
        }
    }

    /// Blocks the router for the given time, and reports when it is blocked: it waits for a lock that is held here.
    /// This call blocks equally long.
    #[cfg(any(test, debug_assertions))]
    pub fn hold_router(&mut self, duration: std::time::Duration, sticks: oneshot::Sender<()>) {
        loop {
            let _ = self.tx.send(Packet::PingReq(rumqttd::protocol::PingReq)).now_or_never();
            let waiting = self.tx.buffer();
            if !waiting.is_empty() {
                // The router still has to process this, and cannot.
                let _ = sticks.send(());
                std::thread::sleep(duration);
                return;
            }
        }
    }

    /// Subscribes to everything. When this returns, the subscription is active: everything published from now on is
    /// delivered.
    pub async fn subscribe_all(&mut self) -> Result<(), CoreError> {
        self.tx.subscribe("#").map_err(|_| CoreError::Unavailable)?;
        let acknowledged = async {
            loop {
                match self.rx.next().await {
                    Ok(Some(Notification::DeviceAck(_))) => return Ok(()),
                    Ok(Some(Notification::Unschedule)) => self.is_unscheduled = true,
                    Ok(_) => {}
                    Err(_) => return Err(CoreError::Unavailable),
                }
            }
        };
        tokio::time::timeout(OPEN_TIMEOUT, acknowledged).await.map_err(|_| CoreError::Unavailable)?
    }

    /// The next publish, or `None` when the router is gone. May be cancelled and called again.
    pub async fn next(&mut self) -> Option<Forwarded> {
        loop {
            if self.is_unscheduled {
                self.rx.wake().await.ok()?;
                self.is_unscheduled = false;
            }
            match self.rx.next().await {
                Ok(Some(Notification::Forward(forward))) => return Some(forward.into()),
                Ok(Some(Notification::Unschedule)) => self.is_unscheduled = true,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let reason_code = DisconnectReasonCode::NormalDisconnection;
        let _ = self.tx.send(Packet::Disconnect(Disconnect { reason_code }, None)).now_or_never();
    }
}

/// A publish as the router takes it.
pub(super) fn packet(topic: Bytes, payload: Bytes) -> Packet {
    Packet::Publish(Publish::new(topic, payload, false), None)
}

/// A probe: passes through the router unchanged and is not a message.
pub(super) fn probe() -> Packet {
    packet(Bytes::from_static(PROBE_TOPIC.as_bytes()), Bytes::new())
}

/// Something that kills the router.
#[cfg(any(test, debug_assertions))]
pub(super) fn poison() -> Packet {
    packet("é".into(), Bytes::new())
}
