//! The independent watchdog: resets the processor when the loop does not come round. Once started it cannot be stopped.

use stm32_metapac::{
    IWDG,
    iwdg::vals::{Key, Pr},
};

/// The loop comes round at least this often, in microseconds.
pub const ROUND_US: u64 = 4_000_000;
/// Ticks of 256/32,000 s, the clock being off by up to 15 %: 16 s, a modest multiple of a round.
const RELOAD: u16 = 2_000;

/// Starts it. An emulator ignores it.
pub fn start() {
    IWDG.kr().write(|w| w.set_key(Key::START));
    IWDG.kr().write(|w| w.set_key(Key::ENABLE));
    IWDG.pr().write(|w| w.set_pr(Pr::DIVIDE_BY256));
    IWDG.rlr().write(|w| w.set_rl(RELOAD));
    feed();
}

/// Puts it off. Called by the one loop when it has done a round, and by nobody else.
pub fn feed() {
    IWDG.kr().write(|w| w.set_key(Key::RESET));
}
