//! The network's side: one TCP connection, and what becomes of it.

use super::{Bearer, Core, Effect, Event, Reply, Socket};
use crate::modem::plan::RETRANSMISSION_MS;
use std::time::Duration;

/// Bytes taken from the host that the network has not carried yet; more are refused.
const UNSENT_MAX_BYTES: usize = 8192;

impl Core {
    /// Whether a TCP connection stands.
    pub fn is_connected(&self) -> bool {
        self.socket == Socket::Open
    }

    /// Loses the TCP connection, as when the other side resets it.
    pub fn drop_link(&mut self) {
        self.effects.push(Effect::Hang);
        self.hung_up();
    }

    /// The network takes the packet context away.
    pub fn drop_bearer(&mut self) {
        self.effects.push(Effect::Hang);
        if matches!(self.bearer, Bearer::Active | Bearer::Addressed) {
            self.bearer = Bearer::Lost;
            self.end_socket();
            let word = self.family.bearer_lost();
            self.unsolicited(word);
        }
    }

    /// From now on bytes vanish in the air (or no longer), while the connection stands.
    pub fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// A dial has succeeded or failed.
    pub fn dialled(&mut self, connection: u32, ok: bool) {
        let delay = self.draw(self.plan.network_ms.clone());
        // A handshake is a round trip.
        self.later(2 * delay, Event::Dialled { connection, ok });
    }

    /// Bytes from the network.
    pub fn from_network(&mut self, connection: u32, bytes: &[u8]) {
        let at = self.through_network(self.from_network_at);
        self.from_network_at = at;
        self.at(at, Event::FromNetwork { connection, bytes: bytes.to_vec() });
    }

    /// The other side has closed the connection.
    pub fn hung(&mut self, connection: u32) {
        let at = self.through_network(self.from_network_at);
        self.at(at, Event::Hung { connection });
    }

    pub(in crate::modem) fn received(&self) -> usize {
        self.received.len()
    }

    pub(in crate::modem) fn read_received(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.received.len());
        self.received.drain(..count).collect()
    }

    /// Opens a connection once the answer is out.
    pub(in crate::modem) fn dial(&mut self, host: &str, port: u16) {
        self.socket = Socket::Opening;
        self.later(20, Event::Dial { host: host.into(), port });
    }

    /// The host closes the connection.
    pub(in crate::modem) fn close(&mut self) {
        self.effects.push(Effect::Hang);
        self.end_socket();
        self.socket = Socket::Idle;
    }

    pub(super) fn take_data(&mut self, bytes: Vec<u8>) {
        if self.socket != Socket::Open || self.unsent + bytes.len() > UNSENT_MAX_BYTES {
            let reply = self.refusal(&[self.family.send_failed()]);
            return self.answer(reply, None);
        }
        let count = bytes.len();
        self.unsent += count;
        let at = self.through_network(self.to_network_at);
        self.to_network_at = at;
        self.at(at, Event::ToNetwork(bytes));
        let words = self.family.sent(count);
        let reply = words.iter().fold(Reply::default(), |reply, text| reply.and(text));
        let fault = self.planned_fault("DATA");
        self.answer(reply.after(5), fault);
    }

    pub(super) fn has_dialled(&mut self, connection: u32, ok: bool) {
        if connection != self.connection || self.socket != Socket::Opening {
            // Closed meanwhile: the connection that was made is of no use to anybody.
            if ok {
                self.effects.push(Effect::Hang);
            }
            return;
        }
        self.socket = if ok { Socket::Open } else { self.family.socket_after_failure() };
        self.counters.connections += u32::from(ok);
        for text in self.family.dialled(ok) {
            self.unsolicited(text);
        }
    }

    pub(super) fn take_received(&mut self, connection: u32, bytes: &[u8]) {
        if connection != self.connection || self.socket != Socket::Open || self.silent {
            return;
        }
        if !self.buffered {
            let at = self.answered_at.max(self.now);
            return self.say_at(at, self.family.pushed(bytes));
        }
        let was_empty = self.received.is_empty();
        self.received.extend(bytes);
        // Told once, until all is read.
        if was_empty {
            self.unsolicited(self.family.data_word());
        }
    }

    pub(super) fn hung_up(&mut self) {
        if matches!(self.socket, Socket::Open | Socket::Opening) {
            self.end_socket();
            self.unsolicited(self.family.closed_word());
        }
    }

    pub(super) fn end_socket(&mut self) {
        self.socket = if self.socket == Socket::Idle { Socket::Idle } else { Socket::Closed };
        self.unsent = 0;
        self.timeline.retain(|_, event| !matches!(event, Event::ToNetwork(_) | Event::Dial { .. }));
    }

    /// When bytes arrive that set out now; never before those that set out before them.
    pub(super) fn through_network(&mut self, not_before: Duration) -> Duration {
        let lost_ms = if self.happens(self.plan.loss) { RETRANSMISSION_MS } else { 0 };
        let ms = self.draw(self.plan.network_ms.clone()) + lost_ms;
        (self.now + Duration::from_millis(ms)).max(not_before)
    }
}
