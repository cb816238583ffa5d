//! Reading packets.

use bytes::Bytes;
use mqtt_protocol_core::mqtt::connection::PacketData;
use mqtt_protocol_core::mqtt::packet::{SubEntry, v3_1_1, v5_0};

use super::{
    Connect, ConnectWill, DisconnectReasonCode, Inbound, InboundPublish, MqttError, Properties, Property, Qos,
    RawPacket, SubscribeEntry,
};
use crate::auth::Version;

// Packet types, MQTT 5 section 2.1.2.
const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Offset of the flags in a CONNECT of either version: after the protocol name and the version.
const CONNECT_FLAGS_AT: usize = 7;

/// Why a first packet is not a CONNECT that can be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadConnect {
    /// Not MQTT, or broken: there is nobody to answer.
    Malformed,
    /// MQTT 5, but broken: answered with this.
    MalformedV5,
    /// MQTT 5 with a value that is not allowed.
    ProtocolV5,
    /// MQTT 5 with a password and no user name: valid, but the library cannot read it.
    NoUserName,
    /// MQTT of another version.
    Version,
}

/// Reads a client's first packet.
pub(crate) fn connect(raw: &RawPacket, properties_max: usize) -> Result<Connect, BadConnect> {
    if raw.packet_type() != CONNECT || raw.flags() != 0 {
        return Err(BadConnect::Malformed);
    }
    match raw.parse_exact(v5_0::Connect::parse) {
        Ok(packet) => {
            let flags_good = raw.data_as_slice().get(CONNECT_FLAGS_AT).is_some_and(|flags| connect_flags_good(*flags));
            if !flags_good || packet.props.len() + packet.will_props.len() > properties_max {
                return Err(BadConnect::MalformedV5);
            }
            if packet.will_props.iter().any(is_wild_response_topic) {
                return Err(BadConnect::ProtocolV5);
            }
            Ok(connect_v5(packet))
        }
        Err(MqttError::UnsupportedProtocolVersion) => match raw.parse_exact(v3_1_1::Connect::parse) {
            Ok(packet) => {
                let flags = raw.data_as_slice().get(CONNECT_FLAGS_AT);
                if !flags.is_some_and(|flags| connect_flags_good(*flags)) {
                    return Err(BadConnect::Malformed);
                }
                Ok(connect_v311(packet))
            }
            Err(MqttError::UnsupportedProtocolVersion) => Err(BadConnect::Version),
            Err(_) => Err(BadConnect::Malformed),
        },
        // The name is "MQTT" and the version 5, or the library would have failed; MQTT 3.1 has another name.
        Err(MqttError::ProtocolError) if raw.data_as_slice().starts_with(b"\0\x06MQIsdp") => Err(BadConnect::Version),
        Err(_) if raw.data_as_slice().starts_with(b"\0\x04MQTT\x05") => {
            let flags = raw.data_as_slice().get(CONNECT_FLAGS_AT).copied().unwrap_or_default();
            Err(if flags >> 6 == 0b01 { BadConnect::NoUserName } else { BadConnect::MalformedV5 })
        }
        Err(_) => Err(BadConnect::Malformed),
    }
}

/// Whether a connection's first bytes are those of a CONNECT of MQTT 5, whatever length the packet claims.
pub(crate) fn begins_v5_connect(bytes: &[u8]) -> bool {
    let Some((first, rest)) = bytes.split_first() else { return false };
    // The remaining length: up to four bytes, all but the last with the high bit set (MQTT 5 section 1.5.5).
    let length_bytes = rest.iter().take(4).take_while(|byte| **byte & 0x80 != 0).count() + 1;
    *first == CONNECT << 4 && rest.get(length_bytes..).is_some_and(|body| body.starts_with(b"\0\x04MQTT\x05"))
}

/// Reserved bit clear; no will QoS 3; no will QoS or retain without a will (MQTT 5 section 3.1.2.3 to 3.1.2.7).
fn connect_flags_good(flags: u8) -> bool {
    let (will, will_qos, will_retain) = (flags & 0b100 != 0, flags >> 3 & 0b11, flags & 0b10_0000 != 0);
    flags & 1 == 0 && if will { will_qos != 3 } else { will_qos == 0 && !will_retain }
}

fn connect_v5(packet: v5_0::Connect) -> Connect {
    let mut connect = Connect {
        version: Version::V5,
        client_id: packet.client_id().to_owned(),
        username: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        clean_start: packet.clean_start(),
        keep_alive_s: packet.keep_alive(),
        will: None,
        session_expiry_s: 0,
        receive_maximum: u16::MAX,
        maximum_packet_bytes: u32::MAX,
        extended_auth: false,
    };
    for property in packet.props() {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
        match property {
            Property::SessionExpiryInterval(seconds) => connect.session_expiry_s = seconds.val(),
            Property::ReceiveMaximum(maximum) => connect.receive_maximum = maximum.val(),
            Property::MaximumPacketSize(bytes) => connect.maximum_packet_bytes = bytes.val(),
            Property::AuthenticationMethod(_) | Property::AuthenticationData(_) => connect.extended_auth = true,
            _ => {}
        }
    }
    if let (Some(topic), Some(payload)) = (packet.will_topic(), packet.will_payload()) {
        let mut will = ConnectWill {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload),
            qos: packet.will_qos(),
            retain: packet.will_retain(),
            delay_s: 0,
            expiry_s: None,
            properties: Properties::new(),
        };
        for property in packet.will_props.iter().cloned() {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
            match property {
                Property::WillDelayInterval(seconds) => will.delay_s = seconds.val(),
                Property::MessageExpiryInterval(seconds) => will.expiry_s = Some(seconds.val()),
                other => will.properties.push(other),
            }
        }
        connect.will = Some(will);
    }
    connect
}

fn connect_v311(packet: v3_1_1::Connect) -> Connect {
    let will = match (packet.will_topic(), packet.will_payload()) {
        (Some(topic), Some(payload)) => Some(ConnectWill {
            topic: topic.to_owned(),
            payload: Bytes::copy_from_slice(payload),
            qos: packet.will_qos(),
            retain: packet.will_retain(),
            delay_s: 0,
            expiry_s: None,
            properties: Properties::new(),
        }),
        _ => None,
    };
    Connect {
        version: Version::V311,
        client_id: packet.client_id().to_owned(),
        username: packet.user_name().map(str::to_owned),
        password: packet.password().map(<[u8]>::to_vec),
        clean_start: packet.clean_session(),
        keep_alive_s: packet.keep_alive(),
        will,
        // 3.1.1 has no expiry: such a session is kept as long as the gate keeps any session.
        session_expiry_s: if packet.clean_session() { 0 } else { u32::MAX },
        receive_maximum: u16::MAX,
        maximum_packet_bytes: u32::MAX,
        extended_auth: false,
    }
}

/// Reads a packet of a connected client. The error is the reason code to disconnect it with.
pub(crate) fn inbound(
    version: Version,
    raw: &RawPacket,
    properties_max: usize,
) -> Result<Inbound, DisconnectReasonCode> {
    let flags_expected = match raw.packet_type() {
        PUBLISH => raw.flags(),
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => 0b0010,
        _ => 0,
    };
    if raw.flags() != flags_expected {
        return Err(DisconnectReasonCode::MalformedPacket);
    }
    let packet = match version {
        Version::V311 => inbound_v311(raw)?,
        Version::V5 => inbound_v5(raw, properties_max)?,
    };
    let id_missing = match &packet {
        Inbound::Publish(publish) => publish.id == 0 && publish.qos != Qos::AtMostOnce,
        Inbound::Subscribe { id, .. } | Inbound::Unsubscribe { id, .. } => *id == 0,
        // The library itself refuses identifier 0 in these, or they have no identifier.
        Inbound::PubAck { .. }
        | Inbound::PubRec { .. }
        | Inbound::PubRel { .. }
        | Inbound::PubComp { .. }
        | Inbound::PingReq
        | Inbound::Disconnect { .. } => false,
    };
    if id_missing {
        return Err(DisconnectReasonCode::MalformedPacket);
    }
    Ok(packet)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
fn reason(error: MqttError) -> DisconnectReasonCode {
    match error {
        MqttError::ProtocolError => DisconnectReasonCode::ProtocolError,
        MqttError::TopicAliasInvalid => DisconnectReasonCode::TopicAliasInvalid,
        _ => DisconnectReasonCode::MalformedPacket,
    }
}

fn inbound_v311(raw: &RawPacket) -> Result<Inbound, DisconnectReasonCode> {
    let packet = match raw.packet_type() {
        PUBLISH => {
            let PacketData::Publish(data) = &raw.data else { return Err(DisconnectReasonCode::MalformedPacket) };
            let packet = v3_1_1::Publish::parse(raw.flags(), data.clone()).map_err(reason)?.0;
            Inbound::Publish(InboundPublish {
                id: packet.packet_id().unwrap_or(0),
                qos: packet.qos(),
                retain: packet.retain(),
                topic: packet.topic_name().to_owned(),
                alias: None,
                expiry_s: None,
                payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                properties: Properties::new(),
            })
        }
        PUBACK => Inbound::PubAck { id: raw.parse_exact(v3_1_1::Puback::parse).map_err(reason)?.packet_id() },
        PUBREC => {
            Inbound::PubRec { id: raw.parse_exact(v3_1_1::Pubrec::parse).map_err(reason)?.packet_id(), failed: false }
        }
        PUBREL => Inbound::PubRel { id: raw.parse_exact(v3_1_1::Pubrel::parse).map_err(reason)?.packet_id() },
        PUBCOMP => Inbound::PubComp { id: raw.parse_exact(v3_1_1::Pubcomp::parse).map_err(reason)?.packet_id() },
        SUBSCRIBE => {
            let packet = raw.parse_exact(v3_1_1::Subscribe::parse).map_err(reason)?;
            Inbound::Subscribe {
                id: packet.packet_id(),
                identifier: None,
                entries: packet.entries().iter().map(entry).collect(),
            }
        }
        UNSUBSCRIBE => {
            let packet = raw.parse_exact(v3_1_1::Unsubscribe::parse).map_err(reason)?;
            let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
            Inbound::Unsubscribe { id: packet.packet_id(), filters }
        }
        PINGREQ => raw.parse_exact(v3_1_1::Pingreq::parse).map(|_| Inbound::PingReq).map_err(reason)?,
        DISCONNECT => raw
            .parse_exact(v3_1_1::Disconnect::parse)
            .map(|_| Inbound::Disconnect { publish_will: false, session_expiry_s: None })
            .map_err(reason)?,
        _ => return Err(DisconnectReasonCode::ProtocolError),
    };
    Ok(packet)
}

fn inbound_v5(raw: &RawPacket, properties_max: usize) -> Result<Inbound, DisconnectReasonCode> {
    let packet = match raw.packet_type() {
        PUBLISH => Inbound::Publish(publish_v5(raw, properties_max)?),
        PUBACK => Inbound::PubAck { id: raw.parse_exact(v5_0::Puback::parse).map_err(reason)?.packet_id() },
        PUBREC => {
            let packet = raw.parse_exact(v5_0::Pubrec::parse).map_err(reason)?;
            let failed = packet.reason_code().is_some_and(|code| code.is_failure());
            Inbound::PubRec { id: packet.packet_id(), failed }
        }
        PUBREL => Inbound::PubRel { id: raw.parse_exact(v5_0::Pubrel::parse).map_err(reason)?.packet_id() },
        PUBCOMP => Inbound::PubComp { id: raw.parse_exact(v5_0::Pubcomp::parse).map_err(reason)?.packet_id() },
        SUBSCRIBE => {
            let packet = raw.parse_exact(v5_0::Subscribe::parse).map_err(reason)?;
            let mut identifiers = packet.props().iter().filter_map(|property| {
                if let Property::SubscriptionIdentifier(identifier) = property { Some(identifier.val()) } else { None }
            });
            let identifier = identifiers.next();
            if identifier == Some(0) || identifiers.next().is_some() || packet.props().len() > properties_max {
                return Err(DisconnectReasonCode::ProtocolError);
            }
            Inbound::Subscribe {
                id: packet.packet_id(),
                identifier,
                entries: packet.entries().iter().map(entry).collect(),
            }
        }
        UNSUBSCRIBE => {
            let packet = raw.parse_exact(v5_0::Unsubscribe::parse).map_err(reason)?;
            let filters = packet.entries().iter().map(|filter| filter.as_str().to_owned()).collect();
            Inbound::Unsubscribe { id: packet.packet_id(), filters }
        }
        PINGREQ => raw.parse_exact(v5_0::Pingreq::parse).map(|_| Inbound::PingReq).map_err(reason)?,
        DISCONNECT => {
            let packet = raw.parse_exact(v5_0::Disconnect::parse).map_err(reason)?;
            let session_expiry_s = packet.props().iter().flatten().find_map(|property| {
                if let Property::SessionExpiryInterval(seconds) = property { Some(seconds.val()) } else { None }
            });
            let code = packet.reason_code().unwrap_or(DisconnectReasonCode::NormalDisconnection);
            Inbound::Disconnect { publish_will: code != DisconnectReasonCode::NormalDisconnection, session_expiry_s }
        }
        _ => return Err(DisconnectReasonCode::ProtocolError),
    };
    Ok(packet)
}

fn publish_v5(raw: &RawPacket, properties_max: usize) -> Result<InboundPublish, DisconnectReasonCode> {
    let PacketData::Publish(data) = &raw.data else { return Err(DisconnectReasonCode::MalformedPacket) };
    let mut packet = v5_0::Publish::parse(raw.flags(), data.clone()).map_err(reason)?.0;
    if packet.props.len() > properties_max {
        return Err(DisconnectReasonCode::QuotaExceeded);
    }
    let mut publish = InboundPublish {
        id: packet.packet_id().unwrap_or(0),
        qos: packet.qos(),
        retain: packet.retain(),
        topic: packet.topic_name().to_owned(),
        alias: None,
        expiry_s: None,
        payload: Bytes::copy_from_slice(packet.payload().as_slice()),
        properties: Properties::new(),
    };
    for property in std::mem::take(&mut packet.props) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
        match property {
            Property::TopicAlias(alias) => publish.alias = Some(alias.val()),
            Property::MessageExpiryInterval(seconds) => publish.expiry_s = Some(seconds.val()),
            // Only a server may send these.
            Property::SubscriptionIdentifier(_) => return Err(DisconnectReasonCode::ProtocolError),
            other if is_wild_response_topic(&other) => return Err(DisconnectReasonCode::ProtocolError),
            other => publish.properties.push(other),
        }
    }
    Ok(publish)
}

/// A response topic is a topic name, without wildcards (MQTT 5 section 3.3.2.3.5).
fn is_wild_response_topic(property: &Property) -> bool {
    matches!(property, Property::ResponseTopic(topic) if topic.val().contains(['+', '#', '\0']))
}

fn entry(entry: &SubEntry) -> SubscribeEntry {
    let options = entry.sub_opts();
    SubscribeEntry {
        filter: entry.topic_filter().to_owned(),
        qos: options.qos(),
        no_local: options.nl(),
        retain_as_published: options.rap(),
        retain_handling: options.rh(),
    }
}
