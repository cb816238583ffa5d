//! Another core in place of rumqttd's: clients see no difference.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::Qos;
use parking_lot::Mutex;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{Filter as Subscribe, Packet, RetainForwardRule};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;
use crate::auth::{Authenticate, ClientIdRule, Grants, Lane, Login, Refusal};
use crate::config::Limits;
use crate::gate::Gate;
use crate::listener::{self, Transport};
use crate::topic::Filter;

/// Longer than anything here may take.
const WAIT_TIMEOUT: Duration = Duration::from_secs(30);

type Carried = (u64, Arc<Message>);

/// A core that is a queue.
struct QueueCore {
    /// The last position, and the way in.
    entrance: Mutex<(u64, UnboundedSender<Carried>)>,
    exit: Mutex<Option<UnboundedReceiver<Carried>>>,
    is_up: AtomicBool,
}

impl QueueCore {
    fn new() -> Arc<QueueCore> {
        let (entrance, exit) = unbounded_channel();
        let exit = Mutex::new(Some(exit));
        Arc::new(QueueCore { entrance: Mutex::new((0, entrance)), exit, is_up: AtomicBool::new(true) })
    }
}

#[async_trait]
impl Core for QueueCore {
    async fn publish(&self, message: &Arc<Message>, taken: &(dyn Fn() + Sync)) -> Result<(), CoreError> {
        if !self.healthy() {
            return Err(CoreError::Unavailable);
        }
        let mut entrance = self.entrance.lock();
        entrance.0 += 1;
        entrance.1.send((entrance.0, message.clone())).map_err(|_| CoreError::Unavailable)?;
        taken();
        Ok(())
    }

    fn between_handovers(&self, what: &mut dyn FnMut(u64)) {
        what(self.entrance.lock().0);
    }

    async fn run(&self, take: &Take<'_>) {
        let mut exit = self.exit.lock().take().unwrap();
        while let Some((position, message)) = exit.recv().await {
            take(position, message);
        }
    }

    fn healthy(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }
}

/// Lets everybody do everything in `t/`; `device` is of the device lane.
struct Everybody;

#[async_trait]
impl Authenticate for Everybody {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        Ok(Grants {
            credential: login.client_id.clone(),
            lane: if login.client_id == "device" { Lane::Device } else { Lane::Client },
            client_id: ClientIdRule::Any,
            publish: vec!["t/#".into(), "m/#".into()],
            subscribe: vec!["t/#".into(), "m/#".into()],
            shared: true,
        })
    }
}

struct Client {
    client: AsyncClient,
    events: EventLoop,
}

impl Client {
    async fn connect(port: u16, id: &str) -> Client {
        let mut options = MqttOptions::new(id, "127.0.0.1", port);
        options.set_credentials(id, "password");
        let (client, events) = AsyncClient::new(options, 10);
        let mut client = Client { client, events };
        client.until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(())).await.unwrap();
        client
    }

    /// What is picked of the packets that come, or the end of the connection.
    async fn until<T>(&mut self, pick: impl Fn(Packet) -> Option<T>) -> Option<T> {
        let picking = async {
            loop {
                match self.events.poll().await {
                    Ok(Event::Incoming(packet)) => match pick(packet) {
                        Some(picked) => return Some(picked),
                        None => continue,
                    },
                    Ok(Event::Outgoing(_)) => {}
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, picking).await.expect("nothing comes")
    }

    async fn subscribe(&mut self, filter: &str) {
        let filter = Subscribe {
            path: filter.to_owned(),
            qos: QoS::AtLeastOnce,
            nolocal: false,
            preserve_retain: true,
            retain_forward_rule: RetainForwardRule::OnEverySubscribe,
        };
        self.client.subscribe_many([filter]).await.unwrap();
        self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(())).await.unwrap();
    }

    /// Publishes; whether it is acknowledged.
    async fn publish(&mut self, topic: &str, retain: bool) -> bool {
        self.client.publish(topic, QoS::AtLeastOnce, retain, topic.to_owned()).await.unwrap();
        self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(())).await.is_some()
    }

    /// The payload of the next message, which is its topic, and whether it was retained.
    async fn next(&mut self) -> (String, bool) {
        let publish =
            self.until(|packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None }).await;
        let publish = publish.unwrap();
        (String::from_utf8(publish.payload.to_vec()).unwrap(), publish.retain)
    }
}

#[tokio::test]
async fn another_core_carries_what_clients_say() {
    let limits = Limits::default();
    let device_topics = Filter::parse("m/+/command", limits.topic_bounds()).unwrap();
    let core = QueueCore::new();
    let gate = Arc::new(Gate::new(limits, device_topics, Arc::new(Everybody), core.clone()));
    gate.tasks.spawn(gate.clone().serve());
    let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    gate.tasks.spawn(listener::accept(gate.clone(), socket, Transport::Plain));

    let mut writer = Client::connect(port, "writer").await;
    assert!(writer.publish("t/before", true).await);
    let mut reader = Client::connect(port, "reader").await;
    let mut sharer = Client::connect(port, "sharer").await;
    let mut device = Client::connect(port, "device").await;
    reader.subscribe("t/#").await;
    sharer.subscribe("$share/group/t/#").await;
    device.subscribe("m/device/command").await;
    assert_eq!(reader.next().await, ("t/before".to_owned(), true), "it was retained");
    for topic in ["t/1", "m/device/command", "t/2"] {
        assert!(writer.publish(topic, false).await);
    }
    for topic in ["t/1", "t/2"] {
        assert_eq!(reader.next().await, (topic.to_owned(), false));
        assert_eq!(sharer.next().await, (topic.to_owned(), false));
    }
    assert_eq!(device.next().await, ("m/device/command".to_owned(), false));

    core.is_up.store(false, Ordering::Relaxed);
    assert!(!writer.publish("t/3", true).await, "the core did not take it");
    core.is_up.store(true, Ordering::Relaxed);
    let mut late = Client::connect(port, "late").await;
    late.subscribe("t/#").await;
    assert_eq!(late.next().await.0, "t/before");
    assert!(late.publish("t/4", false).await);
    assert_eq!(late.next().await, ("t/4".to_owned(), false), "what the core did not take is retained nowhere");
    gate.closing.cancel();
}

/// Positions and handovers, as the gate relies on them, of every core there is.
#[tokio::test]
async fn what_is_taken_comes_out_once_in_order_under_its_position() {
    let cores: [Arc<dyn Core>; 2] = [QueueCore::new(), RumqttdCore::start(&Limits::default()).await.unwrap()];
    for core in cores {
        assert!(core.healthy());
        let mut taken_at = vec![];
        for number in 0..100 {
            let message = Message {
                topic: "t".into(),
                payload: bytes::Bytes::new(),
                qos: Qos::AtLeastOnce,
                retain: false,
                origin: number,
                expires_at: None,
                properties: Box::default(),
            };
            let taken = AtomicBool::new(false);
            core.publish(&Arc::new(message), &|| taken.store(true, Ordering::Relaxed)).await.unwrap();
            assert!(taken.load(Ordering::Relaxed));
            core.between_handovers(&mut |position| taken_at.push((position, number)));
        }
        assert!(taken_at.is_sorted_by(|one, next| one.0 < next.0));
        let (give, mut out) = unbounded_channel();
        let take = move |position, message: Arc<Message>| give.send((position, message.origin)).unwrap();
        let receiving = async {
            for taken in taken_at {
                assert_eq!(out.recv().await.unwrap(), taken);
            }
        };
        tokio::select! {
            () = core.run(&take) => panic!("it ended"),
            received = tokio::time::timeout(WAIT_TIMEOUT, receiving) => received.expect("some are lost"),
        }
    }
}
