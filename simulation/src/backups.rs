//! Copies of the store, taken at any moment and put back at any later one, as when a disk died. Provider and modules go on
//! with what they know.

use crate::{
    chance::Chance,
    world::{Checked, Event, World},
};
use backend::modules::ModuleSettings;
use failing_disk::{After, Disk};

/// Longest time the server is down while a copy is put back, in microseconds.
const DOWN_MAX_US: u64 = 60_000_000;

/// What the operator had ordered of a machine when the copy was taken.
#[derive(Clone, Copy)]
struct Ordered {
    settings: Option<ModuleSettings>,
}

/// The copies of a run.
#[derive(Default)]
pub(crate) struct Backups {
    taken: Option<(Disk, Vec<Ordered>)>,
    /// Copies put back so far.
    pub restored: u32,
}

impl World {
    /// Plans when copies are taken and put back: in most seeds never.
    pub fn plan_backups(&mut self, chance: &mut Chance) {
        self.fault_rates.restores = chance.pick(&[0, 0, 0, 1, 1, 2]);
        let busy_us = self.options.busy_ms * 1000;
        for _ in 0..self.fault_rates.restores {
            let taken_us = chance.between(0..=busy_us);
            // Minutes old, or a moment.
            let age_us = chance.pick(&[3_000_000, 60_000_000, busy_us]);
            self.plan(taken_us, Event::Copy);
            self.plan(chance.between(taken_us..=busy_us.min(taken_us + age_us)), Event::Restore);
        }
    }

    /// The store as it is now is kept.
    pub fn copy(&mut self) {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("store: copied"));
        let ordered = self.machines.iter().map(|machine| Ordered { settings: machine.settings_ordered }).collect();
        self.backups.taken = Some((self.disk.copy(), ordered));
    }

    /// The server is stopped, the copy takes the store's place, and the server comes up again.
    pub async fn restore(&mut self) -> Checked {
        if self.faults_stopped_us.is_some() {
            return Ok(());
        }
        let Some((copy, ordered)) = &self.backups.taken else { return Ok(()) };
        let (copy, ordered) = (copy.after(After::Kill), ordered.clone());
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("store: put back from the copy"));
        self.server.calls.clear();
        let was_up = self.server.stop();
        self.use_disk(copy).await?;
        for (machine, ordered) in self.machines.iter_mut().zip(ordered) {
            machine.settings_ordered = ordered.settings;
            machine.lock_forgotten = true;
        }
        self.provider_books().forget();
        self.checker.forget_history();
        self.backups.restored += 1;
        if was_up {
            let after_us = self.net.between(100_000..=DOWN_MAX_US);
            self.plan_in(after_us, Event::ServerUp);
        }
        Ok(())
    }
}
