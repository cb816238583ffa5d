//! The board as the link's loop sees it.

use crate::{
    boot_record,
    facts::{self, COIN_OUT, CREDIT_OUT, INHIBIT_OUT, LIGHT_OUT},
    flash,
    inputs::{self, Source},
    start,
    supply::{Reading, Supply},
    time, uart, watchdog,
};
use embassy_futures::select::select4;
use embassy_time::{Instant, Timer};
use module_firmware::{
    Health, Outputs,
    console::ConsoleMailbox,
    link::{Board, Input},
    modem::Modem,
};
use protocol::console::{Hardware, Info};

/// A change of the supply by less than this, in millivolts, is not reported.
const SUPPLY_STEP_MV: u16 = 250;

/// Pins, clock and what comes in from beside the coin line.
pub struct Line<'a> {
    mailbox: &'a ConsoleMailbox,
    modem: &'a Modem,
    supply: Supply,
    /// What the core was last told.
    reading: Reading,
    edges_lost: u32,
    /// Edges lost when the levels were last looked at.
    edges_missed: u32,
    measure_us: u64,
}

/// Sets the output pins up, all at rest.
pub fn rest() {
    for pin in [COIN_OUT, CREDIT_OUT, INHIBIT_OUT, LIGHT_OUT] {
        pin.output_low();
    }
}

impl<'a> Line<'a> {
    /// To be made once.
    pub fn new(mailbox: &'a ConsoleMailbox, modem: &'a Modem) -> Self {
        Self {
            mailbox,
            modem,
            supply: Supply::new(),
            reading: Reading::default(),
            edges_lost: 0,
            edges_missed: 0,
            measure_us: 0,
        }
    }

    /// The health, if there is news of it.
    fn news(&mut self) -> Option<Health> {
        let modem = self.modem.take_health();
        let now_us = time::now_us();
        let mut reading = self.reading;
        if now_us >= self.measure_us {
            self.measure_us = now_us.saturating_add(watchdog::ROUND_US);
            reading = self.supply.measure();
        }
        let moved = match (reading.supply_mv, self.reading.supply_mv) {
            (Some(now), Some(before)) => now.abs_diff(before) >= SUPPLY_STEP_MV,
            (now, before) => now != before,
        };
        let edges_lost = inputs::lost();
        if modem.is_none() && !moved && reading.low == self.reading.low && edges_lost == self.edges_lost {
            return None;
        }
        (self.reading, self.edges_lost) = (reading, edges_lost);
        let modem = self.modem.health();
        Some(Health { supply_mv: reading.supply_mv, supply_low: reading.low || modem.supply_low, edges_lost, ..modem })
    }
}

impl Board for Line<'_> {
    fn now_us(&self) -> u64 {
        time::now_us()
    }

    fn apply(&mut self, outputs: Outputs) {
        COIN_OUT.set(outputs.coin);
        CREDIT_OUT.set(outputs.credit);
        INHIBIT_OUT.set(outputs.inhibit);
        LIGHT_OUT.set(outputs.light);
    }

    fn take_input(&mut self) -> Option<Input> {
        let mut edge = inputs::take();
        // Once all that was captured is taken: what was lost may have been a line's last edge.
        if edge.is_none() && inputs::lost() != self.edges_missed {
            self.edges_missed = inputs::lost();
            inputs::look();
            edge = inputs::take();
        }
        if let Some(edge) = edge {
            return Some(match edge.source {
                Source::Coin => Input::Edge { at_us: edge.at_us, level_high: edge.level_high },
                // Both pull their line low.
                Source::Sense => Input::Sense { running: !edge.level_high },
                Source::Button => Input::Button { pressed: !edge.level_high },
            });
        }
        self.news().map(Input::Health).or_else(|| self.mailbox.take_input())
    }

    fn tell(&mut self, info: &Info<'static>) {
        let hardware = Hardware {
            emulated: start::emulated(),
            stack_unused_bytes: start::stack_unused_bytes(),
            flash_bad_words: flash::bad_words(),
            modem_overruns: uart::MODEM.overruns(),
            console_overruns: uart::CONSOLE.overruns(),
            ..info.hardware
        };
        self.mailbox.tell(&Info { board: facts::NAME, hardware, ..*info });
    }

    async fn wait(&mut self, until_us: u64) {
        // The loop has come round: all inputs are taken, all that was due is done.
        watchdog::feed();
        boot_record::note_uptime();
        let until_us = until_us.min(time::now_us().saturating_add(watchdog::ROUND_US));
        let due = Timer::at(Instant::from_micros(until_us));
        select4(inputs::captured(), due, self.modem.health_changed(), self.mailbox.asked()).await;
    }
}
