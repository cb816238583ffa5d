//! Packets on the wire, through mqtt-protocol-core.
//!
//! Only the library's codec is used: its framing ([`PacketBuilder`]) and its packet types of both versions. Its
//! connection state machine is not: it keeps a store and a dozen sets for every connection, resolves topic aliases
//! before the topic could be checked against grants, and does not share state with a session that outlives the
//! connection.
//!
//! The library reads without panicking (see the fuzz tests) and checks a packet's length before it allocates memory.
//! What it does not check is checked in [`decode`]: fixed-header flags, CONNECT flags, packet identifier 0, the number
//! of properties.

pub(crate) mod decode;
pub(crate) mod encode;

pub(crate) use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, RawPacket};
pub(crate) use mqtt_protocol_core::mqtt::packet::{Properties, Property, Qos, RetainHandling};
pub(crate) use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
    UnsubackReasonCode,
};

use bytes::Bytes;

use crate::auth::Version;

/// CONNECT of either version.
pub(crate) struct Connect {
    pub version: Version,
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<Vec<u8>>,
    pub clean_start: bool,
    pub keep_alive_s: u16,
    pub will: Option<ConnectWill>,
    /// Seconds for which the session shall outlive the connection, as asked for (`u32::MAX`: for ever).
    pub session_expiry_s: u32,
    pub receive_maximum: u16,
    pub maximum_packet_bytes: u32,
    /// The client wants an exchange of AUTH packets.
    pub extended_auth: bool,
}

/// The will in a CONNECT.
pub(crate) struct ConnectWill {
    pub topic: String,
    pub payload: Bytes,
    pub qos: Qos,
    pub retain: bool,
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
    pub properties: Properties,
}

/// A packet from a connected client.
pub(crate) enum Inbound {
    Publish(InboundPublish),
    PubAck { id: u16 },
    PubRec { id: u16, failed: bool },
    PubRel { id: u16 },
    PubComp { id: u16 },
    Subscribe { id: u16, identifier: Option<u32>, entries: Vec<SubscribeEntry> },
    Unsubscribe { id: u16, filters: Vec<String> },
    PingReq,
    Disconnect { publish_will: bool, session_expiry_s: Option<u32> },
}

/// A publish from a client.
pub(crate) struct InboundPublish {
    /// 0 with QoS 0.
    pub id: u16,
    pub qos: Qos,
    pub retain: bool,
    /// Empty when only an alias was given.
    pub topic: String,
    pub alias: Option<u16>,
    pub expiry_s: Option<u32>,
    pub payload: Bytes,
    /// The properties that are passed on.
    pub properties: Properties,
}

/// One filter of a SUBSCRIBE.
pub(crate) struct SubscribeEntry {
    pub filter: String,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}
