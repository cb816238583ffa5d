//! The modem's state machine: bytes and times in, bytes and wishes out. No I/O, no clock.

use super::{
    Family,
    at::{self, Command, Form},
    plan::{Answer, PerMille, Plan, RETRANSMISSION_MS, Registration},
};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

/// Longest command line taken; SIM800's is 556 characters (AT Command Manual V1.09, 1.4).
const LINE_MAX_BYTES: usize = 556;
/// Bytes taken from the host that the network has not carried yet; more are refused.
const UNSENT_MAX_BYTES: usize = 8192;

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

/// What a command is answered with.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// After how much more than usual.
    after_ms: u64,
    bytes: Vec<u8>,
    /// Then so many bytes are taken from the host as data.
    data: Option<usize>,
}

impl Reply {
    pub fn line(text: &str) -> Self {
        Self::default().and(text)
    }

    pub fn ok() -> Self {
        Self::line("OK")
    }

    /// Information, then OK.
    pub fn info(text: &str) -> Self {
        Self::line(text).and("OK")
    }

    pub fn and(mut self, text: &str) -> Self {
        self.bytes.extend(framed(text));
        self
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn after(mut self, ms: u64) -> Self {
        self.after_ms = ms;
        self
    }

    /// Asks for data.
    pub fn prompt(count: usize) -> Self {
        Self { data: Some(count), ..Self::default() }
    }
}

fn framed(text: &str) -> Vec<u8> {
    format!("\r\n{text}\r\n").into_bytes()
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

    /// Whether a TCP connection stands.
    pub fn is_connected(&self) -> bool {
        self.socket == Socket::Open
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

    /// Puts bytes on the line that nobody meant.
    pub fn noise(&mut self, bytes: &[u8]) {
        self.effects.push(Effect::Line(bytes.to_vec()));
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

    /// Bytes from the host's line.
    pub fn from_line(&mut self, bytes: &[u8]) {
        if matches!(self.power, Power::Off | Power::Held | Power::Booting | Power::Stuck) {
            return;
        }
        self.backlog.extend(bytes);
        self.take_backlog();
    }

    fn take_backlog(&mut self) {
        while self.power == Power::On {
            let waits_for_prompt = self.sending.as_ref().is_some_and(|sending| !sending.prompted);
            let Some(byte) = self.backlog.front().copied() else { return };
            if waits_for_prompt {
                if byte != b'\n' && byte != b'\r' {
                    // Sent before it was asked for: lost.
                    self.counters.impatient += 1;
                }
                self.backlog.pop_front();
                continue;
            }
            if self.sending.is_none() && self.now < self.answered_at && !matches!(byte, b'\n' | b'\r') {
                // Counted once a line; read when the last one is answered.
                self.counters.impatient += u32::from(!std::mem::replace(&mut self.held, true));
                return;
            }
            self.held = false;
            self.backlog.pop_front();
            self.byte(byte);
        }
        self.backlog.clear();
    }

    fn byte(&mut self, byte: u8) {
        if let Some(sending) = self.sending.as_mut() {
            sending.bytes.push(byte);
            sending.missing -= 1;
            if sending.missing == 0 {
                let bytes = self.sending.take().map(|sending| sending.bytes).unwrap_or_default();
                self.take_data(bytes);
            }
            return;
        }
        // A line feed behind the return is skipped; see V.250, 5.2.1.
        if byte == b'\n' && std::mem::take(&mut self.after_return) {
            return;
        }
        self.after_return = byte == b'\r';
        if self.echo && self.speed_known {
            self.effects.push(Effect::Line(vec![byte]));
        }
        if byte != b'\r' {
            if self.line.len() < LINE_MAX_BYTES {
                self.line.push(byte);
            } else {
                self.counters.oversize += 1;
                self.line.clear();
            }
            return;
        }
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        self.command_line(&line);
    }

    fn command_line(&mut self, line: &str) {
        // What precedes AT is not part of a line (V.250, 5.2.1).
        let Some(start) = line.to_ascii_uppercase().find("AT") else { return };
        let line = &line[start..];
        if !self.speed_known {
            self.speed_known = true;
            for text in self.family.ready_words() {
                self.unsolicited(text);
            }
        }
        let fault = self.planned_fault(line);
        if fault == Some(Answer::Refused) {
            let error = self.error(100);
            return self.answer(error, None);
        }
        let command = at::parse(line);
        let reply = command.as_ref().and_then(|command| self.common(command).or_else(|| self.family_command(command)));
        let reply = reply.unwrap_or_else(|| {
            self.counters.unknown += 1;
            Reply::line("ERROR")
        });
        self.answer(reply, fault);
    }

    fn family_command(&mut self, command: &Command) -> Option<Reply> {
        match self.family {
            Family::Sim800 => self.sim800(command),
            Family::A7670 => self.a7670(command),
            Family::Quectel => self.quectel(command),
        }
    }

    /// Commands of 3GPP TS 27.007 and V.250 that all three have.
    fn common(&mut self, command: &Command) -> Option<Reply> {
        let registration = match (self.registered, self.plan.registration) {
            (true, _) => 1,
            (false, Registration::Denied) => 3,
            (false, _) => 2,
        };
        Some(match (command.name.as_str(), &command.form) {
            ("", Form::Run) | ("Z" | "&F" | "&W" | "V1" | "&D0" | "&D1", Form::Run) => Reply::ok(),
            ("E0" | "E1" | "E", Form::Run) => {
                self.echo = command.name == "E1";
                Reply::ok()
            }
            ("I", Form::Run) => Reply::info(self.family.model()),
            ("+GMM" | "+CGMM", Form::Run) => Reply::info(self.family.model()),
            ("+CGMI" | "+GMI", Form::Run) => Reply::info(self.family.maker()),
            ("+CGSN" | "+GSN", Form::Run) => Reply::info("867000012345678"),
            ("+CMEE", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [0] => self.set_error_codes(false),
                [1 | 2] => self.set_error_codes(true),
                _ => self.error(50),
            },
            ("+IPR" | "+IFC" | "+ICF" | "+CSCLK" | "+QSCLK", Form::Set(_)) => {
                command.form.numbers()?;
                Reply::ok()
            }
            ("+IPR", Form::Read) => Reply::info("+IPR: 115200"),
            ("+CFUN", Form::Read) => Reply::info("+CFUN: 1"),
            ("+CFUN", Form::Set(_)) => match command.form.numbers()?.as_slice() {
                [1, 1] => {
                    self.later(200, Event::Restart);
                    Reply::ok()
                }
                [0 | 1 | 4, ..] => Reply::ok(),
                _ => self.error(50),
            },
            ("+CPIN", Form::Read) => Reply::info("+CPIN: READY"),
            ("+CSQ", Form::Run) => Reply::info(&format!("+CSQ: {},99", self.plan.signal_csq)),
            ("+CREG" | "+CGREG", Form::Read) => Reply::info(&format!("{}: 0,{registration}", command.name)),
            // 2G has no EPS.
            ("+CEREG", Form::Read) if self.family != Family::Sim800 => {
                Reply::info(&format!("+CEREG: 0,{registration}"))
            }
            ("+CREG" | "+CGREG", Form::Set(_)) => Reply::ok(),
            ("+CEREG", Form::Set(_)) if self.family != Family::Sim800 => Reply::ok(),
            ("+CGATT", Form::Read) => Reply::info(&format!("+CGATT: {}", u8::from(self.registered))),
            ("+CGATT", Form::Set(_)) => {
                if self.registered {
                    Reply::ok().after(50)
                } else {
                    self.error(30)
                }
            }
            ("+COPS", Form::Read) if self.registered => Reply::info("+COPS: 0,0,\"RIG MOBILE\""),
            ("+COPS", Form::Read) => Reply::info("+COPS: 0"),
            ("+CCLK", Form::Read) => Reply::info("+CCLK: \"04/01/01,00:00:12+00\""),
            ("+CGDCONT", Form::Set(values)) => match (values.first()?.number()?, values.get(1)?.text()?) {
                (1, "IP" | "IPV4V6" | "IPV6") => {
                    if self.family == Family::A7670 && self.bearer == Bearer::Down {
                        self.bearer = Bearer::Named;
                    }
                    Reply::ok()
                }
                _ => self.error(50),
            },
            _ => return None,
        })
    }

    fn set_error_codes(&mut self, on: bool) -> Reply {
        self.error_codes = on;
        Reply::ok()
    }

    /// A refusal, as the host asked to be told (3GPP TS 27.007, 9.1).
    pub(super) fn error(&mut self, code: u32) -> Reply {
        self.counters.refused += 1;
        if self.error_codes { Reply::line(&format!("+CME ERROR: {code}")) } else { Reply::line("ERROR") }
    }

    /// A refusal in the maker's own words.
    pub(super) fn refusal(&mut self, words: &[&str]) -> Reply {
        self.counters.refused += 1;
        words.iter().fold(Reply::default(), |reply, text| reply.and(text))
    }

    pub(super) fn is_registered(&self) -> bool {
        self.registered
    }

    pub(super) fn received(&self) -> usize {
        self.received.len()
    }

    pub(super) fn read_received(&mut self, count: usize) -> Vec<u8> {
        let count = count.min(self.received.len());
        self.received.drain(..count).collect()
    }

    /// Opens a connection once the answer is out.
    pub(super) fn dial(&mut self, host: &str, port: u16) {
        self.socket = Socket::Opening;
        self.later(20, Event::Dial { host: host.into(), port });
    }

    /// The host closes the connection.
    pub(super) fn close(&mut self) {
        self.effects.push(Effect::Hang);
        self.end_socket();
        self.socket = Socket::Idle;
    }

    /// Says an unsolicited line, after what is being said.
    pub(super) fn unsolicited(&mut self, text: &str) {
        let at = self.answered_at.max(self.now);
        self.say_at(at, framed(text));
    }

    /// Says a line so much after the answer to the command at hand.
    pub(super) fn say_later(&mut self, ms: u64, text: &str) {
        self.afterwards.push((ms, text.into()));
    }

    /// Switches off in order.
    pub(super) fn power_down(&mut self) {
        self.effects.push(Effect::Hang);
        self.switch_off();
    }

    fn take_data(&mut self, bytes: Vec<u8>) {
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

    fn answer(&mut self, reply: Reply, fault: Option<Answer>) {
        let late_ms = if let Some(Answer::Late(ms)) = fault { ms } else { 0 };
        let delay_ms = self.draw(self.plan.answer_ms.clone()) + reply.after_ms + late_ms;
        let at = (self.now + Duration::from_millis(delay_ms)).max(self.last_line_at);
        for (ms, text) in std::mem::take(&mut self.afterwards) {
            self.at(at + Duration::from_millis(ms), Event::Line(framed(&text)));
        }
        if fault == Some(Answer::Never) {
            return;
        }
        self.answered_at = at;
        if let Some(missing) = reply.data {
            self.sending = Some(Sending { missing, bytes: vec![], prompted: false });
            self.at(at, Event::Prompt);
        }
        if reply.bytes.is_empty() {
            return;
        }
        let mut bytes = reply.bytes;
        if self.happens(self.plan.noise) {
            self.counters.spoiled += 1;
            let junk: Vec<u8> = (0..self.draw(1..24)).map(|_| self.draw(0..256) as u8).collect();
            self.say_at(at, junk);
        }
        if self.happens(self.plan.corruption) {
            self.counters.spoiled += 1;
            let index = self.draw(0..bytes.len() as u64) as usize;
            bytes[index] ^= 1 << self.draw(0..8);
        }
        if fault == Some(Answer::Twice) {
            bytes = bytes.repeat(2);
        }
        self.say_at(at, bytes);
    }

    fn planned_fault(&mut self, line: &str) -> Option<Answer> {
        let fault = self.plan.faults.iter_mut().find(|fault| line.starts_with(&fault.line) && fault.times > 0)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.answer)
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

    fn has_dialled(&mut self, connection: u32, ok: bool) {
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

    fn take_received(&mut self, connection: u32, bytes: &[u8]) {
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

    fn hung_up(&mut self) {
        if matches!(self.socket, Socket::Open | Socket::Opening) {
            self.end_socket();
            self.unsolicited(self.family.closed_word());
        }
    }

    fn end_socket(&mut self) {
        self.socket = if self.socket == Socket::Idle { Socket::Idle } else { Socket::Closed };
        self.unsent = 0;
        self.timeline.retain(|_, event| !matches!(event, Event::ToNetwork(_) | Event::Dial { .. }));
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

    fn say_at(&mut self, at: Duration, bytes: Vec<u8>) {
        let at = at.max(self.last_line_at).max(self.now);
        self.last_line_at = at;
        self.at(at, Event::Line(bytes));
    }

    fn later(&mut self, ms: u64, event: Event) {
        self.at(self.now + Duration::from_millis(ms), event);
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.events += 1;
        self.timeline.insert((at, self.events), event);
    }

    /// When bytes arrive that set out now; never before those that set out before them.
    fn through_network(&mut self, not_before: Duration) -> Duration {
        let lost_ms = if self.happens(self.plan.loss) { RETRANSMISSION_MS } else { 0 };
        let ms = self.draw(self.plan.network_ms.clone()) + lost_ms;
        (self.now + Duration::from_millis(ms)).max(not_before)
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
