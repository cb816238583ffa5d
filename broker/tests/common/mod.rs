//! A broker with known logins, and clients of three kinds: raw packets, rumqttc, mosquitto's tools.

#![allow(dead_code, clippy::unwrap_used)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use broker::{Authenticate, Broker, ClientIdRule, Config, Grants, Lane, Limits, Login, Refusal};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData, RawPacket};
use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, SubEntry, SubOpts, v3_1_1, v5_0};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest wait for anything in a test.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
/// The password of every login.
pub const PASSWORD: &str = "pw";

/// The logins of the tests: `backend` may do all of `m/` and `v1/`; `anna` and `ben` may do all of `t/`, read `ro/` and write
/// `wo/`; `observer` may do all, and read the broker's figures; `reader` may read `v1/` and publish nothing;
/// `pre` must use client identifiers that start with `pre-`; `module-X` is module X; `down` cannot be decided,
/// `banned` is known and refused; `slow` is as `anna`, and its password takes 200 ms to check.
pub struct Logins;

fn grants(login: &Login) -> Result<Grants, Refusal> {
    let user = login.username.clone().ok_or(Refusal::BadCredentials)?;
    if login.password.as_deref() != Some(PASSWORD.as_bytes()) {
        return Err(Refusal::BadCredentials);
    }
    let all = |filters: &[&str]| filters.iter().map(|filter| filter.to_string()).collect::<Vec<_>>();
    let client = |client_id, publish: &[&str], subscribe: &[&str]| Grants {
        credential: user.clone(),
        lane: Lane::Client,
        client_id,
        publish: all(publish),
        subscribe: all(subscribe),
        shared: true,
    };
    let people: (&[&str], &[&str]) = (&["t/#", "wo/#"], &["t/#", "ro/#"]);
    match user.as_str() {
        "backend" => Ok(client(ClientIdRule::Any, &["m/+/command", "v1/#", "ro/#"], &["m/#", "v1/#", "wo/#"])),
        "anna" | "ben" | "slow" => Ok(client(ClientIdRule::Any, people.0, people.1)),
        "observer" => Ok(client(ClientIdRule::Any, &["#"], &["#", "$SYS/#"])),
        "reader" => Ok(client(ClientIdRule::Any, &[], &["v1/#"])),
        "pre" => Ok(client(ClientIdRule::Prefix("pre-".into()), people.0, people.1)),
        "down" => Err(Refusal::Unavailable),
        "banned" => Err(Refusal::NotAuthorized),
        user => {
            let id = user.strip_prefix("module-").ok_or(Refusal::BadCredentials)?;
            Ok(Grants {
                credential: user.to_owned(),
                lane: Lane::Device,
                client_id: ClientIdRule::Exactly(id.to_owned()),
                publish: ["status", "pulse", "ack"].iter().map(|kind| format!("m/{id}/{kind}")).collect(),
                subscribe: vec![format!("m/{id}/command")],
                shared: false,
            })
        }
    }
}

#[async_trait::async_trait]
impl Authenticate for Logins {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        match login.username.as_deref() {
            Some("slow") => tokio::time::sleep(Duration::from_millis(200)).await,
            Some("endless") => std::future::pending().await,
            _ => {}
        }
        grants(login)
    }

    fn is_guessable(&self, login: &Login) -> bool {
        !login.username.as_deref().unwrap_or_default().starts_with("module-")
    }
}

/// A broker and its address.
pub struct Running {
    pub broker: Broker,
    pub address: SocketAddr,
}

pub async fn start() -> Running {
    start_with(Limits::default()).await
}

pub async fn start_with(limits: Limits) -> Running {
    // Some tests have thousands of connections, each an open file at either end.
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    let config = Config { listen: vec![([127, 0, 0, 1], 0).into()], limits, ..Config::default() };
    let broker = broker::start(config, Arc::new(Logins)).await.unwrap();
    let address = broker.local_addrs()[0];
    Running { broker, address }
}

/// Waits until a condition holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, waiting).await.unwrap_or_else(|_| panic!("waited too long: {what}"));
}

/// A client that sends and reads single packets.
pub struct Raw {
    pub stream: TcpStream,
    builder: PacketBuilder,
    pending: std::collections::VecDeque<RawPacket>,
    next_id: u16,
}

/// A publish as received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    pub id: u16,
    pub properties: Properties,
}

impl Raw {
    pub async fn open(address: SocketAddr) -> Raw {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Raw { stream, builder: PacketBuilder::new(), pending: Default::default(), next_id: 0 }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet, or `None` when the broker closed.
    pub async fn packet(&mut self) -> Option<RawPacket> {
        let reading = async {
            loop {
                if let Some(packet) = self.pending.pop_front() {
                    return Some(packet);
                }
                let mut buffer = [0; 4096];
                let count = self.stream.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    return None;
                }
                let mut cursor = Cursor::new(&buffer[..count]);
                while (cursor.position() as usize) < count {
                    match self.builder.feed(&mut cursor) {
                        PacketBuildResult::Complete(packet) => self.pending.push_back(packet),
                        PacketBuildResult::Incomplete => {}
                        PacketBuildResult::Error(error) => panic!("the broker sent {error:?}"),
                    }
                }
            }
        };
        tokio::time::timeout(WAIT_TIMEOUT, reading).await.expect("the broker sent nothing")
    }

    /// The next packet's type and its body.
    pub async fn body(&mut self) -> (u8, Vec<u8>) {
        let packet = self.packet().await.expect("the broker closed");
        (packet.packet_type(), packet.data_as_slice().to_vec())
    }

    /// Waits for the broker to close; the reason of a DISCONNECT before, if there was one.
    pub async fn closed(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.packet().await {
            if packet.packet_type() == 14 {
                reason = Some(packet.data_as_slice().first().copied().unwrap_or(0));
            }
        }
        reason
    }

    /// Whether the broker has not closed it yet.
    pub async fn is_open(&mut self) -> bool {
        tokio::time::timeout(Duration::ZERO, self.closed()).await.is_err()
    }

    pub async fn connect5(&mut self, connect: v5_0::Connect) -> v5_0::Connack {
        self.send(&connect.to_continuous_buffer()).await;
        let (kind, body) = self.body().await;
        assert_eq!(kind, 2, "CONNACK");
        v5_0::Connack::parse(&body).unwrap().0
    }

    pub async fn connect4(&mut self, connect: v3_1_1::Connect) -> v3_1_1::Connack {
        self.send(&connect.to_continuous_buffer()).await;
        let (kind, body) = self.body().await;
        assert_eq!(kind, 2, "CONNACK");
        v3_1_1::Connack::parse(&body).unwrap().0
    }

    /// An accepted MQTT 5 client.
    pub async fn client5(address: SocketAddr, user: &str, client_id: &str) -> Raw {
        Raw::accepted5(address, login(user, client_id).v5()).await
    }

    pub async fn accepted5(address: SocketAddr, connect: v5_0::Connect) -> Raw {
        let mut raw = Raw::open(address).await;
        let connack = raw.connect5(connect).await;
        assert_eq!(connack.reason_code() as u8, 0);
        raw
    }

    /// An accepted MQTT 3.1.1 client.
    pub async fn client4(address: SocketAddr, user: &str, client_id: &str) -> Raw {
        let mut raw = Raw::open(address).await;
        let connack = raw.connect4(login(user, client_id).v4()).await;
        assert_eq!(connack.return_code() as u8, 0);
        raw
    }

    pub fn id(&mut self) -> u16 {
        self.next_id += 1;
        self.next_id
    }

    /// SUBSCRIBE of MQTT 5; the reason codes.
    pub async fn subscribe5(&mut self, filter: &str, options: SubOpts, properties: Properties) -> Vec<u8> {
        let id = self.id();
        let packet = v5_0::Subscribe::builder()
            .packet_id(id)
            .entries(vec![SubEntry::new(filter, options).unwrap()])
            .props(properties)
            .build()
            .unwrap();
        self.send(&packet.to_continuous_buffer()).await;
        let (kind, body) = self.body().await;
        assert_eq!(kind, 9, "SUBACK, not {body:x?}");
        assert_eq!(u16::from_be_bytes([body[0], body[1]]), id);
        body[3..].to_vec()
    }

    pub async fn subscribed5(&mut self, filter: &str, qos: Qos) {
        let codes = self.subscribe5(filter, SubOpts::new().set_qos(qos), Properties::new()).await;
        assert_eq!(codes, [qos as u8], "{filter}");
    }

    /// SUBSCRIBE of MQTT 3.1.1; the return code.
    pub async fn subscribe4(&mut self, filter: &str, qos: Qos) -> u8 {
        let id = self.id();
        let packet = v3_1_1::Subscribe::builder()
            .packet_id(id)
            .entries(vec![SubEntry::new(filter, SubOpts::new().set_qos(qos)).unwrap()])
            .build()
            .unwrap();
        self.send(&packet.to_continuous_buffer()).await;
        let (kind, body) = self.body().await;
        assert_eq!(kind, 9, "SUBACK, not {body:x?}");
        assert_eq!(u16::from_be_bytes([body[0], body[1]]), id);
        body[2]
    }

    /// A publish of QoS 1 and the reason code of its acknowledgement.
    pub async fn publish5(&mut self, topic: &str, payload: &[u8], retain: bool, properties: Properties) -> u8 {
        let id = self.id();
        let packet = v5_0::Publish::builder()
            .topic_name(topic)
            .unwrap()
            .qos(Qos::AtLeastOnce)
            .packet_id(id)
            .retain(retain)
            .props(properties)
            .payload(payload)
            .build()
            .unwrap();
        self.send(&packet.to_continuous_buffer()).await;
        let (kind, body) = self.body().await;
        assert_eq!((kind, u16::from_be_bytes([body[0], body[1]])), (4, id), "PUBACK");
        body.get(2).copied().unwrap_or(0)
    }

    /// The next publish of MQTT 5; QoS 1 is acknowledged.
    pub async fn received5(&mut self) -> Received {
        let received = self.unacknowledged5().await;
        if received.qos == Qos::AtLeastOnce {
            let packet = v5_0::Puback::builder().packet_id(received.id).build().unwrap();
            self.send(&packet.to_continuous_buffer()).await;
        }
        received
    }

    pub async fn unacknowledged5(&mut self) -> Received {
        let packet = self.packet().await.expect("the broker closed");
        let flags = packet.flags();
        let PacketData::Publish(data) = packet.data else { panic!("no publish: {}", packet.packet_type()) };
        let packet = v5_0::Publish::parse(flags, data).unwrap().0;
        Received {
            topic: packet.topic_name().to_owned(),
            payload: packet.payload().as_slice().to_vec(),
            qos: packet.qos(),
            retain: packet.retain(),
            dup: packet.dup(),
            id: packet.packet_id().unwrap_or(0),
            properties: packet.props.clone(),
        }
    }

    /// The next publish of MQTT 3.1.1; QoS 1 is acknowledged.
    pub async fn received4(&mut self) -> Received {
        let packet = self.packet().await.expect("the broker closed");
        let flags = packet.flags();
        let PacketData::Publish(data) = packet.data else { panic!("no publish: {}", packet.packet_type()) };
        let packet = v3_1_1::Publish::parse(flags, data).unwrap().0;
        if packet.qos() == Qos::AtLeastOnce {
            let ack = v3_1_1::Puback::builder().packet_id(packet.packet_id().unwrap()).build().unwrap();
            self.send(&ack.to_continuous_buffer()).await;
        }
        Received {
            topic: packet.topic_name().to_owned(),
            payload: packet.payload().as_slice().to_vec(),
            qos: packet.qos(),
            retain: packet.retain(),
            dup: packet.dup(),
            id: packet.packet_id().unwrap_or(0),
            properties: Properties::new(),
        }
    }

    /// PINGREQ answered: everything before it was handled, and nothing else came.
    pub async fn ping(&mut self) {
        self.send(&[0xc0, 0]).await;
        let (kind, body) = self.body().await;
        assert_eq!(kind, 13, "something came before PINGRESP: {body:?}");
    }
}

/// A CONNECT of either version.
#[derive(Clone)]
pub struct Connecting {
    user: Option<String>,
    password: Vec<u8>,
    client_id: String,
    clean: bool,
    keep_alive_s: u16,
    will: Option<(String, Vec<u8>, Qos, bool)>,
    properties: Properties,
    will_properties: Properties,
}

/// A clean CONNECT with the right password.
pub fn login(user: &str, client_id: &str) -> Connecting {
    Connecting {
        user: Some(user.to_owned()),
        password: PASSWORD.into(),
        client_id: client_id.to_owned(),
        clean: true,
        keep_alive_s: 60,
        will: None,
        properties: Properties::new(),
        will_properties: Properties::new(),
    }
}

impl Connecting {
    pub fn anonymous(self) -> Self {
        Connecting { user: None, ..self }
    }

    pub fn password(self, password: &str) -> Self {
        Connecting { password: password.into(), ..self }
    }

    pub fn resuming(self) -> Self {
        Connecting { clean: false, ..self }
    }

    pub fn keep_alive(self, keep_alive_s: u16) -> Self {
        Connecting { keep_alive_s, ..self }
    }

    pub fn will(self, topic: &str, payload: &str, qos: Qos, retain: bool) -> Self {
        Connecting { will: Some((topic.to_owned(), payload.into(), qos, retain)), ..self }
    }

    pub fn properties(self, properties: Properties) -> Self {
        Connecting { properties, ..self }
    }

    pub fn will_properties(self, will_properties: Properties) -> Self {
        Connecting { will_properties, ..self }
    }

    pub fn v5(&self) -> v5_0::Connect {
        let mut builder = v5_0::Connect::builder()
            .client_id(self.client_id.as_str())
            .unwrap()
            .clean_start(self.clean)
            .keep_alive(self.keep_alive_s)
            .props(self.properties.clone())
            .will_props(self.will_properties.clone());
        if let Some(user) = &self.user {
            builder = builder.user_name(user.as_str()).unwrap().password(self.password.clone()).unwrap();
        }
        if let Some((topic, payload, qos, retain)) = &self.will {
            builder = builder.will_message(topic.as_str(), payload.clone(), *qos, *retain).unwrap();
        }
        builder.build().unwrap()
    }

    pub fn v4(&self) -> v3_1_1::Connect {
        let mut builder = v3_1_1::Connect::builder()
            .client_id(self.client_id.as_str())
            .unwrap()
            .clean_session(self.clean)
            .keep_alive(self.keep_alive_s);
        if let Some(user) = &self.user {
            builder = builder.user_name(user.as_str()).unwrap().password(self.password.clone()).unwrap();
        }
        if let Some((topic, payload, qos, retain)) = &self.will {
            builder = builder.will_message(topic.as_str(), payload.clone(), *qos, *retain).unwrap();
        }
        builder.build().unwrap()
    }
}

pub fn find<T>(properties: &Properties, pick: impl Fn(&Property) -> Option<T>) -> Option<T> {
    properties.iter().find_map(pick)
}
