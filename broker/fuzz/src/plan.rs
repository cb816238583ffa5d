//! A session of clients, made of an input's bytes: mostly valid packets of both versions, some damaged, on a few
//! connections that come, go and take each other over. Tables are short, so that packets meet: the same topics,
//! identifiers and client identifiers again and again.

use arbitrary::{Arbitrary, Result, Unstructured};
use mqtt_protocol_core::mqtt::packet::{
    ContentType, CorrelationData, MaximumPacketSize, MessageExpiryInterval, PayloadFormat, PayloadFormatIndicator,
    Properties, Property, Qos, ReceiveMaximum, ResponseTopic, RetainHandling, SessionExpiryInterval, SubEntry, SubOpts,
    SubscriptionIdentifier, TopicAlias, UserProperty, WillDelayInterval, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;

use crate::logins::PASSWORD;

/// Connections at a time.
pub const SLOTS: usize = 3;
/// Steps of a plan; the rest of an input is not looked at.
const STEPS: usize = 48;

/// Pieces of a packet.
const PIECES: usize = 64;

const USERS: [&str; 10] = ["anna", "anna", "anna", "ben", "one", "two", "backend", "slow", "nobody", ""];
const CLIENT_IDS: [&str; 8] = ["a", "a", "b", "ben", "one", "two", "", "\u{e9}"];
const TOPICS: [&str; 16] = [
    "t/a",
    "t/a",
    "t/b/c",
    "t",
    "t//",
    "wo/x",
    "ro/x",
    "m/one/status",
    "m/one/command",
    "m/two/command",
    "v1/op/x",
    "m/one/pulse",
    "$SYS/x",
    "t/\u{e9}",
    "t/\u{7f}",
    "",
];
const FILTERS: [&str; 20] = [
    "t/#",
    "t/#",
    "t/+",
    "t/a",
    "+/a",
    "#",
    "ro/#",
    "ro/x",
    "wo/#",
    "m/one/command",
    "m/two/command",
    "m/+/command",
    "m/+/status",
    "t/b/#",
    "t/+/c",
    "$share/g/t/#",
    "t/#/x",
    "t+",
    "\u{e9}",
    "t/a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/p/q",
];
const LENGTHS: [usize; 6] = [0, 1, 20, 200, 3_000, 40_000];
const SECONDS: [u32; 5] = [0, 1, 60, 100_000, u32::MAX];

/// What is done, in order.
#[derive(Debug)]
pub struct Plan(pub Vec<Step>);

/// One step; `slot` says on which connection.
#[derive(Debug)]
pub enum Step {
    /// Bytes, on a new connection if there is none.
    Send { slot: usize, what: &'static str, bytes: Vec<u8>, piece_bytes: usize, is_whole: bool },
    /// Acknowledgements of all that came.
    Answer { slot: usize },
    /// A PINGREQ, and waiting for its answer.
    Sync { slot: usize },
    /// The connection is closed without a word.
    Close { slot: usize },
    /// The broker's tasks get their turns.
    Yield { times: u8 },
    /// A credential is revoked.
    Revoke { user: &'static str },
}

/// Makes a packet of MQTT 5 or 3.1.1, if the library builds it.
type Make = fn(&mut Unstructured<'_>, bool) -> Result<Option<Vec<u8>>>;

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Plan> {
        let mut steps = Vec::new();
        let mut is_v5 = [true; SLOTS];
        while !u.is_empty() && steps.len() < STEPS {
            let slot = u.choose_index(SLOTS)?;
            let is_v5 = &mut is_v5[slot];
            steps.push(match u.int_in_range(0..=19)? {
                0..4 => {
                    *is_v5 = u.arbitrary()?;
                    send(u, slot, "CONNECT", connect, *is_v5)?
                }
                4..8 => send(u, slot, "PUBLISH", publish, *is_v5)?,
                8..11 => send(u, slot, "SUBSCRIBE", subscribe, *is_v5)?,
                11 => send(u, slot, "UNSUBSCRIBE", unsubscribe, *is_v5)?,
                12 => send(u, slot, "acknowledgement", acknowledge, *is_v5)?,
                13 => send(u, slot, "DISCONNECT", disconnect, *is_v5)?,
                14 => {
                    let length = u.int_in_range(1..=32)?;
                    let bytes = u.bytes(length.min(u.len()))?.to_vec();
                    Step::Send { slot, what: "noise", bytes, piece_bytes: usize::MAX, is_whole: false }
                }
                15 => Step::Answer { slot },
                16 | 17 => Step::Sync { slot },
                18 => Step::Close { slot },
                _ if u.ratio(1, 4)? => Step::Revoke { user: u.choose(&USERS)? },
                _ => Step::Yield { times: u.int_in_range(1..=20)? },
            });
        }
        Ok(Plan(steps))
    }
}

/// A packet, sometimes damaged, sometimes in pieces.
fn send(u: &mut Unstructured<'_>, slot: usize, what: &'static str, make: Make, is_v5: bool) -> Result<Step> {
    // What the library does not build (a topic that is none, QoS 0 with an identifier) is left out.
    let mut bytes = make(u, is_v5)?.unwrap_or_default();
    // Most packets are whole: else hardly any session gets beyond its first steps.
    let hurt = u.int_in_range(0..=15)?;
    let is_whole = hurt < 12;
    if !is_whole {
        for _ in 12..=hurt {
            damage(u, &mut bytes)?;
        }
        // Often with a length that fits again, so that the damage gets past the framing.
        if u.ratio(2, 3)? && (2..130).contains(&bytes.len()) {
            bytes[1] = (bytes.len() - 2) as u8;
        }
    }
    // A long packet in single bytes would take longer than all the others.
    let piece_bytes = if u.ratio(1, 4)? { u.int_in_range(1..=9)?.max(bytes.len() / PIECES) } else { usize::MAX };
    Ok(Step::Send { slot, what, bytes, piece_bytes, is_whole })
}

fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let at = usize::from(u.arbitrary::<u8>()?) % bytes.len();
    match u.int_in_range(0..=3)? {
        0 => bytes[at] = u.arbitrary()?,
        1 => bytes[at] ^= 1 << u.int_in_range(0..=7)?,
        2 => bytes.truncate(at.max(1)),
        _ => bytes.insert(at, u.arbitrary()?),
    }
    Ok(())
}

fn qos(u: &mut Unstructured<'_>) -> Result<Qos> {
    Ok(*u.choose(&[Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])?)
}

fn id(u: &mut Unstructured<'_>) -> Result<u16> {
    u.int_in_range(1..=6)
}

fn payload(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    Ok(vec![b'x'; *u.choose(&LENGTHS)?])
}

fn connect(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    let (user, client_id) = (*u.choose(&USERS)?, *u.choose(&CLIENT_IDS)?);
    let (clean, keep_alive) = (u.arbitrary()?, *u.choose(&[0, 60, 65_535])?);
    // Now and then a wrong one.
    let password = if u.ratio(1, 16)? { b"wrong".as_slice() } else { PASSWORD };
    let will = match u.ratio(1, 3)? {
        true => Some((*u.choose(&TOPICS)?, payload(u)?, qos(u)?, u.arbitrary()?)),
        false => None,
    };
    if !is_v5 {
        let mut connect = v3_1_1::Connect::builder().clean_session(clean).keep_alive(keep_alive).client_id(client_id);
        if !user.is_empty() {
            connect = connect.and_then(|connect| connect.user_name(user)?.password(password.to_vec()));
        }
        if let Some((topic, payload, qos, retain)) = will {
            connect = connect.and_then(|connect| connect.will_message(topic, payload, qos, retain));
        }
        return Ok(connect.and_then(|connect| connect.build()).ok().map(|packet| packet.to_continuous_buffer()));
    }
    let mut properties = Properties::new();
    properties.extend(SessionExpiryInterval::new(*u.choose(&SECONDS)?).map(Property::SessionExpiryInterval));
    if u.ratio(1, 4)? {
        properties.extend(ReceiveMaximum::new(u.int_in_range(1..=3)?).map(Property::ReceiveMaximum));
    }
    if u.ratio(1, 8)? {
        properties.extend(MaximumPacketSize::new(u.int_in_range(1..=300)?).map(Property::MaximumPacketSize));
    }
    let mut connect =
        v5_0::Connect::builder().clean_start(clean).keep_alive(keep_alive).props(properties).client_id(client_id);
    if !user.is_empty() {
        connect = connect.and_then(|connect| connect.user_name(user)?.password(password.to_vec()));
    }
    if let Some((topic, payload, qos, retain)) = will {
        let mut properties = message_properties(u)?;
        properties.extend(WillDelayInterval::new(*u.choose(&SECONDS)?).map(Property::WillDelayInterval));
        connect = connect.and_then(|connect| connect.will_message(topic, payload, qos, retain));
        connect = connect.map(|connect| connect.will_props(properties));
    }
    Ok(connect.and_then(|connect| connect.build()).ok().map(|packet| packet.to_continuous_buffer()))
}

/// What goes with a message from one client to another.
fn message_properties(u: &mut Unstructured<'_>) -> Result<Properties> {
    let mut properties = Properties::new();
    let which: u8 = u.arbitrary()?;
    let wanted = |bit: u8| which >> bit & 1 == 1;
    if wanted(0) {
        properties.extend(MessageExpiryInterval::new(*u.choose(&SECONDS)?).map(Property::MessageExpiryInterval));
    }
    if wanted(1) {
        properties.extend(PayloadFormatIndicator::new(PayloadFormat::String).map(Property::PayloadFormatIndicator));
    }
    if wanted(2) {
        properties.extend(ContentType::new("text/plain").map(Property::ContentType));
    }
    if wanted(3) {
        properties.extend(ResponseTopic::new(*u.choose(&TOPICS)?).map(Property::ResponseTopic));
    }
    if wanted(4) {
        properties.extend(CorrelationData::new(payload(u)?).map(Property::CorrelationData));
    }
    if wanted(5) && wanted(6) {
        for _ in 0..u.int_in_range(1..=40)? {
            properties.extend(UserProperty::new("key", "value").map(Property::UserProperty));
        }
    }
    Ok(properties)
}

fn publish(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    let (topic, qos, payload) = (*u.choose(&TOPICS)?, qos(u)?, payload(u)?);
    let flags: u8 = u.arbitrary()?;
    let (retain, dup) = (flags & 1 == 1, flags & 2 == 2 && qos != Qos::AtMostOnce);
    let id = if qos == Qos::AtMostOnce { None } else { Some(id(u)?) };
    if !is_v5 {
        let publish = v3_1_1::Publish::builder()
            .topic_name(topic)
            .map(|publish| publish.qos(qos).packet_id(id).retain(retain).dup(dup).payload(payload));
        return Ok(publish.and_then(|publish| publish.build()).ok().map(|packet| packet.to_continuous_buffer()));
    }
    let mut properties = message_properties(u)?;
    if topic.is_empty() || u.ratio(1, 3)? {
        properties.extend(TopicAlias::new(u.int_in_range(1..=3)?).map(Property::TopicAlias));
    }
    let publish = v5_0::Publish::builder().qos(qos).packet_id(id).retain(retain).dup(dup);
    let publish = publish.props(properties).payload(payload);
    // Without a topic, the alias stands for it.
    let publish = if topic.is_empty() { Ok(publish) } else { publish.topic_name(topic) };
    Ok(publish.and_then(|publish| publish.build()).ok().map(|packet| packet.to_continuous_buffer()))
}

fn subscribe(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    let id = id(u)?;
    let mut entries = Vec::new();
    for _ in 0..u.int_in_range(1..=3)? {
        let mut options = SubOpts::new().set_qos(qos(u)?);
        if is_v5 {
            let handling = [
                RetainHandling::SendRetained,
                RetainHandling::SendRetainedIfNotExists,
                RetainHandling::DoNotSendRetained,
            ];
            options = options.set_nl(u.ratio(1, 4)?).set_rap(u.arbitrary()?).set_rh(*u.choose(&handling)?);
        }
        entries.extend(SubEntry::new(*u.choose(&FILTERS)?, options));
    }
    if !is_v5 {
        let subscribe = v3_1_1::Subscribe::builder().packet_id(id).entries(entries).build();
        return Ok(subscribe.ok().map(|packet| packet.to_continuous_buffer()));
    }
    let mut properties = Properties::new();
    if u.ratio(1, 3)? {
        let identifier = *u.choose(&[1, 127, 128, 268_435_455])?;
        properties.extend(SubscriptionIdentifier::new(identifier).map(Property::SubscriptionIdentifier));
    }
    let subscribe = v5_0::Subscribe::builder().packet_id(id).entries(entries).props(properties).build();
    Ok(subscribe.ok().map(|packet| packet.to_continuous_buffer()))
}

fn unsubscribe(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    let (id, filter) = (id(u)?, *u.choose(&FILTERS)?);
    Ok(match is_v5 {
        true => {
            let unsubscribe = v5_0::Unsubscribe::builder().packet_id(id).entries(vec![filter]);
            unsubscribe.and_then(|packet| packet.build()).ok().map(|packet| packet.to_continuous_buffer())
        }
        false => {
            let unsubscribe = v3_1_1::Unsubscribe::builder().packet_id(id).entries(vec![filter]);
            unsubscribe.and_then(|packet| packet.build()).ok().map(|packet| packet.to_continuous_buffer())
        }
    })
}

/// Of something or of nothing.
fn acknowledge(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    let (kind, id) = (*u.choose(&[0x40, 0x50, 0x62, 0x70])?, id(u)? as u8);
    let reason = *u.choose(&[0, 0x10, 0x80, 0x92])?;
    Ok(Some(if is_v5 && reason != 0 { vec![kind, 3, 0, id, reason] } else { vec![kind, 2, 0, id] }))
}

fn disconnect(u: &mut Unstructured<'_>, is_v5: bool) -> Result<Option<Vec<u8>>> {
    if !is_v5 {
        return Ok(Some(vec![0xe0, 0]));
    }
    let code = if u.arbitrary()? {
        DisconnectReasonCode::NormalDisconnection
    } else {
        DisconnectReasonCode::DisconnectWithWillMessage
    };
    let mut properties = Properties::new();
    properties.extend(SessionExpiryInterval::new(*u.choose(&SECONDS)?).map(Property::SessionExpiryInterval));
    let disconnect = v5_0::Disconnect::builder().reason_code(code).props(properties).build();
    Ok(disconnect.ok().map(|packet| packet.to_continuous_buffer()))
}
