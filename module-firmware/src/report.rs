//! Reports: statuses, bursts and acks, stamped and signed when they go out.

use crate::{
    module::{Detail, Health, Module},
    outbox::{Counted, Outgoing, Payload, QueuedAck, Source, Token},
};
use minicbor::Encode;
use protocol::{
    limits::{PAYLOAD_MAX_BYTES, WILL_SEQUENCE},
    messages::{Ack, Diagnostics, Pulse, Status, Totals, faults},
    seal,
    topics::{Kind, topic},
};

/// Firmware version, as in a status.
pub const FIRMWARE: &str = env!("CARGO_PKG_VERSION");
/// After a status, the next for a changed state (faults, lock, settings) waits this long, in microseconds.
pub const STATUS_STATE_GAP_US: u64 = 1_000_000;
/// After a status, the next for a changed total waits this long, in microseconds; pulses and acks report it sooner.
pub const STATUS_TOTALS_GAP_US: u64 = 60_000_000;

impl Module {
    /// Begins an attempt to connect: counts the session, and gives the will to connect with (a retained status on the
    /// status topic). Each attempt has a session of its own, so that the will of one that half succeeded cannot
    /// outlive a later one's statuses.
    pub fn begin_session(&mut self, now_us: u64) -> Payload {
        self.on_disconnected();
        self.report.session = self.report.session.saturating_add(1);
        self.report.status_sequence = 0;
        self.report.pulse_sequence = 0;
        self.status(false, WILL_SEQUENCE, None, now_us)
    }

    /// The broker accepted the session begun last; a status goes out at once.
    pub fn on_connected(&mut self) {
        self.report.connected = true;
        self.report.status_us = None;
    }

    /// The connection is gone. Messages on their way are sent again on the next one.
    pub fn on_disconnected(&mut self) {
        self.report.connected = false;
        self.report.reporting = None;
        self.outbox.disconnect();
        self.journal.clear_reporting();
    }

    /// Whether the module has a session with the broker.
    pub fn is_connected(&self) -> bool {
        self.report.connected
    }

    /// A farewell: a status that says offline, to publish before leaving on purpose.
    pub fn farewell(&self, now_us: u64) -> Payload {
        self.status(false, WILL_SEQUENCE, None, now_us)
    }

    /// The next message to publish, if there is one and fewer than [`crate::outbox::IN_FLIGHT_MAX`] are on their way.
    /// Call after [`Module::poll`] until it gives none.
    pub fn outgoing(&mut self, now_us: u64) -> Option<Outgoing> {
        if !self.report.connected || self.outbox.is_full() {
            return None;
        }
        if self.report.status_us.is_none() {
            return Some(self.send_status(now_us));
        }
        if let Some(queued) = self.outbox.take_ack() {
            return Some(self.send(Source::Ack, Kind::Ack, &self.ack(&queued)));
        }
        let flash_fails = self.faults & faults::FLASH != 0;
        if let Some((record, at_us)) = self.journal.next_unreported(flash_fails) {
            self.journal.reporting(record.sequence);
            let queued = QueuedAck {
                command: record.command,
                sequence: record.sequence,
                stage: record.outcome.stage(),
                pulses: Some(record.given),
                reason: record.outcome.reason(),
                first: None,
                at_us: if at_us == 0 { now_us } else { at_us },
            };
            return Some(self.send(Source::Outcome(record.sequence), Kind::Ack, &self.ack(&queued)));
        }
        if let Some(counted) = self.outbox.burst().filter(|_| flash_fails || !self.coins_dirty) {
            self.report.pulse_sequence = self.report.pulse_sequence.saturating_add(1);
            return Some(self.send(Source::Burst, Kind::Pulse, &self.pulse(&counted)));
        }
        self.status_due_us().filter(|due_us| now_us >= *due_us)?;
        Some(self.send_status(now_us))
    }

    /// The broker acknowledged a message. Tokens of an earlier connection are ignored.
    pub fn published(&mut self, token: Token) {
        match self.outbox.sent(token) {
            Some(Source::Outcome(sequence)) => self.journal.reported(sequence),
            Some(Source::Status) => self.detail_heard(),
            Some(Source::Ack | Source::Burst) | None => {}
        }
    }

    /// Diagnostics are part of the next status, and the last learning result of the one after it.
    pub(crate) fn ask_for_diagnostics(&mut self) {
        self.report.diagnose = true;
        self.learning.unreported = self.learning.reported().is_some();
        self.report.state_changed = true;
    }

    /// What the next status carries in addition, if anything.
    fn next_detail(&self) -> Option<Detail> {
        if self.report.diagnose {
            return Some(Detail::Diagnostics);
        }
        self.learning.reported().filter(|_| self.learning.unreported).map(Detail::Learned)
    }

    fn detail_heard(&mut self) {
        match self.report.reporting.take() {
            Some(Detail::Diagnostics) => self.report.diagnose = false,
            Some(Detail::Learned(learned)) => self.learning.unreported &= self.learning.reported() != Some(learned),
            None => {}
        }
        self.report.state_changed |= self.next_detail().is_some();
    }

    pub(crate) fn diagnostics(&self) -> Diagnostics {
        let Health {
            modem_restarts, modem_timeouts, modem_errors, modem_garbage_bytes, links_lost, edges_lost, ..
        } = self.health;
        Diagnostics {
            reset_cause: self.boot_report.reset_cause,
            panic: self.boot_report.panic,
            uptime_before_s: self.boot_report.uptime_before_s,
            bad_tags: self.counters.bad_tags,
            bad_payloads: self.counters.bad_payloads,
            flash_failures: self.counters.flash_failures,
            flash_writes: self.counters.flash_writes,
            sessions: self.report.session,
            modem_restarts: modem_restarts.into(),
            modem_timeouts: modem_timeouts.into(),
            modem_garbage: modem_garbage_bytes,
            edges_lost,
            credits_capped: self.counters.credits_capped,
            modem_errors: modem_errors.into(),
            links_lost: links_lost.into(),
        }
    }

    /// When the next status is due: ask for [`Module::outgoing`] then, whatever else happens. `None` while one is on its
    /// way or there is no connection.
    pub fn status_due_us(&self) -> Option<u64> {
        if !self.report.connected || self.outbox.is_full() || self.outbox.is_in_flight(Source::Status) {
            return None;
        }
        let Some(last_us) = self.report.status_us else { return Some(0) };
        let gap_us = if self.report.state_changed {
            STATUS_STATE_GAP_US
        } else if self.report.totals_changed {
            STATUS_TOTALS_GAP_US
        } else {
            u64::MAX
        };
        let period_us = u64::from(self.settings.value.status_period_s) * 1_000_000;
        Some(last_us.saturating_add(gap_us.min(period_us)))
    }

    fn send_status(&mut self, now_us: u64) -> Outgoing {
        self.report.status_us = Some(now_us);
        self.report.state_changed = false;
        self.report.totals_changed = false;
        // For noise alone, flash is written at most once per status, so that noise does not wear out the flash.
        self.coins_dirty |= self.totals().noise_edges != self.noise_saved;
        self.report.status_sequence = self.report.status_sequence.saturating_add(1).min(WILL_SEQUENCE - 1);
        let detail = self.next_detail();
        self.report.reporting = detail;
        let payload = self.status(true, self.report.status_sequence, detail, now_us);
        let token = self.outbox.send(Source::Status);
        Outgoing { token, kind: Kind::Status, retain: true, payload }
    }

    fn send<T: Encode<()>>(&mut self, source: Source, kind: Kind, message: &T) -> Outgoing {
        let payload = self.seal(kind, message);
        let token = self.outbox.send(source);
        Outgoing { token, kind, retain: false, payload }
    }

    fn ack(&self, queued: &QueuedAck) -> Ack {
        Ack {
            command: queued.command,
            sequence: queued.sequence,
            stage: queued.stage,
            boot: self.boot,
            uptime_ms: queued.at_us / 1000,
            at_ms: self.clock.unix_ms(queued.at_us),
            pulses: queued.pulses,
            reason: queued.reason,
            first: queued.first,
        }
    }

    fn pulse(&self, counted: &Counted) -> Pulse {
        Pulse {
            mark: self.mark(self.report.pulse_sequence),
            uptime_ms: counted.burst.ended_us / 1000,
            at_ms: self.clock.unix_ms(counted.burst.ended_us),
            pulses: counted.burst.pulses,
            coin_pulses_total: counted.total,
            width_ms: counted.burst.width_ms,
            gap_ms: counted.burst.gap_ms,
        }
    }

    fn status(&self, online: bool, sequence: u32, detail: Option<Detail>, now_us: u64) -> Payload {
        let (learned, diagnostics) = match detail {
            Some(Detail::Learned(learned)) => (Some(learned), None),
            Some(Detail::Diagnostics) => (None, Some(self.diagnostics())),
            None => (None, None),
        };
        let status = Status {
            mark: self.mark(sequence),
            online,
            uptime_ms: now_us / 1000,
            at_ms: self.clock.unix_ms(now_us),
            last_command: self.last_command,
            settings_version: self.settings.value.version,
            firmware: FIRMWARE,
            signal_csq: self.health.signal_csq,
            supply_mv: self.health.supply_mv,
            totals: self.told_totals(),
            faults: self.faults,
            locked: Some(self.lock.value),
            learned,
            diagnostics,
        };
        self.seal(Kind::Status, &status)
    }

    /// Totals as in flash, so that none is lower after a power cut. While flash fails, the counted totals are reported
    /// instead.
    fn told_totals(&self) -> Totals {
        if self.faults & faults::FLASH != 0 {
            return self.totals();
        }
        Totals {
            coin_pulses: self.coin_pulses_saved,
            credit_pulses: self.journal.credit_pulses_saved(),
            noise_edges: self.noise_saved,
        }
    }

    fn seal<T: Encode<()>>(&self, kind: Kind, message: &T) -> Payload {
        let mut payload = Payload::new();
        payload.resize_default(PAYLOAD_MAX_BYTES).expect("a payload's capacity is its greatest length");
        let length = seal(&self.key, &topic(self.id, kind), message, &mut payload)
            .expect("the longest status, ack and pulse fit a payload");
        payload.truncate(length);
        payload
    }
}
