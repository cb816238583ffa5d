//! The rig: runs the module's image in QEMU, exactly as it would run on its board, with a simulated modem that dials a
//! real broker.
//!
//! What it is: [`qemu`] starts the machine and [`qtest`] reaches its pins and memory; [`modem`] is the modem at the other
//! end of its UART, with faults by plan; [`pulses`] reads what the output pins said. What it is not: a place for
//! decisions of the module, or for exact timing, which is tested on the host with a clock of its own. The tests are in
//! `tests/rig`, and `cargo xtask rig` runs them.
//!
//! What the emulator lacks is said in `docs/MODULE.md`: no watchdog, no reset cause, no flash writes. The image keeps its
//! journal in SRAM2 there, which survives a reset, and which the rig carries over a power cut.

#![allow(clippy::missing_errors_doc, reason = "for tests only: each error says what it was, and ends the test")]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod board;
pub mod console;
pub mod main_loop_waker;
pub mod modem;
pub mod packets;
pub mod pulses;
pub mod qemu;
pub mod qtest;
