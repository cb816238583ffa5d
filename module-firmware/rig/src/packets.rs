//! MQTT packets in a stream of bytes, as far as counting them needs (MQTT 5.0, 2.1).

/// A packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its name, and of a PUBLISH the last level of its topic: `PUBLISH ack`.
    pub name: String,
    /// All its bytes.
    pub bytes: usize,
}

const NAMES: [&str; 16] = [
    "reserved",
    "CONNECT",
    "CONNACK",
    "PUBLISH",
    "PUBACK",
    "PUBREC",
    "PUBREL",
    "PUBCOMP",
    "SUBSCRIBE",
    "SUBACK",
    "UNSUBSCRIBE",
    "UNSUBACK",
    "PINGREQ",
    "PINGRESP",
    "DISCONNECT",
    "AUTH",
];

/// The whole packets of a stream that begins with one.
pub fn packets(mut stream: &[u8]) -> Vec<Packet> {
    let mut packets = vec![];
    while let Some((packet, rest)) = first(stream) {
        packets.push(packet);
        stream = rest;
    }
    packets
}

fn first(stream: &[u8]) -> Option<(Packet, &[u8])> {
    let (kind, mut rest) = stream.split_first()?;
    let mut length = 0;
    for place in 0..4 {
        let (byte, more) = rest.split_first()?;
        rest = more;
        length |= usize::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = rest.get(..length)?;
    let mut name = NAMES[usize::from(kind >> 4)].to_owned();
    if let (3, Some((topic_bytes, behind))) = (kind >> 4, body.split_first_chunk::<2>()) {
        let topic = behind.get(..usize::from(u16::from_be_bytes(*topic_bytes)))?;
        let topic = String::from_utf8_lossy(topic);
        name = format!("{name} {}", topic.rsplit('/').next().unwrap_or_default());
    }
    let rest = &rest[length..];
    Some((Packet { name, bytes: stream.len() - rest.len() }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_packets_apart() {
        let mut stream = vec![0xC0, 0];
        stream.extend([0x32, 9, 0, 5, b'm', b'/', b'x', b'/', b'a', 0, 1]);
        stream.extend([0x40, 2, 0, 1]);
        // Not whole yet.
        stream.extend([0x30, 200]);
        let found: Vec<_> = packets(&stream).into_iter().map(|it| (it.name, it.bytes)).collect();
        let expected = [("PINGREQ", 2), ("PUBLISH a", 11), ("PUBACK", 4)];
        assert_eq!(found, expected.map(|(name, bytes)| (name.to_owned(), bytes)));
    }
}
