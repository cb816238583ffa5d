//! The supply, measured by the ADC through a divider. An emulator has no ADC: there nothing is measured.

use crate::{
    facts::{SUPPLY_CHANNEL, SUPPLY_DIVIDER, SUPPLY_LOW_MV, SUPPLY_OK_MV, SUPPLY_PRESENT_MV, SUPPLY_SENSE, VDDA_MV},
    start,
};
use cortex_m::asm;
use stm32_metapac::{ADC1, ADC123_COMMON, RCC, adc::vals::SampleTime};

/// Cycles to discharge the pin in, and to let the divider charge it again: 100 us and 20 us.
const DISCHARGE_CYCLES: u32 = 1_600;
const CHARGE_CYCLES: u32 = 320;
/// Cycles for the ADC's regulator to start: 20 us.
const REGULATOR_CYCLES: u32 = 320;
/// Looks at a flag of the ADC before it counts as broken; a calibration takes some 2,000 cycles, a conversion 700.
const LOOKS: u32 = 10_000;
const FULL_SCALE: u32 = 4_095;
const ONE_TO_ONE_CLOCK: u8 = 0b01;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// Millivolts of the supply, if the divider is wired.
    pub supply_mv: Option<u16>,
    /// Whether that is too low to drive pulses.
    pub low: bool,
}

/// The supply's meter.
pub struct Supply {
    works: bool,
    low: bool,
}

fn until(done: impl Fn() -> bool) -> bool {
    (0..LOOKS).any(|_| done())
}

impl Supply {
    /// Starts and calibrates the ADC.
    pub fn new() -> Self {
        Self { works: !start::emulated() && start_adc(), low: false }
    }

    /// Measures; takes 0.2 ms.
    pub fn measure(&mut self) -> Reading {
        if !self.works {
            return Reading::default();
        }
        // A pin that nothing is wired to keeps what it had: emptied before, it reads next to nothing.
        SUPPLY_SENSE.input_pulled_down();
        asm::delay(DISCHARGE_CYCLES);
        SUPPLY_SENSE.analog();
        asm::delay(CHARGE_CYCLES);
        ADC1.isr().modify(|w| w.set_eoc(true));
        ADC1.cr().modify(|w| w.set_adstart(true));
        if !until(|| ADC1.isr().read().eoc()) {
            return Reading::default();
        }
        let reading = u32::from(ADC1.dr().read().regular_data());
        let supply_mv = u16::try_from(reading * VDDA_MV * SUPPLY_DIVIDER / FULL_SCALE).unwrap_or(u16::MAX);
        if supply_mv < SUPPLY_PRESENT_MV {
            self.low = false;
            return Reading::default();
        }
        self.low = supply_mv < if self.low { SUPPLY_OK_MV } else { SUPPLY_LOW_MV };
        Reading { supply_mv: Some(supply_mv), low: self.low }
    }
}

fn start_adc() -> bool {
    RCC.ahb2enr().modify(|w| w.set_adcen(true));
    ADC123_COMMON.ccr().modify(|w| w.set_ckmode(ONE_TO_ONE_CLOCK));
    ADC1.cr().modify(|w| w.set_deeppwd(false));
    ADC1.cr().modify(|w| w.set_advregen(true));
    asm::delay(REGULATOR_CYCLES);
    ADC1.cr().modify(|w| w.set_adcal(true));
    if !until(|| !ADC1.cr().read().adcal()) {
        return false;
    }
    // Four cycles of the ADC must pass after a calibration.
    asm::delay(16);
    ADC1.isr().modify(|w| w.set_adrdy(true));
    ADC1.cr().modify(|w| w.set_aden(true));
    if !until(|| ADC1.isr().read().adrdy()) {
        return false;
    }
    ADC1.sqr1().modify(|w| {
        w.set_l(0);
        w.set_sq(0, SUPPLY_CHANNEL);
    });
    let channel = usize::from(SUPPLY_CHANNEL);
    ADC1.smpr(channel / 10).modify(|w| w.set_smp(channel % 10, SampleTime::CYCLES640_5));
    true
}
