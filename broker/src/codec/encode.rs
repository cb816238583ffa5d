//! Writing packets. Each function appends one packet to `out`.
//!
//! The library's builders fail only on values out of range. Where ours cannot be out of range, `expect` says why.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumPacketSize, MessageExpiryInterval, ReceiveMaximum, ServerKeepAlive,
    SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifier, TopicAliasMaximum, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::SubackReturnCode;

use super::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, Properties, Property, PubackReasonCode, Qos,
    SubackReasonCode, UnsubackReasonCode,
};
use crate::auth::Version;
use crate::message::Message;

/// What an accepted MQTT 5 client is told in CONNACK.
pub(crate) struct Welcome<'a> {
    pub session_present: bool,
    pub assigned_client_id: Option<&'a str>,
    /// Set where it differs from what was asked for.
    pub session_expiry_s: Option<u32>,
    pub keep_alive_s: Option<u16>,
    pub receive_maximum: u16,
    pub maximum_packet_bytes: u32,
    pub topic_aliases: u16,
    pub shared_subscriptions: bool,
}

const VALID: &str = "values are within the protocol's range";

/// CONNACK that accepts.
pub(crate) fn connack_accepted(out: &mut Vec<u8>, version: Version, welcome: &Welcome<'_>) {
    if version == Version::V311 {
        let packet = v3_1_1::Connack::builder()
            .session_present(welcome.session_present)
            .return_code(ConnectReturnCode::Accepted)
            .build()
            .expect(VALID);
        return out.extend_from_slice(&packet.to_continuous_buffer());
    }
    let mut properties = Properties::new();
    if let Some(seconds) = welcome.session_expiry_s {
        properties.extend(SessionExpiryInterval::new(seconds).map(Property::SessionExpiryInterval));
    }
    properties.extend(ReceiveMaximum::new(welcome.receive_maximum).map(Property::ReceiveMaximum));
    properties.extend(MaximumPacketSize::new(welcome.maximum_packet_bytes).map(Property::MaximumPacketSize));
    if let Some(client_id) = welcome.assigned_client_id {
        properties.extend(AssignedClientIdentifier::new(client_id).map(Property::AssignedClientIdentifier));
    }
    properties.extend(TopicAliasMaximum::new(welcome.topic_aliases).map(Property::TopicAliasMaximum));
    if !welcome.shared_subscriptions {
        properties.extend(SharedSubscriptionAvailable::new(0).map(Property::SharedSubscriptionAvailable));
    }
    if let Some(seconds) = welcome.keep_alive_s {
        properties.extend(ServerKeepAlive::new(seconds).map(Property::ServerKeepAlive));
    }
    let packet = v5_0::Connack::builder()
        .session_present(welcome.session_present)
        .reason_code(ConnectReasonCode::Success)
        .props(properties)
        .build()
        .expect(VALID);
    out.extend_from_slice(&packet.to_continuous_buffer());
}

/// CONNACK that refuses.
pub(crate) fn connack_refused(out: &mut Vec<u8>, version: Version, code: ConnectReasonCode) {
    match version {
        Version::V5 => {
            let packet = v5_0::Connack::builder().session_present(false).reason_code(code).build().expect(VALID);
            out.extend_from_slice(&packet.to_continuous_buffer());
        }
        Version::V311 => {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
            let code = match code {
                ConnectReasonCode::UnsupportedProtocolVersion => ConnectReturnCode::UnacceptableProtocolVersion,
                ConnectReasonCode::ClientIdentifierNotValid => ConnectReturnCode::IdentifierRejected,
                ConnectReasonCode::BadUserNameOrPassword => ConnectReturnCode::BadUserNameOrPassword,
                ConnectReasonCode::NotAuthorized | ConnectReasonCode::TopicNameInvalid => {
                    ConnectReturnCode::NotAuthorized
                }
                _ => ConnectReturnCode::ServerUnavailable,
            };
            let packet = v3_1_1::Connack::builder().session_present(false).return_code(code).build().expect(VALID);
            out.extend_from_slice(&packet.to_continuous_buffer());
        }
    }
}

/// How a message goes to one subscriber.
pub(crate) struct Outgoing<'a> {
    pub message: &'a Message,
    /// 0 with QoS 0.
    pub id: u16,
    pub qos: Qos,
    pub retain: bool,
    pub dup: bool,
    /// Seconds left of the message's life, if it has an expiry.
    pub expiry_s: Option<u32>,
    pub identifiers: &'a [u32],
}

/// PUBLISH; returns false and writes nothing if it is longer than `maximum_bytes`.
pub(crate) fn publish(out: &mut Vec<u8>, version: Version, outgoing: &Outgoing<'_>, maximum_bytes: u32) -> bool {
    const CHECKED: &str = "topic names were checked when they came in";
    let (message, id) = (outgoing.message, (outgoing.qos != Qos::AtMostOnce).then_some(outgoing.id));
    let buffer = match version {
        Version::V311 => v3_1_1::Publish::builder()
            .topic_name(&*message.topic)
            .expect(CHECKED)
            .qos(outgoing.qos)
            .packet_id(id)
            .retain(outgoing.retain)
            .dup(outgoing.dup)
            .payload(&message.payload[..])
            .build()
            .expect(VALID)
            .to_continuous_buffer(),
        Version::V5 => {
            let mut properties = message.properties.to_vec();
            if let Some(seconds) = outgoing.expiry_s {
                properties.extend(MessageExpiryInterval::new(seconds).map(Property::MessageExpiryInterval));
            }
            for identifier in outgoing.identifiers {
                properties.extend(SubscriptionIdentifier::new(*identifier).map(Property::SubscriptionIdentifier));
            }
            v5_0::Publish::builder()
                .topic_name(&*message.topic)
                .expect(CHECKED)
                .qos(outgoing.qos)
                .packet_id(id)
                .retain(outgoing.retain)
                .dup(outgoing.dup)
                .props(properties)
                .payload(&message.payload[..])
                .build()
                .expect(VALID)
                .to_continuous_buffer()
        }
    };
    let fits = buffer.len() <= maximum_bytes as usize;
    if fits {
        out.extend_from_slice(&buffer);
    }
    fits
}

/// PUBACK. A 3.1.1 client gets no reason; one that may not publish is disconnected instead.
pub(crate) fn puback(out: &mut Vec<u8>, version: Version, id: u16, code: PubackReasonCode) {
    acknowledgement(out, 0x40, version, id, code as u8);
}

/// PUBREC, with the same reasons as a PUBACK (MQTT 5 sections 3.4.2.1 and 3.5.2.1).
pub(crate) fn pubrec(out: &mut Vec<u8>, version: Version, id: u16, code: PubackReasonCode) {
    acknowledgement(out, 0x50, version, id, code as u8);
}

/// PUBREL.
pub(crate) fn pubrel(out: &mut Vec<u8>, version: Version, id: u16, found: bool) {
    acknowledgement(out, 0x62, version, id, if found { SUCCESS } else { ID_NOT_FOUND });
}

/// PUBCOMP.
pub(crate) fn pubcomp(out: &mut Vec<u8>, version: Version, id: u16, found: bool) {
    acknowledgement(out, 0x70, version, id, if found { SUCCESS } else { ID_NOT_FOUND });
}

const SUCCESS: u8 = 0;
/// Packet Identifier not found, of PUBREL and PUBCOMP (MQTT 5 section 2.4).
const ID_NOT_FOUND: u8 = 0x92;

/// The four acknowledgements have one form: the packet identifier, then a reason. 3.1.1 has no reason, and MQTT 5 may
/// omit it for success (MQTT 5 sections 3.4 to 3.7).
fn acknowledgement(out: &mut Vec<u8>, first: u8, version: Version, id: u16, code: u8) {
    let [high, low] = id.to_be_bytes();
    if version == Version::V311 || code == SUCCESS {
        out.extend_from_slice(&[first, 2, high, low]);
    } else {
        out.extend_from_slice(&[first, 3, high, low, code]);
    }
}

/// SUBACK, one code per filter asked for.
pub(crate) fn suback(out: &mut Vec<u8>, version: Version, id: u16, codes: Vec<SubackReasonCode>) {
    let buffer = match version {
        Version::V5 => {
            v5_0::Suback::builder().packet_id(id).reason_codes(codes).build().expect(VALID).to_continuous_buffer()
        }
        Version::V311 => {
            #[expect(clippy::wildcard_enum_match_arm, reason = "every other code is a refusal")]
            let codes = codes.into_iter().map(|code| match code {
                SubackReasonCode::GrantedQos0 => SubackReturnCode::SuccessMaximumQos0,
                SubackReasonCode::GrantedQos1 => SubackReturnCode::SuccessMaximumQos1,
                SubackReasonCode::GrantedQos2 => SubackReturnCode::SuccessMaximumQos2,
                _ => SubackReturnCode::Failure,
            });
            v3_1_1::Suback::builder()
                .packet_id(id)
                .return_codes(codes.collect())
                .build()
                .expect(VALID)
                .to_continuous_buffer()
        }
    };
    out.extend_from_slice(&buffer);
}

/// UNSUBACK, one code per filter.
pub(crate) fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, codes: Vec<UnsubackReasonCode>) {
    let buffer = match version {
        Version::V5 => {
            v5_0::Unsuback::builder().packet_id(id).reason_codes(codes).build().expect(VALID).to_continuous_buffer()
        }
        Version::V311 => v3_1_1::Unsuback::builder().packet_id(id).build().expect(VALID).to_continuous_buffer(),
    };
    out.extend_from_slice(&buffer);
}

/// PINGRESP.
pub(crate) fn pingresp(out: &mut Vec<u8>) {
    // The same two bytes in both versions.
    out.extend_from_slice(&v5_0::Pingresp::new().to_continuous_buffer());
}

/// DISCONNECT. Writes nothing for a 3.1.1 client, since 3.1.1 has no DISCONNECT from the server.
pub(crate) fn disconnect(out: &mut Vec<u8>, version: Version, code: DisconnectReasonCode) {
    if version == Version::V5 {
        let packet = v5_0::Disconnect::builder().reason_code(code).build().expect(VALID);
        out.extend_from_slice(&packet.to_continuous_buffer());
    }
}
