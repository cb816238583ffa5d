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
/// The provider's daily bill, which names every payment, is read so long after all was healed, in microseconds.
const BILL_AFTER_US: u64 = 30_000_000;

/// What the operator had ordered of a machine when the copy was taken.
#[derive(Clone, Copy)]
struct Ordered {
    settings: Option<ModuleSettings>,
}

/// The copies of a run.
#[derive(Default)]
pub(crate) struct Copies {
    taken: Option<(Disk, Vec<Ordered>)>,
    /// Copies put back so far.
    pub put_back: u32,
    /// The bill is still to be read.
    pub bill_due: bool,
}

impl World {
    /// Plans when copies are taken and put back: in most seeds never.
    pub fn plan_store_copies(&mut self, chance: &mut Chance) {
        self.weather.put_backs = chance.pick(&[0, 0, 0, 1, 1, 2]);
        let busy_us = self.options.busy_ms * 1000;
        for _ in 0..self.weather.put_backs {
            let taken_us = chance.between(0..=busy_us);
            // Minutes old, or a moment.
            let age_us = chance.pick(&[3_000_000, 60_000_000, busy_us]);
            self.plan(taken_us, Event::Copy);
            self.plan(chance.between(taken_us..=busy_us.min(taken_us + age_us)), Event::PutBack);
        }
    }

    /// The store as it is now is kept.
    pub fn copy(&mut self) {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("store: copied"));
        let ordered = self.machines.iter().map(|machine| Ordered { settings: machine.settings_ordered }).collect();
        self.copies.taken = Some((self.disk.copy(), ordered));
    }

    /// The server is stopped, the copy takes the store's place, and the server comes up again.
    pub async fn put_back(&mut self) -> Checked {
        if self.healed_us.is_some() {
            return Ok(());
        }
        let Some((copy, ordered)) = &self.copies.taken else { return Ok(()) };
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
        self.till().forget_refunds();
        self.checker.start_anew();
        self.copies.put_back += 1;
        self.copies.bill_due = true;
        if was_up {
            let after_us = self.net.between(100_000..=DOWN_MAX_US);
            self.plan_in(after_us, Event::ServerUp);
        }
        Ok(())
    }

    /// Once nothing fails any more, the bill is read.
    pub fn plan_bill(&mut self) {
        if self.copies.bill_due {
            self.plan_in(BILL_AFTER_US, Event::Bill);
        }
    }

    /// The provider tells of every payment once more, as its bill does.
    pub fn read_bill(&mut self) {
        let now_us = self.time.now_us();
        self.trace.note(now_us, format_args!("provider: the bill"));
        self.till().tell_all_payments();
        self.copies.bill_due = false;
    }
}
