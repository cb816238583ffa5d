//! The module's firmware on this machine: a virtual module over TCP, with flash in memory or a file, pins that are
//! variables, and a simulated machine that counts the pulses it gets.
//!
//! What it is not: another implementation. The logic and the loop are `module-firmware`'s; only board, flash and
//! dialling are of this machine. Thousands run in one process.
//!
//! Enter at [`VirtualModule`].
//!
//! Invariant: a power cut may strike at any await; what flash was told before it stays told.
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
