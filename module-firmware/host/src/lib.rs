//! The module's firmware on this machine: a virtual module over TCP, with flash in memory or a file, pins that are
//! variables, and a simulated machine that counts the pulses it gets.
//!
//! It is not another implementation. The logic and the loop are those of `module-firmware`; only board, flash and
//! dialling are specific to this computer. Thousands run in one process.
//!
//! Enter at [`VirtualModule`].
//!
//! Invariant: a power cut may happen at any await; what was written to flash before it is kept.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod board;
mod flash;
mod machine;
mod time;
mod virtual_module;

pub use flash::{Chip, Flash, FlashError};
pub use virtual_module::{BUTTON_LONG, Config, Snapshot, VirtualModule};

/// A module that learns tries its pulses until the machine gives so many credits of so many.
pub use module_firmware::coinline::trial::TIMES as TRIAL_CREDITS;
