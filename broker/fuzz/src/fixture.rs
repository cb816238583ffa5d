//! The broker under test, and what is put right between two inputs, so that each finds it as the one before did.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use broker::{Broker, Config, Limits};
use mqtt_protocol_core::mqtt::packet::{Qos, SubEntry, SubOpts, v5_0};
use tokio::runtime::Runtime;

use crate::client::{Client, MARKER, WAIT_TIMEOUT};
use crate::logins::{Logins, PASSWORD, WITNESS};

/// Whom the witness comes from; the others come from other ports.
const WITNESS_PORT: u16 = 1;

/// A broker that is used for all inputs of a process.
pub struct Fixture {
    runtime: Runtime,
    broker: Broker,
    logins: Arc<Logins>,
    ports: AtomicU16,
    markers: AtomicU64,
    /// Connected all the time, sees every message.
    witness: tokio::sync::Mutex<Client>,
}

impl Fixture {
    /// Starts a broker. Guessing is allowed, or damaged logins would soon all be refused unheard; what it keeps is little,
    /// so that a long run stays small.
    pub fn start(limits: Limits) -> Fixture {
        let limits = Limits {
            failed_logins_per_address: u32::MAX,
            failed_logins_per_name: u32::MAX,
            core_topics: 20_000,
            retained_messages: 1_000,
            retained_bytes: 4 * 1024 * 1024,
            ..limits
        };
        // One thread: an input's tasks run in the same order each time, but for the router's own.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let logins = Arc::new(Logins::default());
        let config = Config { limits, ..Config::default() };
        let (broker, witness) = runtime.block_on(async {
            let broker = broker::start(config, logins.clone()).await.expect("the broker starts");
            let witness = witness(&broker, &logins).await;
            (broker, witness)
        });
        let (ports, markers) = (AtomicU16::new(WITNESS_PORT + 1), AtomicU64::new(0));
        Fixture { runtime, broker, logins, ports, markers, witness: tokio::sync::Mutex::new(witness) }
    }

    /// Carries out one input, then sees that the broker still serves, and tidies up.
    pub fn run(&self, input: impl AsyncFnOnce()) {
        self.runtime.block_on(async {
            input().await;
            self.tidy().await;
        });
    }

    /// A new connection, whose buffers hold so many bytes.
    pub fn open(&self, buffer_bytes: usize) -> Client {
        let port = self.ports.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |port| {
            Some(if port == u16::MAX { WITNESS_PORT + 1 } else { port + 1 })
        });
        open(&self.broker, &self.logins, port.expect("there always is a next"), buffer_bytes)
    }

    /// Revokes a credential.
    pub fn revoke(&self, user: &str) {
        self.broker.disconnect(user);
    }

    async fn tidy(&self) {
        let gone = async {
            while self.broker.connections().len() > 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, gone).await.expect("connections outlive their streams");
        for let_in in self.logins.take() {
            self.end_session(&let_in.user, &let_in.client_id).await;
        }
        // Those of the tidying.
        self.logins.take();
        self.watch().await;
    }

    /// Ends a session that may have been kept: a clean one takes its place, and ends with its connection.
    async fn end_session(&self, user: &str, client_id: &str) {
        let mut client = self.open(1024);
        client.send(&connect(user, client_id), usize::MAX, true).await;
        client.send(&[0xe0, 0], usize::MAX, true).await;
        client.close().await;
    }

    /// Sees that messages pass, and clears what was retained: an input that fails must fail alone.
    async fn watch(&self) {
        let mut witness = self.witness.lock().await;
        self.mark(&mut witness).await;
        let retained = witness.retained();
        if retained.is_empty() {
            return;
        }
        for topic in retained {
            witness.send(&publish(&topic, b"", true), usize::MAX, true).await;
        }
        self.mark(&mut witness).await;
        assert!(witness.retained().is_empty(), "retained messages that cannot be cleared");
    }

    /// Sends a message and waits for it: whatever was sent before has come.
    async fn mark(&self, witness: &mut Client) {
        let marker = self.markers.fetch_add(1, Ordering::Relaxed).to_string();
        witness.send(&publish(MARKER, marker.as_bytes(), false), usize::MAX, true).await;
        witness.marked(marker.as_bytes()).await;
    }
}

fn open(broker: &Broker, logins: &Arc<Logins>, port: u16, buffer_bytes: usize) -> Client {
    let peer = SocketAddr::from(([127, 0, 0, 1], port));
    let (ours, theirs) = tokio::io::duplex(buffer_bytes);
    broker.serve(theirs, peer);
    Client::new(ours, peer, logins.clone())
}

async fn witness(broker: &Broker, logins: &Arc<Logins>) -> Client {
    let mut witness = open(broker, logins, WITNESS_PORT, 64 * 1024);
    witness.send(&connect(WITNESS, WITNESS), usize::MAX, true).await;
    let everything = SubEntry::new("#", SubOpts::new().set_qos(Qos::AtMostOnce).set_rap(true)).expect("a filter");
    let subscribe = v5_0::Subscribe::builder().packet_id(1_u16).entries(vec![everything]).build();
    witness.send(&subscribe.expect("a packet").to_continuous_buffer(), usize::MAX, true).await;
    witness.sync().await;
    witness
}

/// A clean CONNECT of MQTT 5, whose session ends with its connection.
fn connect(user: &str, client_id: &str) -> Vec<u8> {
    let connect = v5_0::Connect::builder().clean_start(true);
    let connect = connect.client_id(client_id).and_then(|connect| connect.user_name(user));
    let connect = connect.and_then(|connect| connect.password(PASSWORD.to_vec())).and_then(|connect| connect.build());
    connect.expect("a packet").to_continuous_buffer()
}

fn publish(topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let publish = v5_0::Publish::builder().topic_name(topic).expect("a topic that was received");
    publish.retain(retain).payload(payload).build().expect("a packet").to_continuous_buffer()
}
