//! A module with its physical surroundings: a flash chip, a crystal, a power supply, a coin acceptor in front of it and
//! a machine behind it that counts pulses. The module's logic is the real one.

use crate::{chance::Chance, flash::Flash};
use backend::modules::ModuleSettings;
use module_firmware::{
    Identity, Module, Outgoing, Outputs, StoreError, Write,
    journal::Journal,
    store::{Key, Store, VALUE_MAX_BYTES},
};
use protocol::limits::CREDIT_WINDOW;
use std::ops::RangeInclusive;

/// Most polls at one moment; beyond that the module counts as spinning.
const POLLS_MAX: u32 = 10_000;
/// A coin counted within a credit pulse may not be in flash when power goes: one for each cut. So may those that were
/// counted since flash was last at rest.
const COINS_IN_DOUBT_MAX: u64 = 1;
/// How long a write takes, in microseconds: most of them, and those that turn a page.
const WRITE_US: RangeInclusive<u64> = 0..=8_000;
const TURN_US: RangeInclusive<u64> = 25_000..=500_000;
/// So many writes turn a page, in percent.
const TURNS: u32 = 5;
/// A coin pulse has settled and is counted so long after its end, in microseconds.
pub const COIN_SEEN_AFTER_US: u64 = 12_000;
/// The line to the machine is at rest so long after the last coin, in microseconds.
const RELAYED_AFTER_US: u64 = 5_000_000;

/// Credit pulses that belong together: one execution of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulseTrain {
    /// The command's id, as the module journaled it before the first pulse.
    pub command: u64,
    /// Pulses the machine counted.
    pub pulses: u32,
    /// Power went while it was given.
    pub cut: bool,
}

/// Where a module's connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// No power, or no connection.
    Down,
    /// Connected; each connection has its number.
    Up(u64),
}

/// What polling a module led to.
#[derive(Debug, Default)]
pub struct Polled {
    /// Messages to publish.
    pub said: Vec<Outgoing>,
    /// When to poll again, in simulated microseconds.
    pub due_us: Option<u64>,
    /// A credit's first pulse began.
    pub credit_began: bool,
    /// Power went in a write to flash.
    pub cut: bool,
    /// The module asked for a restart.
    pub restart: bool,
}

/// Coins, as the acceptor knows them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coins {
    /// Pulses of coins that fell.
    pub fallen: u64,
    /// Pulses that a module with power saw whole, this boot.
    pub seen_boot: u64,
    /// Pulses relayed to the machine, this boot.
    pub relayed_boot: u64,
    /// The module's total when it booted.
    pub total_at_boot: u64,
    /// Pulses lost to power cuts, within the documented doubt.
    pub lost: u64,
    /// Pulses that ended so shortly before a power cut that the module may not have seen their end settle.
    pub doubtful: u64,
    settling: u64,
    /// Pulses seen since all that the module wanted written was.
    unwritten: u64,
}

/// A write to flash under way.
struct Writing {
    write: Write,
    /// How it ended, if flash has it already.
    outcome: Option<Result<(), StoreError>>,
    done_us: u64,
}

/// A module and what is around it.
pub struct Machine {
    /// Who it is.
    pub identity: Identity,
    /// Its memory.
    pub flash: Flash,
    /// Its logic, while it has power.
    pub module: Option<Module>,
    store: Option<Store<Flash>>,
    writing: Option<Writing>,
    /// How long writes take.
    chance: Chance,
    /// Its connection.
    pub link: Link,
    /// The will that the broker holds for it, and of which connection.
    pub will: Option<(u64, Vec<u8>)>,
    /// Power-ups so far: what was planned for an earlier one is void.
    pub powered: u64,
    /// Polls planned so far: only the last one counts.
    pub polls: u64,
    /// Credits as the machine counted them.
    pub pulse_trains: Vec<PulseTrain>,
    /// Coins as the acceptor knows them.
    pub coins: Coins,
    /// The coin line's level.
    pub coin_active: bool,
    /// The acceptor is busy with a coin until then.
    pub coin_busy_until_us: u64,
    /// What the operator last ordered of its lock.
    pub lock_ordered: bool,
    /// The server's store may have been restored to a time before it; then the module's own lock counts.
    pub lock_forgotten: bool,
    /// What the operator last ordered of its settings.
    pub settings_ordered: Option<ModuleSettings>,
    /// Whether each credit is given twice: for proving that the checkers see it.
    pub gives_twice: bool,
    /// Whether the machine misses the first pulse of each credit: for the same.
    pub misses_first: bool,
    train: Option<usize>,
    missing: bool,
    outputs: Outputs,
    ppm: i64,
    booted_us: u64,
    ahead_us: u64,
    /// The total when power went, and how much of it may not be in flash.
    total_before_cut: Option<(u64, u64)>,
}

impl Machine {
    /// A new module, without power.
    pub fn new(identity: Identity, ppm: i64, chance: Chance) -> Self {
        Self {
            identity,
            flash: Flash::blank(),
            module: None,
            store: None,
            writing: None,
            chance,
            link: Link::Down,
            will: None,
            powered: 0,
            polls: 0,
            pulse_trains: vec![],
            coins: Coins::default(),
            coin_active: false,
            coin_busy_until_us: 0,
            lock_ordered: false,
            lock_forgotten: false,
            settings_ordered: None,
            gives_twice: false,
            misses_first: false,
            train: None,
            missing: false,
            outputs: Outputs::default(),
            ppm,
            booted_us: 0,
            ahead_us: 0,
            total_before_cut: None,
        }
    }

    /// The module's uptime, by its own crystal.
    pub fn uptime_us(&self, now_us: u64) -> u64 {
        let since_us = i128::from(now_us.saturating_sub(self.booted_us));
        self.ahead_us + u64::try_from(since_us * i128::from(1_000_000 + self.ppm) / 1_000_000).unwrap_or(0)
    }

    /// The module's timer jumps ahead, where nothing is being measured by it; true if it did.
    pub fn jump_ahead(&mut self, now_us: u64, by_us: u64) -> bool {
        let idle =
            self.module.is_some() && !self.is_crediting() && now_us >= self.coin_busy_until_us + RELAYED_AFTER_US;
        self.ahead_us += if idle { by_us } else { 0 };
        idle
    }

    fn simulated_us(&self, uptime_us: u64) -> Option<u64> {
        let scaled = u128::from(uptime_us.saturating_sub(self.ahead_us)).checked_mul(1_000_000)?;
        let us = scaled.div_ceil(u128::from((1_000_000 + self.ppm).unsigned_abs()));
        // One more, so that rounding never polls a moment too early.
        u64::try_from(us).ok()?.checked_add(self.booted_us + 1)
    }

    /// Gives it power. An error if it starts with a coin total that it cannot have.
    pub async fn boot(&mut self, now_us: u64) -> Result<(), String> {
        self.powered += 1;
        (self.booted_us, self.ahead_us) = (now_us, 0);
        let mut store =
            Store::new(self.flash.clone()).map_err(|error| format!("the module refuses its flash: {error}"))?;
        let module = Module::boot(&mut store, &self.identity, !self.coin_active, 0).await;
        if self.flash.is_cut() {
            // Power was lost while it started.
            return Ok(());
        }
        let total = module.totals().coin_pulses;
        if let Some((before, in_doubt)) = self.total_before_cut.take() {
            if total > before || before - total > in_doubt {
                return Err(format!("coins: the total was {before} when power went and is {total} after"));
            }
            self.coins.lost += before - total;
        }
        (self.coins.total_at_boot, self.coins.seen_boot, self.coins.relayed_boot) = (total, 0, 0);
        (self.module, self.store) = (Some(module), Some(store));
        Ok(())
    }

    /// Cuts its power. The machine may or may not count a pulse that is being given.
    pub fn cut(&mut self, chance: &mut Chance) {
        let half_pulse = self.outputs.credit && chance.percent(50);
        if let Some(train) = self.train.take().and_then(|index| self.pulse_trains.get_mut(index)) {
            train.cut = true;
            train.pulses += u32::from(half_pulse);
        }
        let settling = std::mem::take(&mut self.coins.settling);
        self.coins.doubtful += settling;
        self.coin_active = false;
        let in_doubt = COINS_IN_DOUBT_MAX + settling + std::mem::take(&mut self.coins.unwritten);
        self.writing = None;
        if let Some(module) = self.module.take() {
            self.total_before_cut = Some((module.totals().coin_pulses, in_doubt));
        }
        self.store = None;
        self.outputs = Outputs::default();
        self.link = Link::Down;
        self.flash.mend();
    }

    /// Polls until nothing more is to do at this moment.
    pub async fn poll(&mut self, now_us: u64) -> Result<Polled, String> {
        let uptime_us = self.uptime_us(now_us);
        let mut polled = Polled::default();
        for _ in 0..POLLS_MAX {
            self.end_write(now_us).await;
            if self.flash.was_misused() {
                return Err("the firmware wrote a word of flash twice".into());
            }
            if self.flash.is_cut() {
                polled.cut = true;
                return Ok(polled);
            }
            let Some(module) = self.module.as_mut() else { return Ok(polled) };
            let deadline_us = module.poll(uptime_us);
            self.follow_outputs(uptime_us, &mut polled).await?;
            if deadline_us > uptime_us && !self.begin_write(now_us).await {
                let Some(module) = self.module.as_mut() else { return Ok(polled) };
                let said = polled.said.len();
                while let Some(outgoing) = module.outgoing(uptime_us) {
                    polled.said.push(outgoing);
                }
                if polled.said.len() == said {
                    polled.restart = module.wants_reboot(uptime_us);
                    let deadline_us = deadline_us.min(module.status_due_us().unwrap_or(u64::MAX));
                    if self.writing.is_none() && !self.outputs.coin && !self.outputs.credit {
                        self.coins.unwritten = 0;
                    }
                    let written_us = self.writing.as_ref().map(|writing| writing.done_us);
                    polled.due_us = self.simulated_us(deadline_us).into_iter().chain(written_us).min();
                    return Ok(polled);
                }
            }
        }
        Err("the module's polling does not come to rest".into())
    }

    /// Begins the write that the module wants; false if it wants none. Flash has it at once, or only at the end.
    async fn begin_write(&mut self, now_us: u64) -> bool {
        let uptime_us = self.uptime_us(now_us);
        let (Some(module), Some(store)) = (self.module.as_mut(), self.store.as_mut()) else { return false };
        let Some(write) = module.take_write(uptime_us) else { return false };
        let takes_us = if self.chance.percent(TURNS) { TURN_US } else { WRITE_US };
        let outcome = if self.chance.percent(50) { Some(write.carry_out(store).await) } else { None };
        let done_us = now_us + self.chance.between(takes_us);
        self.writing = Some(Writing { write, outcome, done_us });
        true
    }

    /// Ends the write under way, if it is time.
    async fn end_write(&mut self, now_us: u64) {
        let uptime_us = self.uptime_us(now_us);
        let (Some(module), Some(store)) = (self.module.as_mut(), self.store.as_mut()) else { return };
        let Some(Writing { write, outcome, .. }) = self.writing.take_if(|writing| now_us >= writing.done_us) else {
            return;
        };
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => write.carry_out(store).await,
        };
        if !self.flash.is_cut() {
            module.written(&write, outcome, uptime_us);
        }
    }

    async fn follow_outputs(&mut self, uptime_us: u64, polled: &mut Polled) -> Result<(), String> {
        let Some(module) = self.module.as_ref() else { return Ok(()) };
        let outputs = module.outputs(uptime_us);
        let crediting = module.is_crediting();
        if outputs.coin && outputs.credit {
            return Err("a coin pulse and a credit pulse touch".into());
        }
        if outputs.credit && !self.outputs.credit && self.train.is_none() {
            let command = self.credit_in_flash().await?;
            polled.credit_began = true;
            self.train = Some(self.pulse_trains.len());
            self.pulse_trains.push(PulseTrain { command, pulses: 0, cut: false });
            self.missing = self.misses_first;
        }
        if self.outputs.credit
            && !outputs.credit
            && let Some(train) = self.train.and_then(|index| self.pulse_trains.get_mut(index))
        {
            train.pulses += u32::from(!std::mem::take(&mut self.missing));
        }
        self.coins.relayed_boot += u64::from(self.outputs.coin && !outputs.coin);
        self.outputs = outputs;
        if !crediting
            && !outputs.credit
            && let Some(index) = self.train.take()
            && self.gives_twice
        {
            self.pulse_trains.push(self.pulse_trains[index].clone());
        }
        Ok(())
    }

    /// The command whose credit is journaled as being given: what a power cut at this moment would leave behind.
    async fn credit_in_flash(&self) -> Result<u64, String> {
        let damaged = |error| format!("flash cannot be read while a credit is given: {error}");
        let mut store = Store::new(self.flash.copy()).map_err(damaged)?;
        let mut journal = Journal::default();
        let mut value = [0; VALUE_MAX_BYTES];
        for slot in 0..u8::try_from(CREDIT_WINDOW).expect("a slot's number fits a byte") {
            if let Some(length) = store.read(Key::Credit(slot), &mut value).await.map_err(damaged)? {
                journal.restore(slot, &value[..length]);
            }
        }
        // Restoring settles what was being given, which flash does not have yet.
        let open: Vec<u64> = journal
            .records()
            .filter(|record| !journal.is_durable(record.sequence))
            .map(|record| record.command)
            .collect();
        match open[..] {
            [command] => Ok(command),
            _ => Err(format!("a credit pulse began with {} credits open in the journal", open.len())),
        }
    }

    /// The coin line changes its level. Only for a module with power: an acceptor without power takes no coins.
    /// `real` is false for pulses that no coin made.
    pub fn coin_edge(&mut self, now_us: u64, active: bool, real: bool) {
        let uptime_us = self.uptime_us(now_us);
        self.coin_active = active;
        if let Some(module) = self.module.as_mut() {
            module.on_edge(uptime_us, !active);
            self.coins.fallen += u64::from(real && !active);
            self.coins.settling += u64::from(real && !active);
        }
    }

    /// A pulse ended long enough ago for the module to have counted it.
    pub fn coin_seen(&mut self) -> Result<(), String> {
        let Some(module) = self.module.as_ref() else { return Ok(()) };
        self.coins.seen_boot += 1;
        self.coins.unwritten += 1;
        self.coins.settling = self.coins.settling.saturating_sub(1);
        let (total, expected) = (module.totals().coin_pulses, self.coins.total_at_boot + self.coins.seen_boot);
        if total == expected { Ok(()) } else { Err(format!("coins: {expected} pulses seen, {total} counted")) }
    }

    /// Whether every coin pulse that was counted since the module booted was relayed; asked of a line at rest only.
    pub fn check_relayed(&self, now_us: u64) -> Result<(), String> {
        let rests = now_us >= self.coin_busy_until_us + RELAYED_AFTER_US && self.module.is_some();
        let Coins { seen_boot, relayed_boot, .. } = self.coins;
        if rests && !self.is_crediting() && seen_boot != relayed_boot {
            return Err(format!("coins: {seen_boot} pulses seen since the module booted, {relayed_boot} relayed"));
        }
        Ok(())
    }

    /// Whether the module makes the acceptor return coins, if the acceptor obeys.
    pub fn is_inhibited(&self) -> bool {
        self.outputs.inhibit
    }

    /// Whether a credit is being given.
    pub fn is_crediting(&self) -> bool {
        self.train.is_some()
    }

    /// The module's coin total, as it is or as it was when power went.
    pub fn coin_total(&self) -> u64 {
        self.module
            .as_ref()
            .map_or(self.total_before_cut.map_or(0, |(total, _)| total), |module| module.totals().coin_pulses)
    }

    /// Credit pulses counted by the machine.
    pub fn credit_pulses(&self) -> u64 {
        self.pulse_trains.iter().map(|train| u64::from(train.pulses)).sum()
    }
}
