//! Learning, in the core: a command or the button starts it, its steps are carried out, and its result goes to flash
//! and into the status.
//!
//! One value in flash has everything: the newest learn command, its progress, and the profile in force with the
//! settings it belongs to. So a stored profile is in force exactly until other settings are taken, and a power cut at
//! any write leaves either the state before or the state after. Learning does not survive a restart: it is then
//! `failed`, `restarted`.
//!
//! Test pulses are not credits: they are in no total and no journal and do not count for the cap per minute, and the
//! machine's reaction to them is never a fault. Their count is written before they are given. A credit that comes in
//! between goes first, and the test burst is then restarted.

pub(crate) mod state;

use crate::{
    button::Press,
    coinline::{
        learner::{Ask, Learner, Step},
        trial::Confirmer,
    },
    module::Module,
};
use protocol::{
    limits::LEARN_COINS_MIN,
    messages::{CoinProfile, Command, Learn, LearnFailure, Learned, Reason, Stage, faults},
};
use state::{AfterWrite, Record};

impl Module {
    /// The coin profile in force: the one learned last, if no settings came since then; otherwise that of the settings.
    pub fn profile(&self) -> CoinProfile {
        self.learning.profile(self.settings.sequence).unwrap_or(self.settings.value.profile)
    }

    /// Takes a learn command that is new and not expired.
    pub(crate) fn on_learn(&mut self, now_us: u64, command: &Command, learn: &Learn) {
        let refusal = match self.learn_obstacle(learn.confirm) {
            _ if !learn.is_valid() => Some(Reason::Invalid),
            _ if learn.is_cancel() => None,
            Some(LearnFailure::Locked) => Some(Reason::Locked),
            obstacle => obstacle.map(|_| Reason::Fault),
        };
        if let Some(reason) = refusal {
            return self.say(command.id, command.sequence, Stage::Failed, Some(reason), now_us);
        }
        if let Some((older, AfterWrite::Execute { command, .. })) = self.learning.staged.take() {
            self.say(command, older.sequence, Stage::Failed, Some(Reason::Superseded), now_us);
        }
        let ask = (!learn.is_cancel()).then(|| Ask {
            command: command.sequence,
            coins: learn.coins,
            confirmer: learn.confirm.then(|| self.confirmer()),
            test_pulses: learn.test_pulses,
        });
        let learned = match ask {
            Some(ask) => Some(self.fresh(ask, now_us).learned()),
            None => match self.learning.learner.as_ref() {
                Some(learner) => Some(learner.failed(LearnFailure::Cancelled)),
                None => self.learning.reported,
            },
        };
        let record = Record { sequence: command.sequence, learned, ..self.learning_record() };
        self.learning.staged = Some((record, AfterWrite::Execute { command: command.id, ask }));
    }

    /// Takes a press of the button.
    pub(crate) fn on_press(&mut self, press: Press, now_us: u64) {
        match (press, self.learning.learner.as_mut()) {
            (Press::Short, Some(learner)) => learner.pressed(now_us),
            (Press::Short, None) => {}
            (Press::Long, Some(_)) => self.fail_learning(LearnFailure::Cancelled, now_us),
            // A command on its way to flash goes first.
            (Press::Long, None) if self.learning.staged.is_some() => {}
            (Press::Long, None) => {
                let confirmer = Some(self.confirmer());
                let ask = Ask { command: 0, coins: LEARN_COINS_MIN, confirmer, test_pulses: 0 };
                let learned = Some(self.fresh(ask, now_us).learned());
                let record = Record { learned, ..self.learning_record() };
                self.learning.staged = Some((record, AfterWrite::Begin(ask)));
            }
        }
    }

    fn confirmer(&self) -> Confirmer {
        if self.settings.value.sense { Confirmer::Sense } else { Confirmer::Person }
    }

    fn fresh(&self, ask: Ask, now_us: u64) -> Learner {
        Learner::new(ask, &self.profile(), self.coins.level_high(), self.sense_active, now_us)
    }

    /// The record as it stands, with no profile that other settings replaced.
    fn learning_record(&self) -> Record {
        let profile = self.learning.profile(self.settings.sequence);
        let sequence = self.learning.record.map_or(0, |record| record.sequence);
        Record { sequence, settings: self.settings.sequence, profile, learned: None }
    }

    /// Why learning cannot continue. Faults that learning may repair (a wrongly read line, a silent machine) are no
    /// obstacle.
    fn learn_obstacle(&self, tries_pulses: bool) -> Option<LearnFailure> {
        if tries_pulses && self.lock.value {
            Some(LearnFailure::Locked)
        } else if self.faults & (faults::FLASH | faults::SUPPLY_LOW) != 0 {
            Some(LearnFailure::Fault)
        } else {
            None
        }
    }

    /// Continues learning; true if something changed and the caller must poll again at once.
    pub(crate) fn advance_learning(&mut self, now_us: u64) -> bool {
        if self.learning.staged.is_some() {
            return false;
        }
        let free = self.driver.is_none()
            && self.waiting.is_empty()
            && self.reboot_at_us.is_none()
            && self.coins.is_free(now_us);
        let Some(learner) = self.learning.learner.as_mut() else { return false };
        let confirming = learner.is_confirming();
        let step = learner.step(free, now_us);
        let learned = learner.learned();
        if let Some(failure) = self.learn_obstacle(confirming) {
            self.fail_learning(failure, now_us);
            return true;
        }
        match step {
            Step::Wait => {}
            Step::Line(profile) => self.coins.set_profile(&profile, now_us),
            Step::Save => {
                let record = Record { learned: Some(learned), ..self.learning_record() };
                self.learning.staged = Some((record, AfterWrite::Try));
            }
            Step::Pulse { width_ms, gap_ms } => self.coins.give_test_pulse(width_ms, gap_ms, now_us),
            Step::Stored(profile) => self.store_learned(profile),
            Step::Failed(failure) => self.fail_learning(failure, now_us),
        }
        if step == Step::Wait {
            // Coins are reported as they come, and pairs as they are tried; bounce and noise alone are not reported.
            let progress = |l: &Learned| (l.stage, l.coins, l.profile, l.test_pulses);
            if self.learning.reported.as_ref().map(progress) != Some(progress(&learned)) {
                self.tell_learned(learned);
            }
        }
        step != Step::Wait
    }

    fn store_learned(&mut self, profile: CoinProfile) {
        let Some(learner) = self.learning.learner.as_ref() else { return };
        let learned = Some(learner.stored(&profile));
        let record = Record { profile: Some(profile), learned, ..self.learning_record() };
        self.learning.staged = Some((record, AfterWrite::End));
    }

    /// Ends a learning without result; the profile from before is in force again at once.
    pub(crate) fn fail_learning(&mut self, failure: LearnFailure, now_us: u64) {
        let Some(learner) = self.learning.learner.take() else { return };
        let learned = learner.failed(failure);
        let record = Record { learned: Some(learned), ..self.learning_record() };
        // A command that waits for flash has its own record, and goes first.
        if !self.learning.is_pending() {
            self.learning.staged = Some((record, AfterWrite::End));
        }
        self.end_learning(learned, now_us);
    }

    fn end_learning(&mut self, learned: Learned, now_us: u64) {
        self.learning.learner = None;
        self.learning.ended_us = Some(now_us);
        self.coins.set_profile(&self.profile(), now_us);
        self.tell_learned(learned);
    }

    fn tell_learned(&mut self, learned: Learned) {
        if self.learning.reported != Some(learned) {
            self.learning.reported = Some(learned);
            self.learning.unreported = true;
            self.report.state_changed = true;
        }
    }

    /// A record is in flash.
    pub(crate) fn learning_written(&mut self, bytes: &[u8], now_us: u64) {
        let written = |staged: &mut (Record, AfterWrite)| staged.0.to_bytes().is_some_and(|staged| staged == bytes);
        // Another record replaced it in the meantime, and is written next.
        let Some((record, then)) = self.learning.staged.take_if(written) else { return };
        self.learning.record = Some(record);
        let ask = match then {
            AfterWrite::Execute { command, ask } => {
                self.say(command, record.sequence, Stage::Done, None, now_us);
                ask
            }
            AfterWrite::Begin(ask) => Some(ask),
            AfterWrite::Try => {
                if let Some(learner) = self.learning.learner.as_mut() {
                    learner.saved();
                }
                return;
            }
            AfterWrite::End => None,
        };
        match (ask, record.learned) {
            (Some(ask), _) => {
                self.learning.ended_us = None;
                self.coins.set_profile(&self.profile(), now_us);
                let learner = self.fresh(ask, now_us);
                self.tell_learned(learner.learned());
                self.learning.learner = Some(learner);
            }
            (None, Some(learned)) if self.learning.learner.is_some() => self.end_learning(learned, now_us),
            (None, _) => {}
        }
    }

    /// The record could not be written.
    pub(crate) fn learning_unwritten(&mut self, now_us: u64) {
        let Some((record, then)) = self.learning.staged.take() else { return };
        if let AfterWrite::Execute { command, .. } = then {
            self.say(command, record.sequence, Stage::Failed, Some(Reason::Flash), now_us);
        }
        if let Some(learner) = self.learning.learner.as_ref() {
            let learned = learner.failed(LearnFailure::Flash);
            self.end_learning(learned, now_us);
        }
    }
}
