//! Refusals in the log: what the broker did not do for a client, and why, so that a person can find out what is wrong.
//!
//! A client's refusals for one reason are logged at most once a minute, with a count of those that were left out.
//! Logged-in clients have a separate table, so that unauthenticated ones cannot displace their entries.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::info;

use crate::slots::limit_key;

/// One line for each client and reason in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How many pairs of client and reason are remembered, for logged-in clients and for all others. Those without room are
/// counted together.
const REMEMBERED_MAX: usize = 256;
/// Characters of a client id, a user name or a detail that are logged.
const LOGGED_CHARS: usize = 64;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// The connection, before or at CONNECT.
    Connect,
    /// A will; the client is connected without it.
    Will,
    /// A filter of a SUBSCRIBE.
    Subscribe,
    /// A publish.
    Publish,
    /// The connection itself: the broker ended it.
    Connection,
}

impl Refused {
    fn as_str(self) -> &'static str {
        match self {
            Refused::Connect => "refused an MQTT client",
            Refused::Will => "connected an MQTT client without its will",
            Refused::Subscribe => "refused a subscription of an MQTT client",
            Refused::Publish => "refused a publish of an MQTT client",
            Refused::Connection => "ended the connection of an MQTT client",
        }
    }

    /// What a person can do about it; empty if the reason says enough.
    fn advice(self, reason: &str) -> &'static str {
        match (self, reason) {
            (Refused::Connect, "version") => "set the client to MQTT 3.1.1 or 5",
            (Refused::Connect, "malformed") => "its first packet is not a valid MQTT CONNECT; is it an MQTT client?",
            (Refused::Connect, "subprotocol") => "let it offer the WebSocket subprotocol mqtt",
            (Refused::Connect, "handshake") => {
                "its TLS or WebSocket handshake failed; check port, address and certificate"
            }
            (Refused::Connect, "client_id") => {
                "the client id must be the one that its login is bound to, and not empty if it keeps a session"
            }
            (Refused::Connect, "credentials") => "wrong user name or password",
            (Refused::Connect, "failed_logins") => {
                "too many failed logins from its address; it may try again in a minute"
            }
            (Refused::Connect, "not_authorized") => "its login is disabled",
            (Refused::Connect, "connect_timeout") => "it did not log in within connect_timeout",
            (Refused::Connect, "auth_method") => "extended authentication is not supported; use a password",
            (Refused::Will, _) => "remove the will (birth and last will messages) or choose a topic it may publish to",
            (Refused::Subscribe, "not_authorized") => "the filter must lie within what its login may read",
            (Refused::Publish, "not_authorized") => "its login may not publish to this topic",
            (Refused::Connection, "taken_over") => {
                "another connection came with its client id: give each program its own"
            }
            (Refused::Connection, "revoked") => {
                "its password was changed, or it was disabled or disconnected by a person"
            }
            (Refused::Connection, "keep_alive") => "nothing came from it for 1.5 times its keep alive",
            (Refused::Connection, "write_stall") => "it took no data for too long",
            (Refused::Connect | Refused::Subscribe | Refused::Publish | Refused::Connection, _) => "",
        }
    }
}

/// Who was refused, as far as the client said.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ClientLabel<'a> {
    /// Its client id; empty if it gave none.
    pub client: &'a str,
    /// Its user name, or the name of its credential.
    pub user: &'a str,
    pub peer: SocketAddr,
    /// Whether it is logged in.
    pub known: bool,
}

impl ClientLabel<'_> {
    /// A client that has not said who it is.
    pub fn unidentified(peer: SocketAddr) -> ClientLabel<'static> {
        ClientLabel { client: "", user: "", peer, known: false }
    }
}

/// Identifies refusals that share one log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Client(Box<str>),
    Address(IpAddr),
}

type Key = (Name, Refused, &'static str);

/// What is done with a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LogDecision {
    /// It is logged, with the number that were left out before it.
    Written { suppressed: u64 },
    /// It is counted only.
    Suppressed,
}

#[derive(Debug, Clone, Copy)]
struct RecentRefusals {
    written: Instant,
    suppressed: u64,
}

#[derive(Default)]
struct Table {
    lately: HashMap<Key, RecentRefusals>,
    /// Refusals that found no room.
    overflowed: u64,
}

impl Table {
    fn record(&mut self, key: Key, now: Instant) -> LogDecision {
        if let Some(lately) = self.lately.get_mut(&key) {
            if now < lately.written + LOG_INTERVAL {
                lately.suppressed += 1;
                return LogDecision::Suppressed;
            }
            let suppressed = lately.suppressed;
            *lately = RecentRefusals { written: now, suppressed: 0 };
            return LogDecision::Written { suppressed };
        }
        if self.lately.len() >= REMEMBERED_MAX {
            self.overflowed += 1;
            return LogDecision::Suppressed;
        }
        self.lately.insert(key, RecentRefusals { written: now, suppressed: 0 });
        LogDecision::Written { suppressed: 0 }
    }

    /// Removes entries whose minute is over. Returns those for which some were left out, and how many found no room.
    fn sweep(&mut self, now: Instant) -> (Vec<(Key, u64)>, u64) {
        let over = self.lately.extract_if(|_, lately| now >= lately.written + LOG_INTERVAL);
        let suppressed = over.filter(|(_, lately)| lately.suppressed > 0);
        let suppressed = suppressed.map(|(key, lately)| (key, lately.suppressed)).collect();
        (suppressed, std::mem::take(&mut self.overflowed))
    }
}

/// The state of refusal logging.
#[derive(Default)]
pub(crate) struct Refusals {
    known: Mutex<Table>,
    strangers: Mutex<Table>,
}

impl Refusals {
    /// Logs a refusal, or counts it. `detail` is what it was about: a topic, a filter, an error.
    pub fn record(&self, refused: Refused, who: ClientLabel<'_>, reason: &'static str, detail: &str) {
        let client = shortened(who.client);
        let name = match &*client {
            "" => Name::Address(limit_key(who.peer.ip())),
            client => Name::Client(client.into()),
        };
        let table = if who.known { &self.known } else { &self.strangers };
        let LogDecision::Written { suppressed } = table.lock().record((name, refused, reason), Instant::now()) else {
            return;
        };
        let (user, detail) = (shortened(who.user), shortened(detail));
        let advice = refused.advice(reason);
        info!(client, user, peer = %who.peer, reason, detail, advice, left_out = suppressed, "{}", refused.as_str());
    }

    /// Logs what was left out, once its minute is over.
    pub fn sweep(&self, now: Instant) {
        for (table, whose) in [(&self.known, "clients"), (&self.strangers, "strangers")] {
            let (suppressed, overflowed) = table.lock().sweep(now);
            for ((name, refused, reason), suppressed) in suppressed {
                let client = match name {
                    Name::Client(client) => client.into(),
                    Name::Address(address) => address.to_string(),
                };
                info!(client, reason, left_out = suppressed, "{}, again", refused.as_str());
            }
            if overflowed > 0 {
                info!(whose, left_out = overflowed, "there were refusals of more MQTT clients than are listed here");
            }
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(LOGGED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str) -> Key {
        (Name::Client(client.into()), Refused::Connect, "credentials")
    }

    #[test]
    fn a_reason_is_a_line_a_minute_with_a_count_of_those_left_out() {
        let (mut table, start) = (Table::default(), Instant::now());
        assert_eq!(table.record(key("a"), start), LogDecision::Written { suppressed: 0 });
        assert_eq!(table.record(key("b"), start), LogDecision::Written { suppressed: 0 });
        for _ in 0..5 {
            assert_eq!(table.record(key("a"), start + LOG_INTERVAL / 2), LogDecision::Suppressed);
        }
        assert_eq!(table.sweep(start + LOG_INTERVAL / 2), (vec![], 0));
        assert_eq!(table.record(key("a"), start + LOG_INTERVAL), LogDecision::Written { suppressed: 5 });
        table.record(key("a"), start + LOG_INTERVAL);
        assert_eq!(table.sweep(start + 2 * LOG_INTERVAL), (vec![(key("a"), 1)], 0));
        assert!(table.lately.is_empty());
    }

    #[test]
    fn a_crowd_is_counted_and_takes_no_more_room() {
        let (mut table, start) = (Table::default(), Instant::now());
        for number in 0..REMEMBERED_MAX + 7 {
            table.record(key(&number.to_string()), start);
        }
        assert_eq!(table.lately.len(), REMEMBERED_MAX);
        assert_eq!(table.sweep(start), (vec![], 7));
        assert_eq!(table.sweep(start + LOG_INTERVAL), (vec![], 0));
        assert!(table.lately.is_empty());
    }
}
