//! Switching a modem on and off, by its PWRKEY and, where it is wired, its reset.

use super::family::PowerTimes;
use embassy_time::Timer;
use embedded_hal::digital::{OutputPin, PinState};

/// A reset is held so long, in milliseconds: all families take it (SIM800 105 ms, A7670 2.5 s, Quectel 100 to 460 ms).
const RESET_MS: u64 = 2_600;

/// The pins that switch a modem. A PWRKEY toggles: held long enough it switches off what is on, and on what is off.
#[derive(Debug)]
pub struct Power<K, R = K> {
    key: K,
    key_held: PinState,
    reset: Option<(R, PinState)>,
}

impl<K: OutputPin> Power<K> {
    /// `held` is the level at which the PWRKEY is held: high where a transistor pulls it down.
    pub fn new(key: K, held: PinState) -> Self {
        Self { key, key_held: held, reset: None }
    }
}

impl<K: OutputPin, R: OutputPin> Power<K, R> {
    /// With a reset pin too; `held` is the level at which the modem is in reset.
    pub fn with_reset(key: K, key_held: PinState, reset: R, reset_held: PinState) -> Self {
        Self { key, key_held, reset: Some((reset, reset_held)) }
    }

    /// Holds the PWRKEY long enough to switch on.
    pub(super) async fn on(&mut self, times: &PowerTimes) {
        hold(&mut self.key, self.key_held, times.on_ms.into()).await;
    }

    /// Holds the PWRKEY long enough to switch off, and waits until it is.
    pub(super) async fn off(&mut self, times: &PowerTimes) {
        hold(&mut self.key, self.key_held, times.off_ms.into()).await;
        Timer::after_millis(times.down_ms.into()).await;
    }

    /// Resets the modem; false if no such pin is wired.
    pub(super) async fn reset(&mut self, times: &PowerTimes) -> bool {
        let Some((pin, held)) = &mut self.reset else { return false };
        hold(pin, *held, RESET_MS.min(times.off_ms.into())).await;
        true
    }
}

/// A pin that cannot be set is no reason to stop: the modem shows whether it worked.
async fn hold<P: OutputPin>(pin: &mut P, held: PinState, hold_ms: u64) {
    let _ = pin.set_state(held);
    Timer::after_millis(hold_ms).await;
    let _ = pin.set_state(!held);
}
