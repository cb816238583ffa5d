//! Facts of the board: processor, clocks, pins, flash. docs/MODULE.md says the same to whoever wires it.
//!
//! The board is ST's B-L475E-IOT01A (STM32L475VG); "D3" and the like are its Arduino headers. All outputs are on port B,
//! so that an emulator which watches one port sees them all.

use crate::pins::{Pin, Port};

/// What the board is called where the firmware tells of itself.
pub const NAME: &str = "stm32l475";
/// Core clock in MHz: HSI16 without a PLL. It is accurate to 1 %, and needs no flash wait states.
pub const CORE_MHZ: u32 = 16;
/// Speed of both serial lines, 8 data bits, no parity, one stop bit.
pub const BAUD: u32 = 115_200;

/// Coin acceptor, D3: high at rest by the pull-up, pulled low by a pulse (or the reverse, by the profile). EXTI0.
pub const COIN: Pin = Pin { port: Port::B, number: 0 };
/// The machine's "running", D15: pulled low while it runs. EXTI8.
pub const SENSE: Pin = Pin { port: Port::B, number: 8 };
/// The blue button: low while pressed; the board pulls it up. EXTI13.
pub const BUTTON: Pin = Pin { port: Port::C, number: 13 };

/// Coin pulses to the machine, D6, high while active.
pub const COIN_OUT: Pin = Pin { port: Port::B, number: 1 };
/// Credit pulses to the machine, D8, high while active.
pub const CREDIT_OUT: Pin = Pin { port: Port::B, number: 2 };
/// Inhibit to the acceptor, D14, high while coins shall not be accepted.
pub const INHIBIT_OUT: Pin = Pin { port: Port::B, number: 9 };
/// The light: the board's green LED 2, high while lit.
pub const LIGHT_OUT: Pin = Pin { port: Port::B, number: 14 };

/// The modem's power key through a transistor, D7: high pulls the key.
pub const MODEM_POWER_KEY: Pin = Pin { port: Port::A, number: 4 };
/// The modem's reset through a transistor, D4: high resets.
pub const MODEM_RESET: Pin = Pin { port: Port::A, number: 3 };
/// UART4 to the modem: TX, D1, to its RXD; RX, D0, from its TXD; alternate function 8.
pub const MODEM_TX: Pin = Pin { port: Port::A, number: 0 };
/// See [`MODEM_TX`].
pub const MODEM_RX: Pin = Pin { port: Port::A, number: 1 };
/// UART4's RTS, D9, to the modem's RTS: high holds the modem back. Its CTS pin is taken by the console.
pub const MODEM_RTS: Pin = Pin { port: Port::A, number: 15 };
/// Alternate function of the modem's pins.
pub const MODEM_AF: u8 = 8;

/// The supply through a divider, A0.
pub const SUPPLY_SENSE: Pin = Pin { port: Port::C, number: 5 };
/// The ADC's channel at that pin.
pub const SUPPLY_CHANNEL: u8 = 14;
/// The divider: 100 kiloohms to the supply, 10 to ground.
pub const SUPPLY_DIVIDER: u32 = 11;
/// The ADC's reference in millivolts: the board's 3.3 V.
pub const VDDA_MV: u32 = 3_300;
/// Less than this, in millivolts, is no supply but a pin without a divider.
pub const SUPPLY_PRESENT_MV: u16 = 2_000;
/// A 12 V supply below this, in millivolts, is too low for acceptor and relays,
pub const SUPPLY_LOW_MV: u16 = 9_000;
/// and above this, in millivolts, it is well again.
pub const SUPPLY_OK_MV: u16 = 9_500;

/// USART1 to the board's ST-Link, which shows it as a USB serial port; alternate function 7.
pub const CONSOLE_TX: Pin = Pin { port: Port::B, number: 6 };
/// See [`CONSOLE_TX`].
pub const CONSOLE_RX: Pin = Pin { port: Port::B, number: 7 };
/// Alternate function of the console's pins.
pub const CONSOLE_AF: u8 = 7;

/// Bytes of a flash page.
pub const PAGE_BYTES: u32 = 2048;
/// The bank that the processor does not run from is always seen here, whichever it is (an update over the air swaps
/// them); the one it runs from is seen at 0x0800_0000.
pub const OTHER_BANK_START: u32 = 0x0808_0000;
/// Pages of a bank.
pub const BANK_PAGES: u32 = 256;
/// Pages set apart for an image, at the beginning of each bank: 192 KB. The image runs from one, an update over the
/// air is written to the other.
pub const IMAGE_PAGES: u32 = 96;
/// First of the pages that hold identity and server, in the other bank, so that the processor goes on while they are
/// written. The same pages of the running bank are kept free: an update moves the data when it swaps the banks.
pub const PROVISION_PAGE: u32 = IMAGE_PAGES;
/// Pages that hold identity and server.
pub const PROVISION_PAGES: u32 = 2;
/// First of the pages that hold settings, totals and journal, in the other bank.
pub const STORE_PAGE: u32 = PROVISION_PAGE + PROVISION_PAGES;
/// Pages that hold settings, totals and journal: for ten years at 500 events a day (docs/MODULE.md, "Flash").
pub const STORE_PAGES: u32 = 32;

/// SRAM2, which keeps its content over a reset.
pub const SRAM2_START: u32 = 0x1000_0000;
/// In an emulator, which has no flash that can be written, pages are here instead, provision first, fewer of the others.
pub const EMULATED_STORE_PAGES: u32 = 12;
/// What is told from one boot to the next, behind the emulated pages.
pub const BOOT_RECORD_START: u32 = SRAM2_START + 15 * PAGE_BYTES;

const _: () = assert!(
    PROVISION_PAGES + EMULATED_STORE_PAGES <= 15,
    "the emulated pages end before what is told to the next boot"
);
const _: () = assert!(STORE_PAGE + STORE_PAGES <= BANK_PAGES, "the data fits its bank");
