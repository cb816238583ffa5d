//! A client that costs little: a socket and a read buffer, over the codecs of rumqttc, which share no code with the gate.

use anyhow::{Context, Result, bail};
use bytes::{Buf, Bytes, BytesMut};
use rumqttc::mqttbytes::{self, v4};
use rumqttc::v5::mqttbytes::{self as mqttbytes5, v5};
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

/// Keep alive of all clients, in seconds: longer than any part, so that nothing is sent unasked.
const KEEP_ALIVE_S: u16 = 600;
/// Longest packet taken.
const PACKET_BYTES: u32 = 1024 * 1024;
/// How much the read buffer grows at a time; thousands of clients share this process.
const READ_BYTES: usize = 512;

/// The MQTT version a client speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V5,
}

pub const VERSIONS: [Version; 2] = [Version::V4, Version::V5];

impl Version {
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V4 => "3.1.1",
            Version::V5 => "5",
        }
    }
}

/// What came.
pub enum Heard {
    Publish { payload: Bytes },
    PubAck,
    Other,
}

/// A connection.
pub struct Client {
    stream: TcpStream,
    read: BytesMut,
    write: BytesMut,
    version: Version,
    last_id: u16,
}

impl Client {
    /// Connects and logs in; the user is the client id, which is all that the gate of this benchmark asks for.
    pub async fn connect(at: SocketAddr, from: Ipv4Addr, version: Version, id: &str) -> Result<Client> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(at).await.with_context(|| format!("cannot connect to {at}"))?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, read: BytesMut::new(), write: BytesMut::new(), version, last_id: 0 };
        match version {
            Version::V4 => {
                let mut connect = v4::Connect::new(id);
                connect.set_login(id, "bench");
                connect.keep_alive = KEEP_ALIVE_S;
                connect.write(&mut client.write).context("CONNECT")?;
            }
            Version::V5 => {
                let connect = v5::Connect {
                    keep_alive: KEEP_ALIVE_S,
                    client_id: id.to_owned(),
                    clean_start: true,
                    properties: None,
                };
                let login = Some(v5::Login::new(id, "bench"));
                v5::Packet::Connect(connect, None, login).write(&mut client.write, None).context("CONNECT")?;
            }
        }
        client.flush().await?;
        let Packet::Welcome = client.packet().await? else { bail!("{id} was not let in") };
        Ok(client)
    }

    /// Subscribes, and waits for the answer.
    pub async fn subscribe(&mut self, filter: &str, at_least_once: bool) -> Result<()> {
        let id = self.next_id();
        match self.version {
            Version::V4 => {
                let qos = if at_least_once { mqttbytes::QoS::AtLeastOnce } else { mqttbytes::QoS::AtMostOnce };
                let mut subscribe = v4::Subscribe::new(filter, qos);
                subscribe.pkid = id;
                subscribe.write(&mut self.write).context("SUBSCRIBE")?;
            }
            Version::V5 => {
                let qos = if at_least_once { mqttbytes5::QoS::AtLeastOnce } else { mqttbytes5::QoS::AtMostOnce };
                let mut subscribe = v5::Subscribe::new(v5::Filter::new(filter, qos), None);
                subscribe.pkid = id;
                subscribe.write(&mut self.write).context("SUBSCRIBE")?;
            }
        }
        self.flush().await?;
        while self.packet().await? != Packet::SubAck {}
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id % u16::MAX + 1;
        self.last_id
    }

    /// Puts a publish of QoS 1 into the write buffer.
    pub fn publish(&mut self, topic: &str, payload: impl Into<Bytes>) -> Result<()> {
        let id = self.next_id();
        match self.version {
            Version::V4 => {
                let mut publish = v4::Publish::from_bytes(topic, mqttbytes::QoS::AtLeastOnce, payload.into());
                publish.pkid = id;
                publish.write(&mut self.write).context("PUBLISH")?;
            }
            Version::V5 => {
                let mut publish = v5::Publish::new(topic, mqttbytes5::QoS::AtLeastOnce, payload.into(), None);
                publish.pkid = id;
                publish.write(&mut self.write).context("PUBLISH")?;
            }
        }
        Ok(())
    }

    /// Writes what was put into the write buffer, as far as the socket takes it at once after the first byte.
    pub async fn flush(&mut self) -> Result<()> {
        while self.write.has_remaining() {
            self.stream.write_buf(&mut self.write).await?;
        }
        Ok(())
    }

    /// The next packet; a publish of QoS 1 is acknowledged. Safe to cancel while nothing has come.
    pub async fn hear(&mut self) -> Result<Heard> {
        let (id, payload) = match self.packet().await? {
            Packet::Publish { id, payload } => (id, payload),
            Packet::PubAck => return Ok(Heard::PubAck),
            Packet::Welcome | Packet::SubAck | Packet::Other => return Ok(Heard::Other),
        };
        if id != 0 {
            match self.version {
                Version::V4 => v4::PubAck::new(id).write(&mut self.write).context("PUBACK")?,
                Version::V5 => v5::PubAck::new(id, None).write(&mut self.write).context("PUBACK")?,
            };
            // What has come already is acknowledged together with it.
            if self.read.is_empty() {
                self.flush().await?;
            }
        }
        Ok(Heard::Publish { payload })
    }

    async fn packet(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.parsed()? {
                return Ok(packet);
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the broker closed the connection");
            }
        }
    }

    fn parsed(&mut self) -> Result<Option<Packet>> {
        match self.version {
            Version::V4 => match v4::Packet::read(&mut self.read, PACKET_BYTES as usize) {
                Ok(packet) => Ok(Some(packet.into())),
                Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => bail!("the broker sent nonsense: {error}"),
            },
            Version::V5 => match v5::Packet::read(&mut self.read, Some(PACKET_BYTES)) {
                Ok(packet) => Ok(Some(packet.into())),
                Err(mqttbytes5::Error::InsufficientBytes(_)) => Ok(None),
                Err(error) => bail!("the broker sent nonsense: {error}"),
            },
        }
    }
}

/// The parts of a packet that are needed here, in both versions.
#[derive(PartialEq)]
enum Packet {
    /// A CONNACK that accepts.
    Welcome,
    SubAck,
    PubAck,
    Publish {
        id: u16,
        payload: Bytes,
    },
    Other,
}

impl From<v4::Packet> for Packet {
    fn from(packet: v4::Packet) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "rumqttc has many more")]
        match packet {
            v4::Packet::ConnAck(ack) if ack.code == v4::ConnectReturnCode::Success => Packet::Welcome,
            v4::Packet::SubAck(_) => Packet::SubAck,
            v4::Packet::PubAck(_) => Packet::PubAck,
            v4::Packet::Publish(publish) => Packet::Publish { id: publish.pkid, payload: publish.payload },
            _ => Packet::Other,
        }
    }
}

impl From<v5::Packet> for Packet {
    fn from(packet: v5::Packet) -> Self {
        #[expect(clippy::wildcard_enum_match_arm, reason = "rumqttc has many more")]
        match packet {
            v5::Packet::ConnAck(ack) if ack.code == v5::ConnectReturnCode::Success => Packet::Welcome,
            v5::Packet::SubAck(_) => Packet::SubAck,
            v5::Packet::PubAck(_) => Packet::PubAck,
            v5::Packet::Publish(publish) => Packet::Publish { id: publish.pkid, payload: publish.payload },
            _ => Packet::Other,
        }
    }
}
