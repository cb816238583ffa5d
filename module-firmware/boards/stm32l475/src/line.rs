//! The board as the link's loop sees it.

use crate::{
    facts::{COIN_OUT, CREDIT_OUT, INHIBIT_OUT, LIGHT_OUT},
    inputs::{self, Source},
    legacy, time, watchdog,
};
use embassy_futures::select::select;
use embassy_time::{Instant, Timer};
use module_firmware::{
    Outputs,
    link::{Board, Input},
};

/// Pins and clock.
pub struct Line;

impl Line {
    /// Sets the output pins up, all at rest.
    pub fn new() -> Self {
        for pin in [COIN_OUT, CREDIT_OUT, INHIBIT_OUT, LIGHT_OUT] {
            pin.output_low();
        }
        Self
    }
}

impl Board for Line {
    fn now_us(&self) -> u64 {
        time::now_us()
    }

    fn apply(&mut self, outputs: Outputs) {
        COIN_OUT.set(outputs.coin);
        CREDIT_OUT.set(outputs.credit);
        INHIBIT_OUT.set(outputs.inhibit);
        LIGHT_OUT.set(outputs.locate);
    }

    fn take_input(&mut self) -> Option<Input> {
        loop {
            let edge = inputs::take()?;
            match edge.source {
                Source::Coin => return Some(Input::Edge { at_us: edge.at_us, level_high: edge.level_high }),
                Source::Sense => return Some(Input::Sense { running: !edge.level_high }),
                Source::Button => {}
            }
        }
    }

    async fn wait(&mut self, until_us: u64) {
        // The loop has come round: all inputs are taken, all that was due is done.
        watchdog::feed();
        legacy::note_uptime();
        let until_us = until_us.min(time::now_us().saturating_add(watchdog::ROUND_US));
        select(inputs::captured(), Timer::at(Instant::from_micros(until_us))).await;
    }
}
