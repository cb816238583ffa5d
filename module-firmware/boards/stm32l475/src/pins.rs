//! Pins: plain data, with embedded-hal's traits.

use core::convert::Infallible;
use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use stm32_metapac::{
    GPIOA, GPIOB, GPIOC,
    gpio::{
        Gpio,
        regs::Bsrr,
        vals::{Idr, Moder, Ospeedr, Pupdr},
    },
};

/// The ports used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// GPIOA.
    A,
    /// GPIOB.
    B,
    /// GPIOC.
    C,
}

impl Port {
    /// As SYSCFG_EXTICR numbers them.
    pub fn index(self) -> u8 {
        match self {
            Port::A => 0,
            Port::B => 1,
            Port::C => 2,
        }
    }

    fn registers(self) -> Gpio {
        match self {
            Port::A => GPIOA,
            Port::B => GPIOB,
            Port::C => GPIOC,
        }
    }
}

/// A pin of the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Its port.
    pub port: Port,
    /// Its number, 0 to 15.
    pub number: u8,
}

impl Pin {
    fn n(self) -> usize {
        usize::from(self.number) % 16
    }

    fn mode(self, mode: Moder, pull: Pupdr) {
        critical_section::with(|_| {
            self.port.registers().pupdr().modify(|w| w.set_pupdr(self.n(), pull));
            self.port.registers().moder().modify(|w| w.set_moder(self.n(), mode));
        });
    }

    /// Makes it an input that is pulled up.
    pub fn input_pulled_up(self) {
        self.mode(Moder::INPUT, Pupdr::PULL_UP);
    }

    /// Makes it an input that is pulled down.
    pub fn input_pulled_down(self) {
        self.mode(Moder::INPUT, Pupdr::PULL_DOWN);
    }

    /// Makes it an input of the ADC.
    pub fn analog(self) {
        self.mode(Moder::ANALOG, Pupdr::FLOATING);
        critical_section::with(|_| self.port.registers().ascr().modify(|w| w.set_asc(self.n(), true)));
    }

    /// Makes it an output, low from the first moment.
    pub fn output_low(self) {
        self.set(false);
        self.mode(Moder::OUTPUT, Pupdr::FLOATING);
    }

    /// Hands it to a peripheral; a pulled-up input of one reads rest while nothing is wired.
    pub fn alternate(self, function: u8, pulled_up: bool) {
        critical_section::with(|_| {
            self.port.registers().afr(self.n() / 8).modify(|w| w.set_afr(self.n() % 8, function));
            self.port.registers().ospeedr().modify(|w| w.set_ospeedr(self.n(), Ospeedr::MEDIUM_SPEED));
        });
        self.mode(Moder::ALTERNATE, if pulled_up { Pupdr::PULL_UP } else { Pupdr::FLOATING });
    }

    /// Sets an output.
    pub fn set(self, high: bool) {
        let mut bits = Bsrr(0);
        match high {
            true => bits.set_bs(self.n(), true),
            false => bits.set_br(self.n(), true),
        }
        self.port.registers().bsrr().write_value(bits);
    }

    /// Reads an input.
    pub fn high(self) -> bool {
        self.port.registers().idr().read().idr(self.n()) == Idr::HIGH
    }
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(self.high())
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(!self.high())
    }
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.set(false);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.set(true);
        Ok(())
    }
}
