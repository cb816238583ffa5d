//! Credits, one after another: the next waiting credit is opened, given pulse by pulse, and settled.

use crate::{
    coinline::{
        driver::{Driver, Step},
        learner::Learner,
    },
    journal::Outcome,
    module::Module,
};
use protocol::messages::{Reason, faults};

impl Module {
    /// Why no credit can be given now, apart from a full queue.
    pub(crate) fn credit_blocker(&self) -> Option<Reason> {
        if self.lock.value {
            Some(Reason::Locked)
        } else if self.faults & faults::BLOCKING != 0 {
            Some(Reason::Fault)
        } else {
            None
        }
    }

    pub(crate) fn credit_pulse_given(&mut self, now_us: u64) {
        if let Some(driver) = self.driver.as_mut() {
            driver.pulse_given(now_us);
            self.journal.pulse_given(driver.sequence(), now_us);
        } else if let Some(learner) = self.learning.learner_mut() {
            learner.pulse_given();
        }
    }

    /// Continues the credits; true if something changed and the caller must poll again at once.
    pub(crate) fn advance_credits(&mut self, now_us: u64) -> bool {
        let Some(driver) = self.driver.as_mut() else {
            return self.next_credit(now_us) || self.advance_learning(now_us);
        };
        // Nothing is judged before the pulse in progress is given and counted.
        if self.coins.relay().credit_active() {
            return false;
        }
        if self.sense_active {
            driver.sensed();
        }
        let driver = *driver;
        let sequence = driver.sequence();
        if !self.journal.is_durable(sequence) {
            // If flash fails, the credit cannot be journaled and is not given. `write_next` sets the fault and tries
            // again.
            if self.faults & faults::FLASH != 0 {
                self.end_credit(sequence, Outcome::Failed(Reason::Flash), now_us);
                return true;
            }
            return false;
        }
        match driver.step(self.coins.is_free(now_us), now_us) {
            Step::Wait { .. } => false,
            Step::Pulse => {
                self.coins.give_credit_pulse(now_us);
                true
            }
            Step::Done => {
                self.end_credit(sequence, Outcome::Done, now_us);
                true
            }
            Step::Silent => {
                self.set_fault(faults::MACHINE_SILENT, true);
                self.end_credit(sequence, Outcome::Failed(Reason::MachineSilent), now_us);
                true
            }
            Step::Stalled => {
                self.end_credit(sequence, Outcome::Failed(Reason::Fault), now_us);
                true
            }
        }
    }

    fn end_credit(&mut self, sequence: u32, outcome: Outcome, now_us: u64) {
        self.journal.close(sequence, outcome, now_us);
        self.driver = None;
    }

    /// Opens the next waiting credit, or settles it if it cannot be given any more.
    fn next_credit(&mut self, now_us: u64) -> bool {
        let Some(next) = self.waiting.front().copied() else { return false };
        let refusal = if self.clock.unix_ms(now_us).is_none_or(|unix_ms| unix_ms > next.expires_ms) {
            Some(Outcome::Expired)
        } else {
            self.credit_blocker().map(Outcome::Failed)
        };
        let outcome = match refusal {
            Some(refusal) => refusal,
            None if self.reboot_at_us.is_some() || !self.coins.is_free(now_us) => return false,
            None if !self.budget.has_room(next.pulses, self.settings.value.credit_pulses_per_minute(), now_us) => {
                self.defer_credit();
                return false;
            }
            None => Outcome::Started,
        };
        self.waiting.pop_front();
        let opened = self.journal.open(next.command, next.sequence, outcome, now_us);
        if opened && outcome == Outcome::Started {
            let sense = self.settings.value.sense;
            self.driver = Some(Driver::new(next.sequence, next.pulses, sense, now_us));
            self.budget.spend(next.pulses, now_us);
            if let Some(learner) = self.learning.learner_mut() {
                learner.interrupt();
            }
        }
        true
    }

    /// The cap per minute keeps the next credit waiting.
    fn defer_credit(&mut self) {
        if let Some(next) = self.waiting.front_mut().filter(|next| !next.held) {
            next.held = true;
            self.counters.credits_capped = self.counters.credits_capped.saturating_add(1);
        }
    }

    /// When credits or learning continue.
    pub(crate) fn credits_due_us(&self, now_us: u64) -> Option<u64> {
        let stepping = self.driver.as_ref().filter(|driver| self.journal.is_durable(driver.sequence()));
        let credit = stepping.and_then(|driver| match driver.step(false, now_us) {
            Step::Wait { until_us } => Some(until_us),
            Step::Pulse | Step::Done | Step::Silent | Step::Stalled => None,
        });
        let expiry = self.waiting.front().and_then(|next| {
            let unix_ms = self.clock.unix_ms(now_us)?;
            Some(now_us.saturating_add(next.expires_ms.saturating_sub(unix_ms).saturating_add(1).saturating_mul(1000)))
        });
        let held = self.waiting.front().filter(|next| next.held).map(|_| self.budget.next_us(now_us));
        let learning = self.learning.learner().map(Learner::deadline_us);
        [credit, expiry, held, learning].into_iter().flatten().min()
    }
}
