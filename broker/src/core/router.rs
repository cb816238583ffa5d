//! rumqttd's router in process, over its local links: everything that knows rumqttd is in this file.
//!
//! Facts this stands on (rumqttd 0.20.0): a link publishes at QoS 0; `LinkTx::send` blocks while the router's event
//! queue (1,000) is full; after `Unschedule` a link is silent until woken; nothing may follow a `Disconnect` on a link;
//! `build` blocks; a link's name must not hold `+$#/`, and 1.1 KB are kept of each name for ever, so names are used again.
//! The router thread cannot be stopped: when nothing refers to it any more it sleeps until the process ends.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use parking_lot::Mutex;
use rumqttd::local::{LinkBuilder, LinkRx, LinkTx};
use rumqttd::protocol::{Disconnect, DisconnectReasonCode, Packet, Publish};
use rumqttd::{Forward, Notification, RouterConfig};
use tokio::sync::oneshot;

use super::{CoreError, OPEN_TIMEOUT};

/// Size and number of the segments of a filter's log. A feed that is behind by more than their product loses messages.
/// Of a message, the router counts topic and payload, and no properties: it is given none.
/// So feeds are always read, into bounded queues of the gate, and publishers are held back well before
/// (`Limits::core_window_bytes`).
const SEGMENT_BYTES: usize = 512 * 1024;
const SEGMENTS: usize = 8;
/// Packets the router forwards to a link in one go.
const FORWARD_PACKETS: u64 = 100;

type Built = Option<(LinkTx, LinkRx)>;

/// A running router.
pub(super) struct Router {
    // The router's sender cannot be named outside rumqttd; a closure can hold it.
    build: Arc<dyn Fn(&str) -> Built + Send + Sync>,
    names: Arc<Mutex<Names>>,
}

/// Names of links, used again when a link is gone.
struct Names {
    free: Vec<u64>,
    next: u64,
}

impl Router {
    /// Starts a router thread with room for `links` links.
    pub fn start(links: usize) -> Router {
        let config = RouterConfig {
            max_connections: links,
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
            names: Arc::new(Mutex::new(Names { free: Vec::new(), next: 0 })),
        }
    }

    /// Opens a link.
    pub async fn link(&self) -> Result<Link, CoreError> {
        let name = {
            let mut names = self.names.lock();
            names.free.pop().unwrap_or_else(|| {
                names.next += 1;
                names.next
            })
        };
        let (build, names) = (self.build.clone(), self.names.clone());
        let (built, building) = oneshot::channel();
        // A thread of its own, not the runtime's: if the router dies just now, `build` never returns, and the runtime could
        // never end.
        let building_thread = std::thread::Builder::new().name("broker-link".to_owned()).spawn(move || {
            if let Some((tx, rx)) = build(&format!("gate-{name}")) {
                // If nobody waits any more, the link is dropped and so closed here.
                let _ = built.send(Link { tx, rx, early: VecDeque::new(), name, names });
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
    /// What came while another filter was being subscribed to.
    early: VecDeque<Forwarded>,
    name: u64,
    names: Arc<Mutex<Names>>,
}

/// The router is gone.
pub(super) struct Gone;

/// A publish as it comes from the router.
pub(super) struct Forwarded {
    pub publish: Publish,
    /// Its place in the log of the filter it came by; these are contiguous.
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
    pub fn push(&mut self, packet: Packet) -> Result<(), Gone> {
        let mut waiting = self.tx.buffer();
        if !waiting.is_empty() {
            // An event that makes the router take everything waiting is already on its way.
            waiting.push_back(packet);
            return Ok(());
        }
        drop(waiting);
        match self.tx.send(packet).now_or_never() {
            Some(Ok(_)) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Makes the router stick for so long, and says when it does: it waits for a lock that is held here. Blocks as long.
    #[cfg(debug_assertions)]
    pub fn hold_router(&mut self, duration: std::time::Duration, sticks: oneshot::Sender<()>) {
        loop {
            let _ = self.tx.send(Packet::PingReq(rumqttd::protocol::PingReq)).now_or_never();
            let waiting = self.tx.buffer();
            if !waiting.is_empty() {
                // The router has yet to take this, and cannot.
                let _ = sticks.send(());
                std::thread::sleep(duration);
                return;
            }
        }
    }

    /// Subscribes to filters, which the gate has checked. When this returned the router has them: a message pushed before
    /// may come or not, one pushed after does.
    pub async fn subscribe(&mut self, filters: impl Iterator<Item = &str>) -> Result<(), CoreError> {
        for filter in filters {
            self.tx.subscribe(filter).map_err(|_| CoreError::Unavailable)?;
            let acknowledged = async {
                loop {
                    match self.rx.next().await {
                        Ok(Some(Notification::DeviceAck(_))) => return Ok(()),
                        Ok(Some(Notification::Forward(forward))) => self.early.push_back(forward.into()),
                        Ok(Some(Notification::Unschedule)) => {
                            self.rx.wake().await.map_err(|_| CoreError::Unavailable)?;
                        }
                        Ok(_) => {}
                        Err(_) => return Err(CoreError::Unavailable),
                    }
                }
            };
            tokio::time::timeout(OPEN_TIMEOUT, acknowledged).await.map_err(|_| CoreError::Unavailable)??;
        }
        Ok(())
    }

    /// The next publish, or `None` when the router is gone.
    pub async fn next(&mut self) -> Option<Forwarded> {
        if let Some(forwarded) = self.early.pop_front() {
            return Some(forwarded);
        }
        loop {
            match self.rx.next().await {
                Ok(Some(Notification::Forward(forward))) => return Some(forward.into()),
                Ok(Some(Notification::Unschedule)) => self.rx.wake().await.ok()?,
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
        self.names.lock().free.push(self.name);
    }
}

/// A publish as the router takes it.
pub(super) fn packet(topic: Bytes, payload: Bytes) -> Packet {
    Packet::Publish(Publish::new(topic, payload, false), None)
}
