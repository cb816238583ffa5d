//! The cloud module's whole logic: coin line, credits, commands, journal, reports, and the link to the broker.
//!
//! What it is: a `no_std` library without allocation. The core ([`Module`]) does no I/O once it has booted: edges, messages
//! and the uptime are handed in; outputs, writes to flash and messages are asked for. [`link`] is the loop around it, over
//! an `embedded-io-async` stream, minimq and embassy-time; [`modem`] gives such a stream over a modem's line.
//! What it is not: a board (pins, clock, flash and line are the board's), or an executor.
//!
//! Start at [`module`] for the core, [`link`] for the loop, [`modem`] for the network. The path of a credit: `commands`
//! (signature, order, expiry, dedupe) -> `crediting` (one after another) -> `journal` (written before the first pulse)
//! -> `coinline::driver` and `coinline::relay` (the pulses) -> `journal` (after each pulse and the last) -> `report`
//! (the ack, repeated until acknowledged). The path of learning: `learning` (started, carried out, stored) ->
//! `coinline::learner` (the next step) -> `coinline::meter` (measuring the line) and `coinline::trial` (which pulses
//! the machine accepts) -> `report`.
//!
//! To drive the core: read the clock; hand in all edges captured up to then; [`Module::poll`]; apply
//! [`Module::outputs`]; if the deadline given is not in the future, do it again at once; else begin the write that
//! [`Module::take_write`] gives, send what [`Module::outgoing`] gives, and sleep until the deadline, an edge, a
//! message, or the end of the write. All this continues while flash is written: no edge waits for flash.
//!
//! Invariants:
//! - A credit's sequence is given at most once, ever, despite any repeats, reordering and power cuts.
//! - No credit pulse is given before its record is in flash. After a power cut, the known pulses are those written
//!   after each pulse; the pulse in progress at the cut is not among them, though the machine may have taken it. So at
//!   most one pulse is in doubt, and it is decided in the consumer's favour.
//! - A coin pulse is counted when its trailing edge has settled, and written as soon as flash has its turn: a cut loses at
//!   most the pulse in progress and those counted since the write under way began (or within a credit pulse, since no write
//!   begins during one). None is ever counted twice: the total is one value, written whole.
//! - Coins are relayed on time, whatever the state of network, lock or flash; no two output pulses touch.
//! - No input from outside makes it panic; nothing grows without a named limit.
#![no_std]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(test)]
extern crate std;

mod backoff;
mod budget;
mod button;
pub mod clock;
pub mod coinline;
pub mod commands;
pub mod console;
mod crediting;
pub mod journal;
mod learning;
pub mod light;
pub mod link;
mod memory;
pub mod modem;
pub mod module;
pub mod outbox;
pub mod provision;
mod report;
pub mod settings;
pub mod store;

pub use button::LONG_US as BUTTON_LONG_US;
pub use learning::state::RESULT_SHOWN_US;
pub use memory::Write;
pub use module::{BootReport, Counters, Health, Identity, Module, Outputs};
pub use outbox::{Outgoing, Payload, Token};
pub use report::{FIRMWARE, STATUS_STATE_GAP_US, STATUS_TOTALS_GAP_US};
pub use store::StoreError;
