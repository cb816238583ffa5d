//! Diagnostics: why the module last started, and what it counted since.

use crate::open_enum::open_enum;
use minicbor::{Decode, Encode, Encoder, encode};

open_enum! {
    /// Why the module last started.
    ResetCause {
        /// Power-on.
        PowerOn = 1 => "power_on",
        /// The supply voltage dropped.
        BrownOut = 2 => "brown_out",
        /// The reset pin.
        ResetPin = 3 => "reset_pin",
        /// The firmware restarted on purpose: by a command, or after provisioning.
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

/// A module's diagnostics. Counters count since boot and stop at their greatest value; those at 0 are omitted on the
/// wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Decode)]
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
    #[cbor(n(3), default)]
    pub bad_tags: u32,
    /// Payloads that were not a command, or on a foreign topic.
    #[cbor(n(4), default)]
    pub bad_payloads: u32,
    /// Writes to flash that failed.
    #[cbor(n(5), default)]
    pub flash_failures: u32,
    /// Values written to flash.
    #[cbor(n(6), default)]
    pub flash_writes: u32,
    /// Attempts to connect.
    #[cbor(n(7), default)]
    pub sessions: u32,
    /// Times the modem was restarted because it did not answer.
    #[cbor(n(8), default)]
    pub modem_restarts: u32,
    /// Answers of the modem that did not come in time.
    #[cbor(n(9), default)]
    pub modem_timeouts: u32,
    /// Lines and bytes from the modem that could not be understood.
    #[cbor(n(10), default)]
    pub modem_garbage: u32,
    /// Edges of the coin line that found the capture queue full.
    #[cbor(n(11), default)]
    pub edges_lost: u32,
    /// Credits that a cap refused or kept waiting.
    #[cbor(n(12), default)]
    pub credits_capped: u32,
    /// Commands that the modem answered with an error.
    #[cbor(n(13), default)]
    pub modem_errors: u32,
    /// Connections to the server that were lost.
    #[cbor(n(14), default)]
    pub links_lost: u32,
}

impl<C> Encode<C> for Diagnostics {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let counters = [
            self.bad_tags,
            self.bad_payloads,
            self.flash_failures,
            self.flash_writes,
            self.sessions,
            self.modem_restarts,
            self.modem_timeouts,
            self.modem_garbage,
            self.edges_lost,
            self.credits_capped,
            self.modem_errors,
            self.links_lost,
        ];
        let known = [self.reset_cause.is_some(), self.panic.is_some(), self.uptime_before_s.is_some()];
        let count = known.iter().filter(|known| **known).count() + counters.iter().filter(|n| **n != 0).count();
        e.map(count as u64)?;
        if let Some(cause) = self.reset_cause {
            e.u8(0)?.encode_with(cause, ctx)?;
        }
        if let Some(panic) = self.panic {
            e.u8(1)?.encode_with(panic, ctx)?;
        }
        if let Some(uptime_s) = self.uptime_before_s {
            e.u8(2)?.u32(uptime_s)?;
        }
        for (key, counter) in (3..).zip(counters) {
            if counter != 0 {
                e.u8(key)?.u32(counter)?;
            }
        }
        Ok(())
    }
}
