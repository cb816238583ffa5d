//! Module topics: `m/<module>/{status,pulse,ack,command}`.

use crate::{ModuleId, limits::TOPIC_MAX_BYTES};
use heapless::String;
use strum::{EnumString, IntoStaticStr};

/// A topic's text.
pub type Topic = String<TOPIC_MAX_BYTES>;

/// What a module topic carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EnumString, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Kind {
    /// From the module (and its will): its state.
    Status,
    /// From the module: a burst of coin pulses.
    Pulse,
    /// From the module: its acknowledgement of a command.
    Ack,
    /// To the module: an instruction.
    Command,
}

impl Kind {
    /// The last level of the topic.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The topic of a module and a kind.
pub fn topic(module: ModuleId, kind: Kind) -> Topic {
    let mut topic = Topic::new();
    for part in ["m/", module.as_str(), "/", kind.as_str()] {
        topic.push_str(part).expect("a module topic is at most 20 bytes");
    }
    topic
}

/// Reads a module topic; `None` if it is not one.
pub fn parse(topic: &str) -> Option<(ModuleId, Kind)> {
    let (module, kind) = topic.strip_prefix("m/")?.split_once('/')?;
    Some((ModuleId::parse(module).ok()?, kind.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = ModuleId::from_bits(77);
        for kind in [Kind::Status, Kind::Pulse, Kind::Ack, Kind::Command] {
            assert_eq!(parse(&topic(id, kind)), Some((id, kind)));
        }
        for wrong in ["m/x/ack", "m/0123456789", "m/0123456789/ack/", "M/0123456789/ack", "m/0123456789/Ack", ""] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
