//! The messages. CBOR maps with small numbers for keys (RFC 8949); absent optional fields are left out.
//!
//! Times: `uptime_ms` counts from the module's boot and is always present; `at_ms` is unix time in milliseconds and is
//! present only after the module's clock was set by an [`Action::Sync`].

use crate::{fields, limits::FIRMWARE_MAX_CHARS, open_enum::open_enum};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use strum::IntoStaticStr;

pub use crate::{
    diagnostics::{Diagnostics, Panic, ResetCause},
    learn::{Learn, LearnFailure, LearnStage, Learned, Spread},
    settings::{CoinProfile, Settings},
};

/// When a message was made, counted by the module: ordered by boot, then session, then sequence.
///
/// The server takes a status or a pulse only if its mark is greater than the last it took on that topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Encode, Decode)]
pub struct Mark {
    /// Boots so far, counted in flash.
    #[n(0)]
    pub boot: u32,
    /// MQTT connections since boot.
    #[n(1)]
    pub session: u32,
    /// Messages of this topic in this session, from 1; a will has [`crate::limits::WILL_SEQUENCE`].
    #[n(2)]
    pub sequence: u32,
}

/// Running totals, kept in flash since the module was provisioned. They never fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Totals {
    /// Coin pulses read.
    #[n(0)]
    pub coin_pulses: u64,
    /// Credit pulses given.
    #[n(1)]
    pub credit_pulses: u64,
    /// Edges on the coin line that fit no profile.
    #[n(2)]
    pub noise_edges: u64,
}

/// Fault bits of a status.
pub mod faults {
    /// The coin line stays active.
    pub const COIN_LINE_STUCK: u32 = 1;
    /// Flash could not be read or written.
    pub const FLASH: u32 = 1 << 1;
    /// The machine's sense input did not answer a credit.
    pub const MACHINE_SILENT: u32 = 1 << 2;
    /// The supply voltage is too low.
    pub const SUPPLY_LOW: u32 = 1 << 3;
    /// Payloads with a wrong tag arrived since boot.
    pub const BAD_SIGNATURES: u32 = 1 << 4;

    /// The faults that prevent credits.
    pub const BLOCKING: u32 = COIN_LINE_STUCK | FLASH | MACHINE_SILENT | SUPPLY_LOW;
}

/// A module's state. Topic `m/<module>/status`, retained; also its will, with `online` false.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Status<'a> {
    /// Order.
    #[n(0)]
    pub mark: Mark,
    /// False only in the will and in a farewell.
    #[n(1)]
    pub online: bool,
    /// Milliseconds since boot.
    #[n(2)]
    pub uptime_ms: u64,
    /// Unix time in milliseconds, once known.
    #[n(3)]
    pub at_ms: Option<u64>,
    /// The highest command sequence taken, 0 for none.
    #[n(4)]
    pub last_command: u32,
    /// Version of the settings in force, 0 for the built-in ones.
    #[n(5)]
    pub settings_version: u32,
    /// Firmware version, at most [`FIRMWARE_MAX_CHARS`] bytes; a receiver cuts what is longer.
    #[cbor(b(6), decode_with = "firmware_version")]
    pub firmware: &'a str,
    /// Signal as CSQ, 0 to 31; 99 unknown (3GPP TS 27.007).
    #[n(7)]
    pub signal_csq: Option<u8>,
    /// Supply voltage in millivolts.
    #[n(8)]
    pub supply_mv: Option<u16>,
    /// Running totals.
    #[n(9)]
    pub totals: Totals,
    /// Bits of [`faults`].
    #[n(10)]
    pub faults: u32,
    /// Whether the module is locked (gives no credits).
    #[n(11)]
    pub locked: Option<bool>,
    /// Progress of learning the coin line: sent from each change until a status with it was acknowledged, and after
    /// [`Action::Diagnose`]. Never together with `diagnostics`, since both at their largest would not fit a payload.
    #[n(12)]
    pub learned: Option<Learned>,
    /// After [`Action::Diagnose`], until acknowledged.
    #[n(13)]
    pub diagnostics: Option<Diagnostics>,
}

/// Cuts a long version instead of refusing the status, since the status matters more than its label.
fn firmware_version<'b, C>(d: &mut Decoder<'b>, _: &mut C) -> Result<&'b str, decode::Error> {
    let text = d.str()?;
    Ok(&text[..text.floor_char_boundary(FIRMWARE_MAX_CHARS)])
}

/// A burst of coin pulses. Topic `m/<module>/pulse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pulse {
    /// Order.
    #[n(0)]
    pub mark: Mark,
    /// Milliseconds since boot at the burst's end.
    #[n(1)]
    pub uptime_ms: u64,
    /// Unix time in milliseconds, once known.
    #[n(2)]
    pub at_ms: Option<u64>,
    /// Pulses in this burst.
    #[n(3)]
    pub pulses: u16,
    /// Total coin pulses, including this burst. The rise of this number is what is booked.
    #[n(4)]
    pub coin_pulses_total: u64,
    /// Measured width of a pulse, median, in milliseconds.
    #[n(5)]
    pub width_ms: u16,
    /// Measured gap between pulses, median, in milliseconds; 0 for a single pulse.
    #[n(6)]
    pub gap_ms: u16,
}

open_enum! {
    /// The stage of a command, as a module acknowledges it.
    Stage {
        /// Received; executing or queued.
        Received = 1 => "received",
        /// Executed completely.
        Done = 2 => "done",
        /// Not executed, or only in part: see pulses and reason.
        Failed = 3 => "failed",
        /// Past its expiry; not executed.
        Expired = 4 => "expired",
        /// Seen before: `first` and `pulses` give its outcome. Nothing was executed again.
        Duplicate = 5 => "duplicate",
        /// The clock is not set, so expiry cannot be judged. Not executed: send `sync`, then the command again.
        Clock = 6 => "clock",
    }
}

open_enum! {
    /// Why a command failed.
    Reason {
        /// Power was lost during the credit; `pulses` is what is known to have been given.
        PowerLost = 1 => "power_lost",
        /// The module is locked.
        Locked = 2 => "locked",
        /// Too many credits wait already.
        Busy = 3 => "busy",
        /// A blocking fault; see the status.
        Fault = 4 => "fault",
        /// The action is not known to this firmware.
        Unsupported = 5 => "unsupported",
        /// Older than the window of remembered credits: refused without execution.
        TooOld = 6 => "too_old",
        /// A state-setting command older than the newest applied.
        Superseded = 7 => "superseded",
        /// A value is out of bounds.
        Invalid = 8 => "invalid",
        /// The machine did not start (sense input).
        MachineSilent = 9 => "machine_silent",
        /// The journal could not be written; nothing was given.
        Flash = 10 => "flash",
        /// The round trip of a `sync` was too long to set a clock.
        SlowSync = 11 => "slow_sync",
    }
}

/// A module's acknowledgement of a command. Topic `m/<module>/ack`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// The command's id.
    #[n(0)]
    pub command: u64,
    /// The command's sequence.
    #[n(1)]
    pub sequence: u32,
    /// The stage reached.
    #[n(2)]
    pub stage: Stage,
    /// Boots so far, counted in flash.
    #[n(3)]
    pub boot: u32,
    /// Milliseconds since boot.
    #[n(4)]
    pub uptime_ms: u64,
    /// Unix time in milliseconds, once known.
    #[n(5)]
    pub at_ms: Option<u64>,
    /// Credit pulses given for the command, as far as known.
    #[n(6)]
    pub pulses: Option<u16>,
    /// Why it failed; with `duplicate`, why the first failed.
    #[n(7)]
    pub reason: Option<Reason>,
    /// With `duplicate`: the stage the command had reached.
    #[n(8)]
    pub first: Option<Stage>,
}

/// An instruction to a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Action {
    /// Ask whether it could give a credit now. Changes nothing.
    Probe,
    /// Give this many pulses, once.
    Credit {
        /// From 1 to [`crate::limits::CREDIT_PULSES_MAX`].
        pulses: u16,
    },
    /// Set the clock.
    Sync(Sync),
    /// Take these settings. State-setting.
    Settings(Settings),
    /// Stop giving credits (true) or give them again (false). State-setting.
    Lock {
        /// Whether to lock.
        locked: bool,
    },
    /// Restart the module.
    Reboot,
    /// Blink for a while, so that it can be found.
    Locate,
    /// Learn the coin line, or stop learning it. State-setting.
    Learn(Learn),
    /// Send diagnostics with the next status, and the last learning result with the one after it.
    Diagnose,
    /// An action of a later version, by its code. Made only by decoding; a known action's code in it would be sent
    /// without that action's value, and refused.
    Unknown(u8),
}

impl Action {
    /// The code on the wire.
    pub fn code(&self) -> u8 {
        match self {
            Action::Probe => 1,
            Action::Credit { .. } => 2,
            Action::Sync(_) => 3,
            Action::Settings(_) => 4,
            Action::Lock { .. } => 5,
            Action::Reboot => 6,
            Action::Locate => 7,
            Action::Learn(_) => 8,
            Action::Diagnose => 9,
            Action::Unknown(code) => *code,
        }
    }

    /// The word for it, in lower case.
    pub fn as_str(&self) -> &'static str {
        self.into()
    }
}

/// The server's time, in answer to a message of the module.
///
/// The module sets its clock to `server_ms` plus half the round trip. The round trip is its current uptime minus
/// `echo_uptime_ms`, so a delayed or replayed sync cannot set the clock far wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Sync {
    /// The server's unix time in milliseconds.
    #[n(0)]
    pub server_ms: u64,
    /// `boot` of the message this answers.
    #[n(1)]
    pub echo_boot: u32,
    /// `uptime_ms` of the message this answers.
    #[n(2)]
    pub echo_uptime_ms: u64,
}

impl<'b, C> Decode<'b, C> for Sync {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut sync = Self { server_ms: 0, echo_boot: 0, echo_uptime_ms: 0 };
        fields::map(d, 3, fields::bits([0, 1, 2]), &mut |number, d| {
            match number {
                0 => sync.server_ms = fields::number(d)?,
                1 => sync.echo_boot = fields::number(d)?,
                _ => sync.echo_uptime_ms = fields::number(d)?,
            }
            Ok(())
        })?;
        Ok(sync)
    }
}

/// An instruction. Topic `m/<module>/command`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Command {
    /// Id, unique for ever.
    pub id: u64,
    /// Per module, counting up.
    pub sequence: u32,
    /// The server's unix time of issue, in milliseconds.
    pub issued_ms: u64,
    /// Not to be executed after this unix time, in milliseconds. On the wire it is a lifetime of 0 to `u32::MAX` ms (49
    /// days) after `issued_ms`; values outside are moved to the nearer end.
    pub expires_ms: u64,
    /// What to do.
    pub action: Action,
}

/// A command's fields on the wire: the action's code, with its values beside it.
#[derive(Default, Encode)]
#[cbor(map)]
struct CommandFields {
    #[n(0)]
    id: u64,
    #[n(1)]
    sequence: u32,
    #[n(2)]
    issued_ms: u64,
    /// Relative to `issued_ms`: shorter on the wire.
    #[n(3)]
    lifetime_ms: u32,
    #[n(4)]
    action: u8,
    #[n(5)]
    pulses: Option<u16>,
    #[n(6)]
    sync: Option<Sync>,
    #[n(7)]
    settings: Option<Settings>,
    #[n(8)]
    locked: Option<bool>,
    #[n(9)]
    learn: Option<Learn>,
}

impl<C> Encode<C> for Command {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, ctx: &mut C) -> Result<(), encode::Error<W::Error>> {
        let lifetime_ms = self.expires_ms.saturating_sub(self.issued_ms);
        let mut fields = CommandFields {
            id: self.id,
            sequence: self.sequence,
            issued_ms: self.issued_ms,
            lifetime_ms: u32::try_from(lifetime_ms).unwrap_or(u32::MAX),
            action: self.action.code(),
            ..CommandFields::default()
        };
        match self.action {
            Action::Credit { pulses } => fields.pulses = Some(pulses),
            Action::Sync(sync) => fields.sync = Some(sync),
            Action::Settings(settings) => fields.settings = Some(settings),
            Action::Lock { locked } => fields.locked = Some(locked),
            Action::Learn(learn) => fields.learn = Some(learn),
            Action::Probe | Action::Reboot | Action::Locate | Action::Diagnose | Action::Unknown(_) => {}
        }
        fields.encode(e, ctx)
    }
}

impl<'b, C> Decode<'b, C> for Command {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut fields = CommandFields::default();
        fields::map(d, 10, fields::bits([0, 1, 2, 3, 4]), &mut |number, d| {
            match number {
                0 => fields.id = fields::number(d)?,
                1 => fields.sequence = fields::number(d)?,
                2 => fields.issued_ms = fields::number(d)?,
                3 => fields.lifetime_ms = fields::number(d)?,
                4 => fields.action = fields::number(d)?,
                5 => fields.pulses = fields::optional(d, fields::number)?,
                6 => fields.sync = fields::optional(d, Decoder::decode)?,
                7 => fields.settings = fields::optional(d, Decoder::decode)?,
                8 => fields.locked = fields::optional(d, Decoder::bool)?,
                _ => fields.learn = fields::optional(d, Decoder::decode)?,
            }
            Ok(())
        })?;
        let missing = || decode::Error::message("the action's value is missing");
        let action = match fields.action {
            1 => Action::Probe,
            2 => Action::Credit { pulses: fields.pulses.ok_or_else(missing)? },
            3 => Action::Sync(fields.sync.ok_or_else(missing)?),
            4 => Action::Settings(fields.settings.ok_or_else(missing)?),
            5 => Action::Lock { locked: fields.locked.ok_or_else(missing)? },
            6 => Action::Reboot,
            7 => Action::Locate,
            8 => Action::Learn(fields.learn.ok_or_else(missing)?),
            9 => Action::Diagnose,
            code => Action::Unknown(code),
        };
        Ok(Command {
            id: fields.id,
            sequence: fields.sequence,
            issued_ms: fields.issued_ms,
            expires_ms: fields.issued_ms.saturating_add(u64::from(fields.lifetime_ms)),
            action,
        })
    }
}
