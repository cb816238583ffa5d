//! The modem's state machine: bytes and times in, bytes and wishes out. No I/O, no clock.
//!
//! Here is what it is and when things happen; `line` is the host's side, `network` the other, `common` the commands that
//! all families have.

mod common;
mod line;
mod network;

pub(super) use line::Reply;

use super::{
    Family,
    plan::{PerMille, Plan, Registration},
};
use line::framed;
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

/// What the modem wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Put these bytes on the line.
    Line(Vec<u8>),
    /// Open a TCP connection; tell [`Core::dialled`] how it went.
    Dial {
        /// Its number, from 1.
        connection: u32,
        /// Host name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Send these bytes over it.
    Send(Vec<u8>),
    /// Close it.
    Hang,
    /// Leave it standing and forget it, as when power is cut: the peer is told nothing.
    Abandon,
}

/// What happens at a later time.
#[derive(Debug)]
enum Event {
    Line(Vec<u8>),
    Prompt,
    Booted,
    Registered,
    KeyHeld,
    Restart,
    Dial { host: String, port: u16 },
    ToNetwork(Vec<u8>),
    FromNetwork { connection: u32, bytes: Vec<u8> },
    Hung { connection: u32 },
    Dialled { connection: u32, ok: bool },
}

/// Whether it is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Off: only the key wakes it.
    Off,
    /// Held in reset.
    Held,
    /// Starting.
    Booting,
    /// On.
    On,
    /// Its firmware hangs: on, and deaf until it is off and on again.
    Stuck,
}

/// The TCP connection, as the modem sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// None.
    Idle,
    /// Being opened.
    Opening,
    /// Open.
    Open,
    /// Closed by the other side or the network, and not yet by the host.
    Closed,
}

/// How far the way into the packet network is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// Not at all.
    Down,
    /// The APN is set.
    Named,
    /// The context is active.
    Active,
    /// The host has asked for its address, without which SIM800 opens no connection.
    Addressed,
    /// The network took it away.
    Lost,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times it was switched on.
    pub boots: u32,
    /// Lines that are no command it knows.
    pub unknown: u32,
    /// Known commands in the wrong state.
    pub refused: u32,
    /// Lines begun before the last one was answered.
    pub impatient: u32,
    /// Lines too long.
    pub oversize: u32,
    /// Connections opened.
    pub connections: u32,
    /// Junk and bent answers put on the line.
    pub spoiled: u32,
}

struct Sending {
    missing: usize,
    bytes: Vec<u8>,
    prompted: bool,
}

/// The modem.
pub struct Core {
    family: Family,
    /// How it behaves.
    pub plan: Plan,
    now: Duration,
    timeline: BTreeMap<(Duration, u64), Event>,
    events: u64,
    random: u64,
    power: Power,
    key_down: bool,
    /// SIM800 finds the line's speed from the first AT, and is silent before (Hardware Design V1.08, 4.5).
    speed_known: bool,
    echo: bool,
    error_codes: bool,
    line: Vec<u8>,
    after_return: bool,
    backlog: VecDeque<u8>,
    /// What waits in the backlog came before its time.
    held: bool,
    answered_at: Duration,
    last_line_at: Duration,
    sending: Option<Sending>,
    to_network_at: Duration,
    from_network_at: Duration,
    unsent: usize,
    registered: bool,
    /// Bytes vanish in the air, both ways.
    silent: bool,
    pub(super) bearer: Bearer,
    pub(super) socket: Socket,
    /// Received data waits until it is asked for.
    pub(super) buffered: bool,
    received: VecDeque<u8>,
    connection: u32,
    effects: Vec<Effect>,
    /// What the command at hand says after its answer.
    afterwards: Vec<(u64, String)>,
    counters: Counters,
}

impl Core {
    /// One that is off. `seed` decides latencies and noise.
    pub fn new(family: Family, plan: Plan, seed: u64) -> Self {
        Self {
            family,
            plan,
            now: Duration::ZERO,
            timeline: BTreeMap::new(),
            events: 0,
            // Zero would stay zero for ever.
            random: seed | 1,
            power: Power::Off,
            key_down: false,
            speed_known: false,
            echo: true,
            error_codes: false,
            line: vec![],
            after_return: false,
            backlog: VecDeque::new(),
            held: false,
            answered_at: Duration::ZERO,
            last_line_at: Duration::ZERO,
            sending: None,
            to_network_at: Duration::ZERO,
            from_network_at: Duration::ZERO,
            unsent: 0,
            registered: false,
            silent: false,
            bearer: Bearer::Down,
            socket: Socket::Idle,
            buffered: false,
            received: VecDeque::new(),
            connection: 0,
            effects: vec![],
            afterwards: vec![],
            counters: Counters::default(),
        }
    }

    /// Whether it is on.
    pub fn power(&self) -> Power {
        self.power
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When something is next due.
    pub fn deadline(&self) -> Option<Duration> {
        self.timeline.keys().next().map(|(at, _)| *at)
    }

    /// Takes note that it is `now`.
    pub fn touch(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Goes on to `now`, and gives what is to be done.
    pub fn poll(&mut self, now: Duration) -> Vec<Effect> {
        self.touch(now);
        while let Some(entry) = self.timeline.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let event = entry.remove();
            self.happen(event);
        }
        self.take_backlog();
        std::mem::take(&mut self.effects)
    }

    /// The host pulls the power key's line, or lets go.
    pub fn power_key(&mut self, pressed: bool) {
        if pressed == self.key_down {
            return;
        }
        self.key_down = pressed;
        self.timeline.retain(|_, event| !matches!(event, Event::KeyHeld));
        if pressed {
            let (on_ms, off_ms) = self.family.key_ms();
            let held_ms = if self.power == Power::Off { on_ms } else { off_ms };
            self.later(held_ms, Event::KeyHeld);
        }
    }

    /// The supply is cut: everything is lost, and nobody is told.
    pub fn cut_power(&mut self) {
        self.switch_off();
        self.effects.push(Effect::Abandon);
    }

    /// It restarts of itself.
    pub fn restart(&mut self) {
        self.switch_off();
        self.effects.push(Effect::Hang);
        self.switch_on();
    }

    /// The host pulls the reset line, or lets go.
    pub fn reset_line(&mut self, held: bool) {
        if held {
            self.switch_off();
            self.effects.push(Effect::Hang);
            self.power = Power::Held;
        } else if self.power == Power::Held {
            self.switch_on();
        }
    }

    /// Its firmware hangs. The network notices nothing.
    pub fn hang(&mut self) {
        if self.power != Power::Off {
            self.timeline.clear();
            self.power = Power::Stuck;
        }
    }

    pub(super) fn is_registered(&self) -> bool {
        self.registered
    }

    /// Switches off in order.
    pub(super) fn power_down(&mut self) {
        self.effects.push(Effect::Hang);
        self.switch_off();
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Line(bytes) => self.effects.push(Effect::Line(bytes)),
            Event::Prompt => {
                if let Some(sending) = self.sending.as_mut() {
                    sending.prompted = true;
                    self.effects.push(Effect::Line(self.family.prompt().to_vec()));
                }
            }
            Event::Booted => {
                self.power = Power::On;
                self.counters.boots += 1;
                if self.family != Family::Sim800 {
                    self.speed_known = true;
                    for text in self.family.ready_words() {
                        self.unsolicited(text);
                    }
                }
                if self.plan.registration == Registration::Taken {
                    self.later(self.plan.registration_ms, Event::Registered);
                } else {
                    // The network may change its mind.
                    self.later(1000, Event::Registered);
                }
            }
            Event::Registered if self.plan.registration == Registration::Taken => self.registered = true,
            Event::Registered => self.later(1000, Event::Registered),
            Event::KeyHeld => match self.power {
                Power::Off => self.switch_on(),
                Power::Held => {}
                Power::Booting | Power::On | Power::Stuck => {
                    if self.power == Power::On
                        && let Some(word) = self.family.power_down_word()
                    {
                        self.effects.push(Effect::Line(framed(word)));
                    }
                    self.power_down();
                }
            },
            Event::Restart => self.restart(),
            Event::Dial { host, port } => {
                self.connection += 1;
                self.received.clear();
                self.effects.push(Effect::Dial { connection: self.connection, host, port });
            }
            Event::Dialled { connection, ok } => self.has_dialled(connection, ok),
            Event::ToNetwork(bytes) => {
                self.unsent = self.unsent.saturating_sub(bytes.len());
                if self.socket == Socket::Open && !self.silent {
                    self.effects.push(Effect::Send(bytes));
                }
            }
            Event::FromNetwork { connection, bytes } => self.take_received(connection, &bytes),
            Event::Hung { connection } => {
                if connection == self.connection && !self.silent {
                    self.hung_up();
                }
            }
        }
    }

    fn switch_on(&mut self) {
        self.power = Power::Booting;
        self.later(self.plan.boot_ms, Event::Booted);
    }

    fn switch_off(&mut self) {
        self.timeline.clear();
        self.power = Power::Off;
        self.speed_known = false;
        self.echo = true;
        self.error_codes = false;
        self.line.clear();
        self.backlog.clear();
        self.sending = None;
        self.registered = false;
        self.bearer = Bearer::Down;
        self.socket = Socket::Idle;
        self.buffered = self.family.buffers_by_nature();
        self.received.clear();
        self.unsent = 0;
    }

    fn later(&mut self, ms: u64, event: Event) {
        self.at(self.now + Duration::from_millis(ms), event);
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.timeline.insert((at, self.events), event);
    }

    fn happens(&mut self, chance: PerMille) -> bool {
        self.draw(0..1000) < u64::from(chance)
    }

    /// Draws from a range (xorshift64, Marsaglia 2003).
    fn draw(&mut self, range: Range<u64>) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        range.start + self.random % (range.end - range.start).max(1)
    }
}
