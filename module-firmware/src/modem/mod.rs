//! A modem on a serial line: a TCP connection by AT commands, for [`crate::link`].
//!
//! What it is: an actor ([`run`]) that owns the line and the pins, beside the link's loop; and [`ModemDial`], through
//! which the link asks for a connection. Both meet in a [`Modem`], which the caller owns. The actor switches the modem
//! on, learns which it is, waits for SIM and network, connects when asked, and moves bytes between the line and two
//! bounded pipes. The link's reads and writes end in these pipes and so may be cancelled at any time, which an exchange
//! of AT commands may not. What it is not: an MQTT or TLS stack of the modem's own; those differ more than sockets do.
//!
//! Enter at [`run`]. `actor` is the way from power-up to a connection; `socket` what differs in TCP between the
//! families; [`family`] the rest of what differs, as a table; `line` one exchange; `digest` what a line is; `command`
//! the commands and answers.
//!
//! ```text
//! let modem = Modem::new();
//! let mut dial = ModemDial::new(&modem);
//! select(link::run(&mut module, &identity, &mut board, &mut dial, seed), modem::run(&modem, &config, uart, power, seed))
//! ```
//!
//! Invariants:
//! - Bytes of a connection reach the stream in order, without a gap and each once, or the connection ends.
//! - Whatever the modem says or does not say, the actor always asks it again, and switches it off and on if necessary.
//! - If the modem took bytes (`SEND OK`), the server may still not have them: only the server's answer over MQTT
//!   counts.

mod actor;
mod command;
mod decimal;
mod dial;
mod digest;
pub mod family;
mod line;
mod power;
mod settings;
mod socket;

pub use actor::run;
pub use command::general::Iccid;
pub use dial::{DialError, ModemDial, ModemStream, StreamError};
pub use power::Power;
pub use settings::{Access, Config, ConfigError, Timeouts};

use crate::module::Health;
use core::cell::Cell;
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, pipe::Pipe, signal::Signal};
use embassy_time::{Duration, Instant};

/// Bytes that came and were not read yet; more wait in the modem.
pub const RX_BYTES: usize = 512;
/// Bytes written and not given to the modem yet.
pub const TX_BYTES: usize = 512;
/// Bytes asked of the modem in one read at most.
pub const RECEIVE_MAX_BYTES: usize = 512;
/// Bytes of the line that are looked at together: an answer with data, and what follows it. No line is longer.
pub const LINE_BYTES: usize = RECEIVE_MAX_BYTES + 128;

/// A supply counts as low for so long after the modem said so; it repeats it (A76XX V1.09, 11.2.1: every 10 s).
pub const SUPPLY_LOW_KEPT: Duration = Duration::from_secs(60);

/// The modem's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// It does not answer yet, or any more.
    #[default]
    Silent,
    /// It answers, but what it is is not known.
    Unknown,
    /// There is no SIM card.
    NoSim,
    /// The SIM card asks for a code, which a person must remove.
    SimLocked,
    /// The SIM card is not ready.
    SimNotReady,
    /// It looks for a network.
    Searching,
    /// The network rejects the SIM card.
    Denied,
    /// It is registered, and attaches to the access point.
    Attaching,
    /// It is attached.
    Attached,
    /// It is connected to the server.
    Connected,
}

/// Counters for diagnosis, since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Bytes that could not be understood.
    pub garbage_bytes: u32,
    /// Commands not answered in time.
    pub timeouts: u16,
    /// Commands answered with an error.
    pub errors: u16,
    /// Times that the modem restarted by itself, or was made to.
    pub restarts: u16,
    /// Connections that ended otherwise than by this side.
    pub links_lost: u16,
}

/// Which connection is meant: each has a number of its own, and 0 is none.
type Number = u32;

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConnectionState {
    /// There was none yet, or it was not reached.
    Failed,
    /// It is there.
    Open,
    /// It was there.
    Ended,
}

/// Where the actor and the link meet. One executor polls both: it is not for several threads.
pub struct Modem {
    rx: Pipe<NoopRawMutex, RX_BYTES>,
    tx: Pipe<NoopRawMutex, TX_BYTES>,
    /// The last number given out.
    dialled: Cell<Number>,
    /// The connection that is wanted.
    wanted: Cell<Number>,
    /// How the connection stands that the actor was at last.
    connection_state: Cell<(Number, ConnectionState)>,
    /// Bytes taken out of the pipe that the modem has not confirmed yet.
    sending: Cell<bool>,
    /// Something changed for the actor: another connection is wanted, there is something to send, or room.
    to_actor: Signal<NoopRawMutex, ()>,
    /// Something changed for the stream: the connection's state, or what was written is sent.
    to_stream: Signal<NoopRawMutex, ()>,
    /// The health changed in something worth telling at once.
    health_changed: Signal<NoopRawMutex, ()>,
    state: Cell<State>,
    csq: Cell<Option<u8>>,
    /// When the modem said last that its supply is low, as long as that counts.
    supply_low: Cell<Option<Instant>>,
    counters: Cell<Counters>,
    iccid: Cell<Option<Iccid>>,
    family: Cell<Option<&'static family::Family>>,
}

impl Default for Modem {
    fn default() -> Self {
        Self::new()
    }
}

impl Modem {
    /// A modem nobody has talked to yet.
    pub const fn new() -> Self {
        Self {
            rx: Pipe::new(),
            tx: Pipe::new(),
            dialled: Cell::new(0),
            wanted: Cell::new(0),
            connection_state: Cell::new((0, ConnectionState::Failed)),
            sending: Cell::new(false),
            to_actor: Signal::new(),
            to_stream: Signal::new(),
            health_changed: Signal::new(),
            state: Cell::new(State::Silent),
            csq: Cell::new(None),
            supply_low: Cell::new(None),
            counters: Cell::new(Counters { garbage_bytes: 0, timeouts: 0, errors: 0, restarts: 0, links_lost: 0 }),
            iccid: Cell::new(None),
            family: Cell::new(None),
        }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state.get()
    }

    /// Counters since boot.
    pub fn counters(&self) -> Counters {
        self.counters.get()
    }

    /// The SIM card's number, once read.
    pub fn iccid(&self) -> Option<Iccid> {
        self.iccid.get()
    }

    /// The modem's family, once known.
    pub fn family(&self) -> Option<&'static family::Family> {
        self.family.get()
    }

    /// The health data for the core. The board adds the supply's voltage; `supply_low` is what the modem reports.
    pub fn health(&self) -> Health {
        let counters = self.counters.get();
        Health {
            signal_csq: self.csq.get(),
            supply_low: self.supply_low.get().is_some(),
            modem_restarts: counters.restarts,
            modem_timeouts: counters.timeouts,
            modem_errors: counters.errors,
            modem_garbage_bytes: counters.garbage_bytes,
            links_lost: counters.links_lost,
            ..Health::default()
        }
    }

    /// The health, if it changed in something that matters since it was last taken: for [`crate::link::Input::Health`].
    /// To be looked at every few seconds: whatever the modem is at, silence included, a low supply is over by the clock.
    pub fn take_health(&self) -> Option<Health> {
        self.take_health_at(Instant::now())
    }

    fn take_health_at(&self, now: Instant) -> Option<Health> {
        self.review_supply(now);
        self.health_changed.try_take().map(|()| self.health())
    }

    /// Waits until there is something for [`Modem::take_health`] to give. One at a time; safe to cancel.
    pub async fn health_changed(&self) {
        self.health_changed.wait().await;
        self.health_changed.signal(());
    }

    fn set_state(&self, state: State) {
        self.state.set(state);
    }

    fn set_signal(&self, csq: Option<u8>) {
        if self.csq.replace(csq) != csq {
            self.health_changed.signal(());
        }
    }

    fn supply_is_low(&self) {
        if self.supply_low.replace(Some(Instant::now())).is_none() {
            self.health_changed.signal(());
        }
    }

    /// A low supply that was not told again is not low any more.
    fn review_supply(&self, now: Instant) {
        if self.supply_low.get().is_some_and(|told| now >= told + SUPPLY_LOW_KEPT) {
            self.supply_low.set(None);
            self.health_changed.signal(());
        }
    }

    fn count(&self, change: impl FnOnce(&mut Counters)) {
        let before = self.counters.get();
        let mut counters = before;
        change(&mut counters);
        self.counters.set(counters);
        if (counters.restarts, counters.links_lost) != (before.restarts, before.links_lost) {
            self.health_changed.signal(());
        }
    }

    fn settle(&self, number: Number, connection_state: ConnectionState) {
        self.connection_state.set((number, connection_state));
        self.to_stream.signal(());
    }

    fn is_open(&self, number: Number) -> bool {
        self.wanted.get() == number && self.connection_state.get() == (number, ConnectionState::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_supply_is_over_by_the_clock_alone() {
        // Nobody runs the modem: it says nothing more, like a modem without a SIM card or without power.
        let modem = Modem::new();
        let told = Instant::from_secs(100);
        modem.supply_low.set(Some(told));
        assert_eq!(modem.take_health_at(told + SUPPLY_LOW_KEPT - Duration::from_secs(1)), None);
        assert!(modem.health().supply_low);
        assert_eq!(modem.take_health_at(told + SUPPLY_LOW_KEPT).map(|health| health.supply_low), Some(false));
    }
}
