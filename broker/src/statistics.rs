//! The broker's statistics as messages, for clients that are granted `$SYS/#`. Names and units are those of mosquitto.
//! The messages are retained and published every ten seconds; not through the core, which does not route topics that
//! begin with `$`.

use std::sync::Arc;

use bytes::Bytes;

use crate::codec::Qos;
use crate::gate::Gate;
use crate::message::Message;

/// Publishes the statistics to their subscribers.
pub(crate) fn publish(gate: &Gate) {
    let sessions = gate.sessions.client_lane();
    for (name, figure) in figures(gate) {
        let message = Arc::new(Message {
            topic: format!("$SYS/broker/{name}").into(),
            payload: Bytes::from(figure),
            qos: Qos::AtMostOnce,
            retain: true,
            origin: 0,
            expires_at: None,
            properties: Box::default(),
        });
        // If there is no room it is not retained; current subscribers still receive it.
        let _ = gate.retained.store(&message);
        for session in &sessions {
            gate.deliver(session, u64::MAX, &message);
        }
    }
}

fn figures(gate: &Gate) -> Vec<(&'static str, String)> {
    let meters = &gate.meters;
    let sums = [
        ("clients/connected", gate.sessions.connected() as u64),
        ("clients/total", gate.sessions.len() as u64),
        ("publish/messages/received", meters.publishes_in.sum()),
        ("publish/messages/sent", meters.publishes_out.sum()),
        ("publish/messages/dropped", meters.dropped.sum()),
        ("bytes/received", meters.bytes_in.sum()),
        ("bytes/sent", meters.bytes_out.sum()),
        ("retained messages/count", gate.retained.len() as u64),
        ("store/messages/count", gate.sessions.queued.messages() as u64),
        ("store/messages/bytes", gate.sessions.queued.bytes() as u64),
    ];
    let mut figures: Vec<_> = sums.map(|(name, sum)| (name, sum.to_string())).into();
    figures.push(("version", concat!("coinwire ", env!("CARGO_PKG_VERSION")).to_owned()));
    figures.push(("uptime", format!("{} seconds", gate.begun.elapsed().as_secs())));
    figures
}
