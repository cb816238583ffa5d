//! Commands: who may command, when, and in what order.
//!
//! A payload not signed with the module's key is dropped, counted and never answered. Then:
//!
//! - A credit is given at most once, ever. If its id is in the journal (or waiting, or being given), it is answered
//!   `duplicate`, whatever its sequence and the clock say. If its sequence is at or below the floor, or it was issued
//!   before this flash's memory begins, it is refused as `too_old`. Every other answer except `clock` is final and
//!   journaled, even a refusal: a delayed copy of a refused (and perhaps refunded) credit must not be given later.
//! - `settings`, `lock`, `reboot` and `learn` are each ordered separately: a command older than the newest one taken is
//!   `superseded`, a repeat of the newest is `duplicate`.
//! - Expiry is judged by the module's clock. If the clock is not set, or is clearly behind the server's, a command is
//!   answered `clock`. The same answer is given if a command looks expired but the clock was not set just now: the
//!   server's clock may have been set back, and `expired` is final. `sync` needs no clock, since its round trip is
//!   bounded instead. `probe` needs none either: it changes nothing, and a module that answers it is synced before
//!   anything is paid; if the clock is known, a late probe is answered `expired`. An action that this firmware does not
//!   know is always `unsupported`.

use crate::{
    clock::{AHEAD_MAX_MS, Clock},
    coinline::learner::Learner,
    journal::Outcome,
    module::{Module, Waiting},
    outbox::QueuedAck,
    settings::Set,
};
use protocol::{
    OpenError,
    limits::{CREDIT_PULSES_MAX, CREDITS_WAITING_MAX},
    messages::{Action, Command, Reason, Settings, Stage, Sync, faults},
    open,
};

/// `locate` blinks for this long, in microseconds.
pub const LOCATE_US: u64 = 60_000_000;

/// The state of a command's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timing {
    Good,
    Expired,
    Unknown,
}

impl Module {
    /// Takes a message that arrived at uptime `now_us`. Call poll afterwards: it writes what the answer depends on.
    pub fn on_message(&mut self, now_us: u64, topic: &str, payload: &[u8]) {
        if topic != self.command_topic.as_str() {
            self.counters.bad_payloads = self.counters.bad_payloads.saturating_add(1);
            return;
        }
        match open::<Command>(&self.key, topic, payload) {
            Ok(command) => self.on_command(now_us, &command),
            Err(OpenError::Tag) => {
                self.counters.bad_tags = self.counters.bad_tags.saturating_add(1);
                self.set_fault(faults::BAD_SIGNATURES, true);
            }
            Err(OpenError::Length | OpenError::Body) => {
                self.counters.bad_payloads = self.counters.bad_payloads.saturating_add(1);
            }
        }
    }

    fn on_command(&mut self, now_us: u64, command: &Command) {
        self.last_command = self.last_command.max(command.sequence);
        match command.action {
            Action::Credit { pulses } => self.on_credit(now_us, command, pulses),
            Action::Sync(sync) => self.on_sync(now_us, command, &sync),
            Action::Probe => match self.timing(now_us, command) {
                Timing::Expired => self.answer(command, Stage::Expired, None, now_us),
                Timing::Good | Timing::Unknown => self.on_probe(now_us, command),
            },
            Action::Unknown(_) => self.answer(command, Stage::Failed, Some(Reason::Unsupported), now_us),
            Action::Settings(_)
            | Action::Lock { .. }
            | Action::Reboot
            | Action::Locate
            | Action::Learn(_)
            | Action::Diagnose => {
                self.on_state(now_us, command);
            }
        }
    }

    fn timing(&self, now_us: u64, command: &Command) -> Timing {
        match self.clock.unix_ms(now_us) {
            None => Timing::Unknown,
            Some(unix_ms) if command.issued_ms > unix_ms.saturating_add(AHEAD_MAX_MS) => Timing::Unknown,
            // A probe changes nothing; if it is answered with `expired`, the server sets this module's clock.
            Some(unix_ms) if unix_ms > command.expires_ms => {
                let sure = self.clock.is_fresh(now_us) || matches!(command.action, Action::Probe);
                if sure { Timing::Expired } else { Timing::Unknown }
            }
            Some(_) => Timing::Good,
        }
    }

    fn on_credit(&mut self, now_us: u64, command: &Command, pulses: u16) {
        if self.answer_known(now_us, command) {
            return;
        }
        if self.journal.is_below_floor(command.sequence) {
            return self.answer(command, Stage::Failed, Some(Reason::TooOld), now_us);
        }
        match self.timing(now_us, command) {
            Timing::Unknown => return self.answer(command, Stage::Clock, None, now_us),
            // Checked before expiry: for a credit issued before this flash's memory begins, `expired` would wrongly say
            // that it was not given.
            Timing::Good | Timing::Expired if command.issued_ms < self.remembers_since_ms => {
                return self.refuse(command, Outcome::Failed(Reason::TooOld), now_us);
            }
            Timing::Expired => return self.refuse(command, Outcome::Expired, now_us),
            Timing::Good => {}
        }
        let most = self.settings.value.credit_pulses_max.min(CREDIT_PULSES_MAX);
        if !(1..=most).contains(&pulses) {
            self.counters.credits_capped = self.counters.credits_capped.saturating_add(u32::from(pulses > most));
            return self.refuse(command, Outcome::Failed(Reason::Invalid), now_us);
        }
        if let Some(reason) = self.credit_blocker() {
            return self.refuse(command, Outcome::Failed(reason), now_us);
        }
        let (id, sequence, expires_ms) = (command.id, command.sequence, command.expires_ms);
        match self.waiting.push_back(Waiting { command: id, sequence, pulses, expires_ms, held: false }) {
            Ok(()) => self.answer(command, Stage::Received, None, now_us),
            Err(_) => self.refuse(command, Outcome::Failed(Reason::Busy), now_us),
        }
    }

    /// Answers a credit that was seen before; false if it is new. It is recognised by its id, which is derived from the
    /// payment: a server that lost its memory may send the same credit with another sequence.
    fn answer_known(&mut self, now_us: u64, command: &Command) -> bool {
        let Some((outcome, given)) = self.known_by_id(command.id) else {
            let used = self.journal.find(command.sequence).is_some()
                || self.waiting.iter().any(|waiting| waiting.sequence == command.sequence);
            if used {
                // Another command with a used sequence: the outcome of the first does not apply to it.
                self.answer(command, Stage::Failed, Some(Reason::Invalid), now_us);
            }
            return used;
        };
        self.outbox.say(QueuedAck {
            command: command.id,
            sequence: command.sequence,
            stage: Stage::Duplicate,
            pulses: Some(given),
            reason: outcome.reason(),
            first: Some(outcome.stage()),
            at_us: now_us,
        });
        true
    }

    /// A credit's outcome so far, and its pulses; a waiting credit has none.
    fn known_by_id(&self, id: u64) -> Option<(Outcome, u16)> {
        if let Some(record) = self.journal.find_command(id) {
            return Some((record.outcome, record.given));
        }
        self.waiting.iter().any(|waiting| waiting.command == id).then_some((Outcome::Started, 0))
    }

    /// Settles a credit without giving it. The answer comes from the journal.
    fn refuse(&mut self, command: &Command, outcome: Outcome, now_us: u64) {
        if !self.journal.open(command.id, command.sequence, outcome, now_us) {
            self.answer(command, outcome.stage(), outcome.reason(), now_us);
        }
    }

    fn on_probe(&mut self, now_us: u64, command: &Command) {
        let busy = (self.waiting.len() >= CREDITS_WAITING_MAX || self.is_capped(now_us) || self.is_trying())
            .then_some(Reason::Busy);
        match self.credit_blocker().or(busy) {
            Some(reason) => self.answer(command, Stage::Failed, Some(reason), now_us),
            None => self.answer(command, Stage::Done, None, now_us),
        }
    }

    /// Whether the cap per minute might keep a credit waiting that is paid for now.
    fn is_capped(&self, now_us: u64) -> bool {
        let settings = &self.settings.value;
        let waiting = self.waiting.iter().fold(settings.credit_pulses_max, |sum, next| sum.saturating_add(next.pulses));
        !self.budget.has_room(waiting, settings.credit_pulses_per_minute(), now_us)
    }

    /// Whether pulses of a learning are tried on the machine.
    fn is_trying(&self) -> bool {
        self.learning.learner().is_some_and(Learner::is_confirming)
    }

    fn on_sync(&mut self, now_us: u64, command: &Command, sync: &Sync) {
        let mut clock: Clock = self.clock;
        if clock.set(sync, self.boot, now_us) {
            self.set_clock(clock);
            self.answer(command, Stage::Done, None, now_us);
        } else {
            self.answer(command, Stage::Failed, Some(Reason::SlowSync), now_us);
        }
    }

    /// Commands that set a state: ordered within each kind; applied once written (see `memory`). Order is checked
    /// before expiry, so that a late repeat of an applied command is answered as applied.
    fn on_state(&mut self, now_us: u64, command: &Command) {
        let newest = match command.action {
            Action::Settings(_) => self.pending.settings.map_or(self.settings.sequence, |(_, set)| set.sequence),
            Action::Lock { .. } => self.pending.lock.map_or(self.lock.sequence, |(_, set)| set.sequence),
            Action::Reboot => self.pending.reboot.map_or(self.reboot_sequence, |(_, sequence)| sequence),
            Action::Learn(_) => self.learning.newest(),
            Action::Probe
            | Action::Credit { .. }
            | Action::Sync(_)
            | Action::Locate
            | Action::Diagnose
            | Action::Unknown(_) => 0,
        };
        if command.sequence == newest && newest > 0 {
            return self.outbox.say(QueuedAck {
                command: command.id,
                sequence: command.sequence,
                stage: Stage::Duplicate,
                pulses: None,
                reason: None,
                first: Some(if self.is_pending(command) { Stage::Received } else { Stage::Done }),
                at_us: now_us,
            });
        }
        if command.sequence < newest {
            return self.answer(command, Stage::Failed, Some(Reason::Superseded), now_us);
        }
        match self.timing(now_us, command) {
            Timing::Good => {}
            Timing::Expired => return self.answer(command, Stage::Expired, None, now_us),
            Timing::Unknown => return self.answer(command, Stage::Clock, None, now_us),
        }
        match command.action {
            Action::Settings(settings) => self.on_settings(now_us, command, settings),
            Action::Lock { locked } => {
                let set = Set { sequence: command.sequence, value: locked };
                let older = self.pending.lock.replace((command.id, set));
                self.supersede(older.map(|(id, set)| (id, set.sequence)), now_us);
            }
            Action::Reboot => {
                let older = self.pending.reboot.replace((command.id, command.sequence));
                self.supersede(older, now_us);
            }
            Action::Locate => {
                self.locate_until_us = now_us.saturating_add(LOCATE_US);
                self.answer(command, Stage::Done, None, now_us);
            }
            Action::Learn(learn) => self.on_learn(now_us, command, &learn),
            Action::Diagnose => {
                self.ask_for_diagnostics();
                self.answer(command, Stage::Done, None, now_us);
            }
            Action::Probe | Action::Credit { .. } | Action::Sync(_) | Action::Unknown(_) => {}
        }
    }

    fn on_settings(&mut self, now_us: u64, command: &Command, settings: Settings) {
        if !settings.is_valid() {
            return self.answer(command, Stage::Failed, Some(Reason::Invalid), now_us);
        }
        let set = Set { sequence: command.sequence, value: settings };
        let older = self.pending.settings.replace((command.id, set));
        self.supersede(older.map(|(id, set)| (id, set.sequence)), now_us);
    }

    fn is_pending(&self, command: &Command) -> bool {
        match command.action {
            Action::Settings(_) => self.pending.settings.is_some(),
            Action::Lock { .. } => self.pending.lock.is_some(),
            Action::Reboot => self.pending.reboot.is_some(),
            Action::Learn(_) => self.learning.is_pending(),
            Action::Probe
            | Action::Credit { .. }
            | Action::Sync(_)
            | Action::Locate
            | Action::Diagnose
            | Action::Unknown(_) => false,
        }
    }

    fn supersede(&mut self, older: Option<(u64, u32)>, now_us: u64) {
        if let Some((id, sequence)) = older {
            self.say(id, sequence, Stage::Failed, Some(Reason::Superseded), now_us);
        }
    }

    fn answer(&mut self, command: &Command, stage: Stage, reason: Option<Reason>, now_us: u64) {
        self.say(command.id, command.sequence, stage, reason, now_us);
    }

    pub(crate) fn say(&mut self, id: u64, sequence: u32, stage: Stage, reason: Option<Reason>, now_us: u64) {
        self.outbox.say(QueuedAck { command: id, sequence, stage, pulses: None, reason, first: None, at_us: now_us });
    }
}
