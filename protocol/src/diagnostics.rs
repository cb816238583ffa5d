//! Diagnostics: why the module last started, and what it counted since.

use crate::open_enum::open_enum;
use minicbor::{Decode, Encode};

fn is_zero(number: &u32) -> bool {
    *number == 0
}

open_enum! {
    /// Why the module last started.
    ResetCause {
        /// Power came.
        PowerOn = 1 => "power_on",
        /// The supply sagged.
        BrownOut = 2 => "brown_out",
        /// The reset pin.
        ResetPin = 3 => "reset_pin",
        /// The firmware restarted on purpose: commanded, or set up anew.
        Software = 4 => "software",
        /// The watchdog: the firmware hung.
        Watchdog = 5 => "watchdog",
        /// The firmware panicked; see `panic`.
        Panic = 6 => "panic",
        /// Anything else the processor knows.
        Other = 7 => "other",
    }
}

/// Where the firmware last panicked. An array on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Panic {
    /// A hash of the source file's name: FNV-1a, 32 bits.
    #[n(0)]
    pub file_hash: u32,
    /// The line in it.
    #[n(1)]
    pub line: u32,
}

/// What a module knows of itself. Counters count since boot and stay at their greatest value; those at 0 are left out
/// on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Diagnostics {
    /// Why it last started, if the board can tell.
    #[n(0)]
    pub reset_cause: Option<ResetCause>,
    /// The last panic the board has a record of.
    #[n(1)]
    pub panic: Option<Panic>,
    /// How long the boot before this one ran, in seconds, if the board can tell.
    #[n(2)]
    pub uptime_before_s: Option<u32>,
    /// Payloads with a wrong tag.
    #[cbor(n(3), skip_if = "is_zero")]
    pub bad_tags: u32,
    /// Payloads that were no command, or on a foreign topic.
    #[cbor(n(4), skip_if = "is_zero")]
    pub bad_payloads: u32,
    /// Writes to flash that failed.
    #[cbor(n(5), skip_if = "is_zero")]
    pub flash_failures: u32,
    /// Values written to flash.
    #[cbor(n(6), skip_if = "is_zero")]
    pub flash_writes: u32,
    /// Attempts to connect.
    #[cbor(n(7), skip_if = "is_zero")]
    pub sessions: u32,
    /// Times the modem was restarted because it did not answer.
    #[cbor(n(8), skip_if = "is_zero")]
    pub modem_restarts: u32,
    /// Answers of the modem that did not come in time.
    #[cbor(n(9), skip_if = "is_zero")]
    pub modem_timeouts: u32,
    /// Lines and bytes of the modem that made no sense.
    #[cbor(n(10), skip_if = "is_zero")]
    pub modem_garbage: u32,
    /// Edges of the coin line that found the capture queue full.
    #[cbor(n(11), skip_if = "is_zero")]
    pub edges_lost: u32,
    /// Credits that a cap refused or kept waiting.
    #[cbor(n(12), skip_if = "is_zero")]
    pub credits_capped: u32,
    /// Commands that the modem answered with an error.
    #[cbor(n(13), skip_if = "is_zero")]
    pub modem_errors: u32,
    /// Connections to the server that were lost.
    #[cbor(n(14), skip_if = "is_zero")]
    pub links_lost: u32,
}
