//! The pages' access to the embedded broker.

use crate::authenticator::{BACKEND_USER, Credential};
use broker::{Broker, ConnectionInfo};
use std::{
    net::SocketAddr,
    time::{SystemTime, UNIX_EPOCH},
};
use web::{EmbeddedBroker, Messages, MqttConnection, MqttParty, Replies};

/// The embedded broker, for the pages.
pub struct LiveBroker(pub Broker);

impl EmbeddedBroker for LiveBroker {
    fn healthy(&self) -> bool {
        self.0.healthy()
    }

    fn connections(&self) -> Vec<MqttConnection> {
        self.0.connections().into_iter().map(seen).collect()
    }

    fn end_connection(&self, number: u64) -> bool {
        self.0.end_connection(number)
    }

    fn agree_on_subprotocol(&self, offers: &[&str], peer: SocketAddr) -> Option<&'static str> {
        self.0.agree_on_subprotocol(offers, peer)
    }

    fn message_bytes_max(&self) -> usize {
        self.0.message_bytes_max()
    }

    fn serve(&self, messages: Messages, replies: Replies, peer: SocketAddr) {
        self.0.serve_messages(messages, replies, peer);
    }
}

fn seen(connection: ConnectionInfo) -> MqttConnection {
    let party = match Credential::parse(&connection.credential) {
        Some(Credential::Integrator { slug, .. }) => MqttParty::Integrator(slug),
        Some(Credential::Member { slug, .. }) => MqttParty::Member(slug),
        Some(Credential::Tool { slug, .. }) => MqttParty::Manufacturer(slug),
        None if connection.credential == BACKEND_USER => MqttParty::Backend,
        None => MqttParty::Module(connection.credential),
    };
    MqttConnection {
        number: connection.number,
        party,
        client_id: connection.client_id,
        peer: connection.peer,
        version: connection.version.as_str(),
        connected_ms: since_1970_ms(connection.connected_at),
        heard_ms: since_1970_ms(connection.last_packet_at),
        round_trip: connection.round_trip,
    }
}

fn since_1970_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
