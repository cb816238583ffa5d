//! What the module remembers over power cuts: reading it at boot, and writing it afterwards, one value at a time.

use crate::{
    journal::Journal,
    learning::state::Learning,
    module::{FLASH_RETRY_US, Module, REBOOT_WAIT_MAX_US},
    provision::start_over,
    settings::{Bytes, Set},
    store::{Key, Store, StoreError, VALUE_MAX_BYTES},
};
use embedded_storage_async::nor_flash::NorFlash;
use protocol::{
    limits::CREDIT_WINDOW,
    messages::{LearnFailure, Reason, Settings, Stage, faults},
};

fn u32_of(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn bytes_of(bytes: &[u8]) -> Option<Bytes> {
    Bytes::from_slice(bytes).ok()
}

/// A value to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    key: Key,
    bytes: Bytes,
}

impl Write {
    /// Writes it; durable once this returns.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn carry_out<F: NorFlash>(&self, store: &mut Store<F>) -> Result<(), StoreError> {
        store.write(self.key, &self.bytes).await
    }
}

impl Module {
    /// Reads the flash at boot. Content that is invalid even after repair is erased: the module then continues without
    /// memory, and refuses the credits that it may have forgotten (see `remembers_since_ms`). Flash that cannot be read
    /// at all is not written, and is a fault until the next boot.
    pub(crate) async fn load<F: NorFlash>(&mut self, store: &mut Store<F>, now_us: u64) {
        let mut outcome = self.restore(store).await;
        if outcome == Err(StoreError::Damaged) {
            outcome = start_over(store, self.id).await;
            (self.settings, self.lock, self.reboot_sequence) = (Set::default(), Set::default(), 0);
            self.journal = Journal::default();
            (self.boot, self.coin_pulses, self.noise_before, self.remembers_since_ms) = (0, 0, 0, 0);
            (self.coin_pulses_saved, self.noise_saved) = (0, 0);
            self.learning = Learning::default();
        }
        // Last, because which of the two profiles is in force depends on settings and learning.
        self.coins.set_settle_us(self.settings.value.settle_us());
        self.coins.set_profile(&self.profile(), now_us);
        if outcome.is_err() {
            self.flash_lost = true;
            self.set_fault(faults::FLASH, true);
            return;
        }
        self.boot = self.boot.saturating_add(1);
        self.boot_dirty = true;
        let mut rest = true;
        while rest && self.boot_dirty && self.faults & faults::FLASH == 0 {
            rest = self.write_next(store, now_us).await;
        }
        let states = [self.settings.sequence, self.lock.sequence, self.reboot_sequence, self.learning.newest()];
        let newest = states.into_iter().chain([self.journal.highest()]);
        self.last_command = newest.max().unwrap_or(0);
    }

    async fn restore<F: NorFlash>(&mut self, store: &mut Store<F>) -> Result<(), StoreError> {
        let states = [Key::Boot, Key::Coins, Key::Settings, Key::Lock, Key::Reboot, Key::RemembersSince, Key::Learning];
        let mut value = [0; VALUE_MAX_BYTES];
        for key in states.into_iter().chain((0..CREDIT_WINDOW as u8).map(Key::Credit)) {
            if let Some(length) = store.read(key, &mut value).await? {
                self.restore_value(key, value.get(..length).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Restores a value; an invalid one counts as none.
    fn restore_value(&mut self, key: Key, bytes: &[u8]) {
        match key {
            Key::Boot => self.boot = u32_of(bytes).unwrap_or(0),
            Key::Coins => {
                if let Some((coins, noise)) = bytes.split_at_checked(8) {
                    self.coin_pulses = u64_of(coins).unwrap_or(0);
                    self.noise_before = u64_of(noise).unwrap_or(0);
                    (self.coin_pulses_saved, self.noise_saved) = (self.coin_pulses, self.noise_before);
                }
            }
            Key::Settings => self.settings = Set::<Settings>::from_bytes(bytes).unwrap_or(self.settings),
            Key::Lock => self.lock = Set::<bool>::from_bytes(bytes).unwrap_or(self.lock),
            Key::Reboot => self.reboot_sequence = u32_of(bytes).unwrap_or(0),
            Key::RemembersSince => self.remembers_since_ms = u64_of(bytes).unwrap_or(0),
            Key::Learning => self.learning.restore(bytes),
            Key::Credit(slot) => self.journal.restore(slot, bytes),
            // Taken up by `provision` alone.
            Key::Owner | Key::Identity | Key::Server | Key::Access => {}
        }
    }

    /// Whether a write may begin: one at a time, and never while an output is active, so that a weak supply has only
    /// one load at a time.
    pub(crate) fn may_write(&self) -> bool {
        let relay = self.coins.relay();
        !self.flash_lost && !self.writing && !relay.coin_active() && !relay.credit_active()
    }

    /// The next value to write, the most urgent first: the boot count, a credit waiting for its first pulse or noting
    /// its last, coins, outcomes, states.
    pub(crate) fn next_write(&self) -> Option<(Key, Bytes)> {
        if self.boot_dirty {
            return Some((Key::Boot, bytes_of(&self.boot.to_le_bytes())?));
        }
        let credit = self.journal.unwritten();
        if let Some((slot, bytes)) = credit.filter(|_| self.driver.is_some() || !self.coins_dirty) {
            return Some((Key::Credit(slot), bytes_of(&bytes)?));
        }
        if self.coins_dirty {
            let mut bytes = bytes_of(&self.coin_pulses.to_le_bytes())?;
            bytes.extend_from_slice(&self.totals().noise_edges.to_le_bytes()).ok()?;
            return Some((Key::Coins, bytes));
        }
        if let Some(settings) = self.pending_settings() {
            return Some((Key::Settings, settings.to_bytes()?));
        }
        if let Some((_, lock)) = self.pending.lock {
            return Some((Key::Lock, lock.to_bytes()));
        }
        if let Some((_, sequence)) = self.pending.reboot {
            return Some((Key::Reboot, bytes_of(&sequence.to_le_bytes())?));
        }
        if let Some(bytes) = self.learning.unwritten() {
            return Some((Key::Learning, bytes));
        }
        self.remembers_since_dirty.then_some((Key::RemembersSince, bytes_of(&self.remembers_since_ms.to_le_bytes())?))
    }

    /// Whether there is something to write, and it may begin.
    pub(crate) fn wants_write(&self, now_us: u64) -> bool {
        self.may_write() && now_us >= self.flash_retry_us && self.next_write().is_some()
    }

    /// The next value to write, if there is one and it may begin. Tell how it ended by [`Module::written`]; everything else
    /// may be called meanwhile.
    pub fn take_write(&mut self, now_us: u64) -> Option<Write> {
        if !self.may_write() || now_us < self.flash_retry_us {
            return None;
        }
        let (key, bytes) = self.next_write()?;
        self.writing = true;
        self.counters.flash_writes = self.counters.flash_writes.saturating_add(1);
        Some(Write { key, bytes })
    }

    /// Takes how a write ended, and calls for [`Module::poll`].
    pub fn written(&mut self, write: &Write, outcome: Result<(), StoreError>, now_us: u64) {
        self.writing = false;
        match outcome {
            Ok(()) => {
                self.set_fault(faults::FLASH, false);
                self.note_written(write.key, &write.bytes, now_us);
            }
            Err(_) => {
                self.counters.flash_failures = self.counters.flash_failures.saturating_add(1);
                self.flash_retry_us = now_us.saturating_add(FLASH_RETRY_US);
                self.set_fault(faults::FLASH, true);
                self.refuse_pending(now_us);
                // Keep something to write for the next try, or the fault would never clear.
                self.coins_dirty = true;
            }
        }
    }

    /// Takes the next write and carries it out, for callers with nothing else to do in the meantime; true if there was
    /// one.
    pub async fn write_next<F: NorFlash>(&mut self, store: &mut Store<F>, now_us: u64) -> bool {
        let Some(write) = self.take_write(now_us) else { return false };
        let outcome = write.carry_out(store).await;
        self.written(&write, outcome, now_us);
        true
    }

    /// A value is in flash. Later requests still have to be written.
    fn note_written(&mut self, key: Key, bytes: &Bytes, now_us: u64) {
        match key {
            Key::Boot => self.boot_dirty = false,
            Key::Coins => {
                if let Some((coins, noise)) = bytes.split_at_checked(8) {
                    self.report.totals_changed |= u64_of(coins) != Some(self.coin_pulses_saved);
                    self.coin_pulses_saved = u64_of(coins).unwrap_or(self.coin_pulses_saved);
                    self.noise_saved = u64_of(noise).unwrap_or(self.noise_saved);
                    self.coins_dirty = self.coin_pulses_saved != self.coin_pulses;
                }
            }
            Key::RemembersSince => self.remembers_since_dirty = false,
            Key::Learning => self.learning_written(bytes, now_us),
            // Written by `provision` alone.
            Key::Owner | Key::Identity | Key::Server | Key::Access => {}
            Key::Credit(slot) => {
                if let Ok(bytes) = bytes.as_slice().try_into() {
                    let before = self.journal.credit_pulses_saved();
                    self.journal.written(slot, bytes);
                    self.report.totals_changed |= self.journal.credit_pulses_saved() != before;
                }
            }
            Key::Settings => {
                if let Some(settings) = Set::<Settings>::from_bytes(bytes) {
                    self.settings_written(settings, now_us);
                }
            }
            Key::Lock => {
                if let Some(lock) = Set::<bool>::from_bytes(bytes) {
                    self.report.state_changed |= self.lock.value != lock.value;
                    self.lock = lock;
                    self.set_fault(faults::MACHINE_SILENT, false);
                    if let Some((command, _)) = self.pending.lock.take_if(|(_, set)| *set == lock) {
                        self.say(command, lock.sequence, Stage::Done, None, now_us);
                    }
                }
            }
            Key::Reboot => {
                self.reboot_sequence = u32_of(bytes).unwrap_or(self.reboot_sequence);
                let written = self.reboot_sequence;
                if let Some((command, sequence)) = self.pending.reboot.take_if(|(_, sequence)| *sequence == written) {
                    self.reboot_at_us = Some(now_us.saturating_add(REBOOT_WAIT_MAX_US));
                    self.say(command, sequence, Stage::Done, None, now_us);
                }
            }
        }
    }

    fn settings_written(&mut self, settings: Set<Settings>, now_us: u64) {
        self.apply_settings(settings, now_us);
        self.pending.local_settings.take_if(|local| *local == settings.value);
        if let Some((command, _)) = self.pending.settings.take_if(|(_, set)| *set == settings) {
            // The server's, if both waited.
            self.pending.local_settings = None;
            self.say(command, settings.sequence, Stage::Done, None, now_us);
        }
    }

    /// Settings to write. Settings given at the board have no place in the order of commands.
    fn pending_settings(&self) -> Option<Set<Settings>> {
        let local = self.pending.local_settings.map(|value| Set { sequence: self.settings.sequence, value });
        self.pending.settings.map(|(_, settings)| settings).or(local)
    }

    fn apply_settings(&mut self, settings: Set<Settings>, now_us: u64) {
        let before = self.profile();
        self.settings = settings;
        self.coins.set_settle_us(self.settings.value.settle_us());
        if self.learning.learner().is_some() {
            self.fail_learning(LearnFailure::Settings, now_us);
        } else if self.profile() != before {
            self.coins.set_profile(&self.profile(), now_us);
        }
        self.report.state_changed = true;
        self.set_fault(faults::MACHINE_SILENT, false);
    }

    fn refuse_pending(&mut self, now_us: u64) {
        let settings = self.pending.settings.take().map(|(command, set)| (command, set.sequence));
        let lock = self.pending.lock.take().map(|(command, set)| (command, set.sequence));
        let reboot = self.pending.reboot.take();
        self.pending.local_settings = None;
        self.learning_unwritten(now_us);
        for (command, sequence) in [settings, lock, reboot].into_iter().flatten() {
            self.say(command, sequence, Stage::Failed, Some(Reason::Flash), now_us);
        }
    }
}
