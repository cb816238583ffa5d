//! The core: all decisions of a module, without its own clock, network or pins.

use crate::{
    budget::Budget,
    button::Button,
    clock::{AHEAD_MAX_MS, Clock},
    coinline::{
        CoinLine,
        driver::Driver,
        learner::Learner,
        relay::{OWED_INHIBIT, RelayEvent},
    },
    journal::Journal,
    learning::state::Learning,
    light::{self, LightSignal},
    outbox::{Counted, Outbox},
    settings::Set,
    store::Store,
};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Deque;
use protocol::{
    MessageKey, ModuleId, ModuleSecret,
    limits::CREDITS_WAITING_MAX,
    messages::{Learned, Mark, Panic, ResetCause, Settings, Totals, faults},
    topics::{self, Kind, Topic},
};

/// After flash failed it is tried again this much later, in microseconds.
pub const FLASH_RETRY_US: u64 = 5_000_000;
/// A restart waits this long at most for its answer to be heard, in microseconds.
pub const REBOOT_WAIT_MAX_US: u64 = 10_000_000;

/// The sense input counts once it stood still for so long, in microseconds.
pub const SENSE_SETTLE_US: u64 = 20_000;

/// The module's identity, as provisioned.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its id.
    pub id: ModuleId,
    /// Its secret.
    pub secret: ModuleSecret,
}

/// What the board measures besides the coin line, and what its modem reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Signal as CSQ (3GPP TS 27.007), if a modem says so.
    pub signal_csq: Option<u8>,
    /// Supply voltage in millivolts, if measured.
    pub supply_mv: Option<u16>,
    /// Whether the supply is too low to drive pulses.
    pub supply_low: bool,
    /// Times that the modem was started anew since boot: it restarted by itself, or its power was cycled.
    pub modem_restarts: u16,
    /// Commands that the modem did not answer in time, since boot.
    pub modem_timeouts: u16,
    /// Commands that the modem answered with an error, since boot.
    pub modem_errors: u16,
    /// Bytes from the modem that could not be understood, since boot.
    pub modem_garbage_bytes: u32,
    /// Connections to the server that were lost, since boot.
    pub links_lost: u16,
    /// Edges of the coin line that found the capture queue full, since boot.
    pub edges_lost: u32,
}

/// What the board knows about its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BootReport {
    /// Why it started, if the processor says so.
    pub reset_cause: Option<ResetCause>,
    /// The last panic on record.
    pub panic: Option<Panic>,
    /// How long the previous boot ran, in seconds, if recorded.
    pub uptime_before_s: Option<u32>,
}

impl BootReport {
    /// Whether the module restarted while its supply stayed on, so that an acceptor on the same supply did not restart.
    fn kept_power(&self) -> bool {
        match self.reset_cause {
            Some(ResetCause::ResetPin | ResetCause::Software | ResetCause::Watchdog | ResetCause::Panic) => true,
            // If nothing is known, the acceptor may have started too.
            Some(ResetCause::PowerOn | ResetCause::BrownOut | ResetCause::Other | ResetCause::Unknown(_)) | None => {
                false
            }
        }
    }
}

/// The output pins. `coin` and `credit` are never active together nor without a gap between, so that a board may tie
/// them to one coin input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs {
    /// A coin pulse to the machine.
    pub coin: bool,
    /// A credit pulse to the machine.
    pub credit: bool,
    /// Coins must not be accepted for now.
    pub inhibit: bool,
    /// The light is lit: see [`crate::light`].
    pub light: bool,
}

/// Counters for diagnosis, since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Payloads with a wrong tag.
    pub bad_tags: u32,
    /// Payloads too short, too long, or authentic but not a command; and messages on a foreign topic.
    pub bad_payloads: u32,
    /// Writes to flash.
    pub flash_writes: u32,
    /// Writes to flash that failed.
    pub flash_failures: u32,
    /// Credits that a cap refused or kept waiting.
    pub credits_capped: u32,
}

/// A credit that waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The command's id.
    pub(crate) command: u64,
    /// The command's sequence.
    pub(crate) sequence: u32,
    /// Pulses to give.
    pub(crate) pulses: u16,
    /// Must not begin after this unix time, in milliseconds.
    pub(crate) expires_ms: u64,
    /// The cap per minute kept it waiting.
    pub(crate) held: bool,
}

/// Changes that a command asked for and that wait to be written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pending {
    pub(crate) settings: Option<(u64, Set<Settings>)>,
    /// Settings that no command asked for.
    pub(crate) local_settings: Option<Settings>,
    pub(crate) lock: Option<(u64, Set<bool>)>,
    pub(crate) reboot: Option<(u64, u32)>,
}

/// A module's whole state. See the crate's documentation for how to drive it.
pub struct Module {
    pub(crate) id: ModuleId,
    pub(crate) key: MessageKey,
    pub(crate) command_topic: Topic,
    pub(crate) boot: u32,
    pub(crate) boot_dirty: bool,
    pub(crate) clock: Clock,
    /// Credits issued before this unix time are refused, since a credit that this flash forgot may have been given. 0
    /// if not known.
    pub(crate) remembers_since_ms: u64,
    pub(crate) remembers_since_dirty: bool,
    pub(crate) settings: Set<Settings>,
    pub(crate) lock: Set<bool>,
    pub(crate) reboot_sequence: u32,
    pub(crate) pending: Pending,
    pub(crate) journal: Journal,
    pub(crate) waiting: Deque<Waiting, CREDITS_WAITING_MAX>,
    pub(crate) driver: Option<Driver>,
    pub(crate) coins: CoinLine,
    pub(crate) coin_pulses: u64,
    pub(crate) noise_before: u64,
    pub(crate) coins_dirty: bool,
    /// The totals as in flash. Only durable totals are reported, so that no total ever falls.
    pub(crate) coin_pulses_saved: u64,
    pub(crate) noise_saved: u64,
    pub(crate) outbox: Outbox,
    pub(crate) report: Report,
    pub(crate) faults: u32,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    pub(crate) last_command: u32,
    pub(crate) flash_retry_us: u64,
    /// The flash could not be read: nothing is written until the next boot.
    pub(crate) flash_lost: bool,
    /// A write was taken and its end is not known yet.
    pub(crate) writing: bool,
    pub(crate) sense_active: bool,
    /// Since when the sense input says otherwise.
    sense_changed_us: Option<u64>,
    pub(crate) boot_report: BootReport,
    pub(crate) budget: Budget,
    pub(crate) learning: Learning,
    button: Button,
    pub(crate) locate_until_us: u64,
    pub(crate) reboot_at_us: Option<u64>,
}

/// The state of the module's reports.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Report {
    pub(crate) connected: bool,
    pub(crate) session: u32,
    pub(crate) status_sequence: u32,
    pub(crate) pulse_sequence: u32,
    pub(crate) status_us: Option<u64>,
    /// A state changed (faults, lock, settings) that the last status does not have.
    pub(crate) state_changed: bool,
    /// A total changed that the last status does not have.
    pub(crate) totals_changed: bool,
    /// Diagnostics were asked for and not acknowledged yet.
    pub(crate) diagnose: bool,
    /// What the status on its way carries in addition.
    pub(crate) reporting: Option<Detail>,
}

/// Additional content of a status; a payload has room for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    Learned(Learned),
    Diagnostics,
}

impl Module {
    /// Starts a module: counts the boot, and takes up what the flash remembers. `now_us` is the uptime,
    /// `coin_level_high` the coin line's present level.
    ///
    /// For the time to settle that the settings give, what the coin line does counts as noise: see
    /// [`Module::set_boot_report`].
    ///
    /// Flash that fails or makes no sense is a fault of the running module: coins are still relayed, credits are refused.
    pub async fn boot<F: NorFlash>(
        store: &mut Store<F>,
        identity: &Identity,
        coin_level_high: bool,
        now_us: u64,
    ) -> Self {
        let settings = Set::<Settings>::default();
        let mut module = Self {
            id: identity.id,
            key: identity.secret.message_key(identity.id),
            command_topic: topics::topic(identity.id, Kind::Command),
            boot: 0,
            boot_dirty: false,
            clock: Clock::default(),
            remembers_since_ms: 0,
            remembers_since_dirty: false,
            coins: CoinLine::new(&settings.value.profile, settings.value.settle_us(), coin_level_high, now_us),
            settings,
            lock: Set::default(),
            reboot_sequence: 0,
            pending: Pending::default(),
            journal: Journal::default(),
            waiting: Deque::new(),
            driver: None,
            coin_pulses: 0,
            noise_before: 0,
            coins_dirty: false,
            coin_pulses_saved: 0,
            noise_saved: 0,
            outbox: Outbox::default(),
            report: Report::default(),
            faults: 0,
            health: Health::default(),
            counters: Counters::default(),
            last_command: 0,
            flash_retry_us: 0,
            flash_lost: false,
            writing: false,
            sense_active: false,
            sense_changed_us: None,
            boot_report: BootReport::default(),
            budget: Budget::default(),
            learning: Learning::default(),
            button: Button::default(),
            locate_until_us: 0,
            reboot_at_us: None,
        };
        module.load(store, now_us).await;
        module
    }

    /// Takes an edge of the coin line, captured at uptime `at_us`. Hand in all edges up to a time before polling at it.
    pub fn on_edge(&mut self, at_us: u64, level_high: bool) {
        if let Some(learner) = self.learning.learner_mut() {
            learner.edge(at_us, level_high);
        }
        self.coins.edge(at_us, level_high);
        self.count_coins();
    }

    /// Takes a change of the sense input: `running` while the machine runs. It counts once it is stable for
    /// [`SENSE_SETTLE_US`], so that a spike is ignored.
    pub fn on_sense(&mut self, now_us: u64, running: bool) {
        self.sense_changed_us = (running != self.sense_active).then_some(now_us);
    }

    fn advance_sense(&mut self, now_us: u64) {
        if self.sense_due_us().is_none_or(|due_us| now_us < due_us) {
            return;
        }
        self.sense_changed_us = None;
        self.sense_active = !self.sense_active;
        let running = self.sense_active;
        if let Some(learner) = self.learning.learner_mut() {
            learner.sense(running);
        }
        if running {
            if let Some(driver) = self.driver.as_mut() {
                driver.sensed();
            }
            self.set_fault(faults::MACHINE_SILENT, false);
        }
    }

    fn sense_due_us(&self) -> Option<u64> {
        self.sense_changed_us.map(|at_us| at_us + SENSE_SETTLE_US)
    }

    /// Takes a change of the button.
    pub fn on_button(&mut self, now_us: u64, pressed: bool) {
        if let Some(press) = self.button.change(pressed, now_us) {
            self.on_press(press, now_us);
        }
    }

    /// Takes what the board knows about its start, for diagnostics; hand it in before the first edge. If the supply
    /// stayed on, so did the acceptor's: then there is no settling time, and the first coin counts.
    pub fn set_boot_report(&mut self, report: BootReport) {
        self.boot_report = report;
        if report.kept_power() {
            self.coins.skip_settling();
        }
    }

    /// Takes what the board measured.
    pub fn set_health(&mut self, health: Health) {
        self.health = health;
        self.set_fault(faults::SUPPLY_LOW, health.supply_low);
    }

    /// Advances everything to uptime `now_us`: pulses, waiting credits. Gives the uptime at which to call again at the
    /// latest.
    ///
    /// Apply [`Module::outputs`] after each call; when the answer is not after `now_us`, read the clock and call again at
    /// once. Otherwise carry out the write that [`Module::take_write`] gives, if any, and go on calling meanwhile.
    pub fn poll(&mut self, now_us: u64) -> u64 {
        let before = self.outputs(now_us);
        let event = self.coins.advance(now_us);
        self.count_coins();
        if event == Some(RelayEvent::CreditPulse) {
            self.credit_pulse_given(now_us);
        }
        if let Some(press) = self.button.advance(now_us) {
            self.on_press(press, now_us);
        }
        self.advance_sense(now_us);
        self.watch_line();
        if self.outputs(now_us) != before {
            return now_us;
        }
        // Pending data is written before anything new is begun.
        let writes = self.writing || self.wants_write(now_us);
        if !writes && self.advance_credits(now_us) {
            return now_us;
        }
        self.next_deadline_us(now_us, writes)
    }

    /// The output pins at uptime `now_us`.
    pub fn outputs(&self, now_us: u64) -> Outputs {
        let relay = self.coins.relay();
        Outputs {
            coin: relay.coin_active(),
            credit: relay.credit_active(),
            inhibit: self.inhibits(relay.owed()),
            light: self.sign(now_us).at(now_us).0,
        }
    }

    /// Whether the acceptor must accept no coins, because the machine would not get them, or they would not be read.
    /// Never because of the network, the lock or the flash; then coins still work.
    fn inhibits(&self, owed: u16) -> bool {
        owed >= OWED_INHIBIT
            || self.coins.is_settling()
            || self.faults & (faults::COIN_LINE_STUCK | faults::SUPPLY_LOW) != 0
            || self.reboot_at_us.is_some()
            || self.learning.learner().is_some_and(Learner::wants_rest)
    }

    /// What the light shows at uptime `now_us`.
    pub fn sign(&self, now_us: u64) -> LightSignal {
        if now_us < self.locate_until_us {
            return LightSignal::Locate;
        }
        if let Some(learner) = self.learning.learner() {
            return match learner {
                learner if learner.wants_rest() => LightSignal::LearnQuiet,
                learner if learner.is_busy() => LightSignal::LearnBusy,
                learner if learner.is_confirming() => LightSignal::LearnPress,
                _ => LightSignal::LearnCoin,
            };
        }
        if let Some((stored, _)) = self.learning.shown(now_us) {
            return if stored { LightSignal::LearnStored } else { LightSignal::LearnFailed };
        }
        if let Some(flashes) = light::fault_flashes(self.faults) {
            LightSignal::Fault(flashes)
        } else if self.driver.is_some() {
            LightSignal::Crediting
        } else if self.lock.value {
            LightSignal::Locked
        } else if !self.report.connected {
            LightSignal::NoNetwork
        } else {
            LightSignal::AllWell
        }
    }

    /// Whether the board shall restart now: a restart was commanded, its answer heard and the coin line quiet, or both
    /// waited for long enough.
    pub fn wants_reboot(&self, now_us: u64) -> bool {
        let ready = !self.outbox.has_acks() && self.coins.is_free(now_us);
        self.reboot_at_us.is_some_and(|at_us| now_us >= at_us || ready) && self.driver.is_none() && !self.writing
    }

    /// Whether a write was taken and has not ended.
    pub fn is_writing(&self) -> bool {
        self.writing
    }

    /// Running totals as counted; the reported totals are those in flash.
    pub fn totals(&self) -> Totals {
        Totals {
            coin_pulses: self.coin_pulses,
            credit_pulses: self.journal.credit_pulses(),
            noise_edges: self.noise_before.saturating_add(self.coins.noise_edges()),
        }
    }

    /// Fault bits, as in a status.
    pub fn faults(&self) -> u32 {
        self.faults
    }

    /// Whether the module is locked.
    pub fn is_locked(&self) -> bool {
        self.lock.value
    }

    /// Settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings.value
    }

    /// Boots counted in flash, this one included; 0 if flash failed.
    pub fn boots(&self) -> u32 {
        self.boot
    }

    /// Whether a credit is being given.
    pub fn is_crediting(&self) -> bool {
        self.driver.is_some()
    }

    /// Whether a credit pulse could start now: no coin is coming in, passed or owed.
    pub fn is_line_quiet(&self, now_us: u64) -> bool {
        self.coins.is_free(now_us)
    }

    /// Unix time in milliseconds, once known.
    pub fn unix_ms(&self, now_us: u64) -> Option<u64> {
        self.clock.unix_ms(now_us)
    }

    /// Counters for diagnosis.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The module's id.
    pub fn id(&self) -> ModuleId {
        self.id
    }

    /// The topic the module listens to.
    pub fn command_topic(&self) -> &str {
        &self.command_topic
    }

    pub(crate) fn set_fault(&mut self, fault: u32, present: bool) {
        let faults = if present { self.faults | fault } else { self.faults & !fault };
        self.report.state_changed |= faults != self.faults;
        self.faults = faults;
    }

    pub(crate) fn mark(&self, sequence: u32) -> Mark {
        Mark { boot: self.boot, session: self.report.session, sequence }
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
        let Some(boot_ms) = clock.unix_ms(0) else { return };
        // Nothing was forgotten since this boot began; a later start of memory comes from a clock that ran ahead.
        if self.remembers_since_ms == 0 || self.remembers_since_ms > boot_ms.saturating_add(AHEAD_MAX_MS) {
            self.remembers_since_ms = boot_ms;
            self.remembers_since_dirty = true;
        }
    }

    fn count_coins(&mut self) {
        let counted = self.coins.take_counted();
        if counted > 0 {
            self.coin_pulses = self.coin_pulses.saturating_add(u64::from(counted));
            self.coins_dirty = true;
            if let Some(learner) = self.learning.learner_mut() {
                learner.interrupt();
            }
        }
        while let Some(burst) = self.coins.take_burst() {
            self.outbox.count(Counted { burst, total: self.coin_pulses });
        }
    }

    fn watch_line(&mut self) {
        let stuck = self.coins.is_stuck();
        self.set_fault(faults::COIN_LINE_STUCK, stuck);
    }

    fn next_deadline_us(&self, now_us: u64, writes: bool) -> u64 {
        let flash = (self.may_write() && self.next_write().is_some()).then_some(self.flash_retry_us);
        let locate = (now_us < self.locate_until_us).then_some(self.locate_until_us);
        let reboot = self.reboot_at_us.filter(|at_us| *at_us > now_us);
        let shown = self.learning.shown(now_us).map(|(_, until_us)| until_us);
        let light = self.sign(now_us).at(now_us).1;
        let button = self.button.deadline_us();
        let sense = self.sense_due_us();
        let line = self.coins.deadline_us(now_us);
        let credits = if writes { None } else { self.credits_due_us(now_us) };
        [flash, locate, reboot, shown, light, button, sense, line, credits]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(u64::MAX)
            .max(now_us + 1)
    }
}
