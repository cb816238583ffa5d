//! The protocol's named limits. docs/PROTOCOL.md lists them.

use core::ops::RangeInclusive;

/// Bytes of the truncated HMAC behind each payload.
pub const TAG_BYTES: usize = 16;
/// A payload with its tag is at most this long, in bytes.
pub const PAYLOAD_MAX_BYTES: usize = 256;
/// A topic is at most this long, in bytes.
pub const TOPIC_MAX_BYTES: usize = 32;
/// Characters (ASCII; otherwise bytes of UTF-8) of a firmware version in a status.
pub const FIRMWARE_MAX_CHARS: usize = 24;
/// Credits a module remembers with their results; what is older is refused unexecuted.
pub const CREDIT_WINDOW: usize = 32;
/// Credits that may wait in a module behind the one being given; more are refused as `busy`.
pub const CREDITS_WAITING_MAX: usize = 4;
/// A single credit gives at most this many pulses, whatever a command says.
pub const CREDIT_PULSES_MAX: u16 = 200;
/// The greatest cap on credit pulses per minute that settings may have.
pub const CREDIT_PULSES_PER_MINUTE_MAX: u16 = 6_000;
/// The lowest default cap on credit pulses per minute, for settings without one.
pub const CREDIT_PULSES_PER_MINUTE_DEFAULT: u16 = 240;
/// Bounds of a module's MQTT keepalive, in seconds: carriers drop connections that are idle for 4.5 to 5 minutes.
pub const KEEPALIVE_S: RangeInclusive<u16> = 30..=270;
/// MQTT keepalive of settings that have none, in seconds.
pub const KEEPALIVE_DEFAULT_S: u16 = 120;
/// Bounds of the time after power-on in which the coin line is not counted, in milliseconds.
pub const SETTLE_MS: RangeInclusive<u16> = 100..=30_000;
/// Its default, for settings without one: acceptors are ready one to two seconds after power-on.
pub const SETTLE_DEFAULT_MS: u16 = 3_000;
/// Least number of coins that learning samples.
pub const LEARN_COINS_MIN: u8 = 10;
/// Greatest number of coins that learning samples.
pub const LEARN_COINS_MAX: u8 = 50;
/// Most pulses of one test credit.
pub const LEARN_TEST_PULSES_MAX: u8 = 10;
/// A `sync` whose round trip took longer than this is not used: the clock would be off by half of it.
pub const SYNC_ROUND_TRIP_MAX_MS: u32 = 10_000;
/// The message sequence of a will: after all other messages of its session.
pub const WILL_SEQUENCE: u32 = u32::MAX;
