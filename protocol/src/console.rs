//! The console: a minimal protocol over the module's serial port, for setting it up on a bench. Each request is
//! answered by one reply with the same number. Nothing here is signed: whoever has access to the port controls the
//! module.
//!
//! A frame is `00 ‖ COBS(body ‖ CRC-32 of body, lowest byte first) ‖ 00`. With COBS (Cheshire and Baker, 1999), zero
//! bytes occur only at the ends of frames, so that a reader finds the next frame whatever came before. The CRC is that
//! of IEEE 802.3. The body is CBOR: the array `[number, request]` or `[number, reply]`.

use crate::{
    ModuleId, ModuleSecret, fields,
    keys::SECRET_BYTES,
    messages::{Diagnostics, Learned, Settings, Totals},
};
use core::fmt;
use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode, encode::write::Cursor};

/// A body is at most this long, in bytes.
pub const BODY_MAX_BYTES: usize = 640;
/// A frame is at most this long between its zero bytes: body, CRC, and one byte of COBS for every 254 bytes or part of
/// them.
pub const FRAME_MAX_BYTES: usize = BODY_MAX_BYTES + CRC_BYTES + (BODY_MAX_BYTES + CRC_BYTES) / 254 + 1;
/// A request's frame is at most this long; a module does not accept longer ones.
pub const REQUEST_MAX_BYTES: usize = 320;
/// The server's host name is at most this long, in bytes.
pub const HOST_MAX_BYTES: usize = 64;
/// The access point's name is at most this long, in bytes.
pub const APN_MAX_BYTES: usize = 63;
/// The access point's user name and password are at most this long each, in bytes.
pub const CREDENTIAL_MAX_BYTES: usize = 32;

const CRC_BYTES: usize = 4;
/// Computed without a table: frames are short, and a module has little flash.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Where the server is, and how the modem gets to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode)]
#[cbor(map)]
pub struct Server<'a> {
    /// Host name or address, at most [`HOST_MAX_BYTES`].
    #[b(0)]
    pub host: &'a str,
    /// TCP port.
    #[n(1)]
    pub port: u16,
    /// Access point name of the SIM's network, at most [`APN_MAX_BYTES`]; empty for the network's own choice.
    #[b(2)]
    pub apn: &'a str,
    /// User name at the access point, mostly empty.
    #[b(3)]
    pub user: &'a str,
    /// Password at the access point, mostly empty.
    #[b(4)]
    pub password: &'a str,
}

impl<'b, C> Decode<'b, C> for Server<'b> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let mut server = Self { host: "", port: 0, apn: "", user: "", password: "" };
        fields::map(d, 5, fields::bits([0, 1, 2, 3, 4]), &mut |number, d| {
            let text = match number {
                0 => &mut server.host,
                1 => {
                    server.port = fields::number(d)?;
                    return Ok(());
                }
                2 => &mut server.apn,
                3 => &mut server.user,
                _ => &mut server.password,
            };
            *text = d.str()?;
            Ok(())
        })?;
        Ok(server)
    }
}

impl Server<'_> {
    /// Whether every value is within its bounds: printable ASCII without blanks, quotes and commas, since they go into a
    /// modem's commands.
    pub fn is_valid(&self) -> bool {
        let plain = |text: &str, max: usize| {
            text.len() <= max && text.bytes().all(|c| c.is_ascii_graphic() && !matches!(c, b'"' | b',' | b'\\'))
        };
        !self.host.is_empty()
            && plain(self.host, HOST_MAX_BYTES)
            && self.port > 0
            && plain(self.apn, APN_MAX_BYTES)
            && plain(self.user, CREDENTIAL_MAX_BYTES)
            && plain(self.password, CREDENTIAL_MAX_BYTES)
    }
}

/// What is asked of a module.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub enum Request<'a> {
    /// Report the module's state. Changes nothing.
    #[n(0)]
    Info,
    /// Use this identity from the next restart on. Refused if the module already has another identity, unless
    /// `replace`.
    #[n(1)]
    SetIdentity {
        /// Its id.
        #[n(0)]
        id: ModuleId,
        /// Its secret.
        #[cbor(n(1), with = "module_secret")]
        secret: ModuleSecret,
        /// Whether to replace the old identity. Totals and journal belong to it and are then erased.
        #[n(2)]
        replace: bool,
    },
    /// Connect to this server, from the next restart on.
    #[n(2)]
    SetServer(#[b(0)] Server<'a>),
    /// Use these settings. Settings from the server replace them. A learned profile stays in force.
    #[n(3)]
    SetSettings(#[n(0)] Settings),
    /// Restart.
    #[n(4)]
    Reboot,
    /// Forget identity, server, settings, totals and journal, and restart.
    #[n(5)]
    Erase,
}

impl<'b, C> Decode<'b, C> for Request<'b> {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        if fields::count(d)? != Some(2) {
            return Err(decode::Error::message("a request has a number and values"));
        }
        let (mut id, mut secret, mut replace) = (None, None, false);
        let (mut server, mut settings) = (None, None);
        let kind: u32 = fields::number(d)?;
        let fields = match kind {
            0 | 4 | 5 => 0,
            1 => 3,
            2 | 3 => 1,
            _ => return Err(decode::Error::message("a request of a later version")),
        };
        if fields == 0 {
            fields::skip_value(d)?;
        } else {
            fields::array(d, fields, (1 << fields) - 1, &mut |number, d| {
                match (kind, number) {
                    (1, 0) => id = Some(d.decode()?),
                    (1, 1) => secret = Some(module_secret::decode(d, &mut ())?),
                    (1, _) => replace = d.bool()?,
                    (2, _) => server = Some(d.decode()?),
                    _ => settings = Some(d.decode()?),
                }
                Ok(())
            })?;
        }
        Ok(match (id.zip(secret), server, settings, kind) {
            (Some((id, secret)), ..) => Request::SetIdentity { id, secret, replace },
            (_, Some(server), ..) => Request::SetServer(server),
            (_, _, Some(settings), _) => Request::SetSettings(settings),
            (.., 4) => Request::Reboot,
            (.., 5) => Request::Erase,
            _ => Request::Info,
        })
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// Not a request of this firmware, or a value out of bounds.
    #[n(0)]
    Invalid,
    /// It already has another identity.
    #[n(1)]
    OtherIdentity,
    /// It needs an identity first.
    #[n(2)]
    NoIdentity,
    /// Flash could not be written.
    #[n(3)]
    Flash,
}

impl Refusal {
    /// A sentence for a person.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Invalid => "the module does not know this request, or a value in it is out of bounds",
            Refusal::OtherIdentity => "the module has another identity already",
            Refusal::NoIdentity => "the module has no identity yet",
            Refusal::Flash => "the module could not write its flash",
        }
    }
}

/// A module's identity and state. The secret is never reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Info<'a> {
    /// Firmware version.
    #[b(0)]
    pub firmware: &'a str,
    /// The board's name.
    #[b(1)]
    pub board: &'a str,
    /// Its id, if it has one.
    #[n(2)]
    pub id: Option<ModuleId>,
    /// Where it connects to, without the access point's password.
    #[b(3)]
    pub server: Option<Server<'a>>,
    /// Milliseconds since boot.
    #[n(4)]
    pub uptime_ms: u64,
    /// Boots so far, counted in flash; 0 if flash failed.
    #[n(5)]
    pub boot: u32,
    /// Whether it has a session with the broker.
    #[n(6)]
    pub connected: bool,
    /// Bits of [`crate::messages::faults`].
    #[n(7)]
    pub faults: u32,
    /// Running totals as counted.
    #[n(8)]
    pub totals: Totals,
    /// Settings in force; their profile is the learned one where that is in force.
    #[n(9)]
    pub settings: Settings,
    /// The progress of learning, or the result of the last one.
    #[n(10)]
    pub learned: Option<Learned>,
    /// Why it last started, and what it counted since.
    #[n(11)]
    pub diagnostics: Diagnostics,
    /// Data from its board.
    #[n(12)]
    pub hardware: Hardware,
}

/// Data that only the board knows. Counters count since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
#[cbor(map)]
pub struct Hardware {
    /// Whether this is an emulator.
    #[n(0)]
    pub emulated: bool,
    /// Bytes of the stack that were never used.
    #[n(1)]
    pub stack_unused_bytes: u32,
    /// Words of flash with read errors.
    #[n(2)]
    pub flash_bad_words: u32,
    /// Times that the modem's line dropped bytes.
    #[n(3)]
    pub modem_overruns: u32,
    /// Times that the console's line dropped bytes.
    #[n(4)]
    pub console_overruns: u32,
    /// Invalid frames on the console.
    #[n(5)]
    pub bad_frames: u32,
}

/// A module's answer.
#[expect(clippy::large_enum_variant, reason = "there is no heap to put it in, and one at a time")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Reply<'a> {
    /// To [`Request::Info`].
    #[n(0)]
    Info(#[b(0)] Info<'a>),
    /// Done, and durable.
    #[n(1)]
    Done,
    /// Not done.
    #[n(2)]
    Refused(#[n(0)] Refusal),
}

mod module_secret {
    use super::*;

    pub fn encode<C, W: encode::Write>(
        secret: &ModuleSecret,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(secret.expose())?.ok()
    }

    pub fn decode<'b, C>(d: &mut Decoder<'b>, _: &mut C) -> Result<ModuleSecret, decode::Error> {
        let bytes: [u8; SECRET_BYTES] =
            d.bytes()?.try_into().map_err(|_| decode::Error::message("a secret has 32 bytes"))?;
        Ok(ModuleSecret::new(bytes))
    }
}

/// The body is longer than [`BODY_MAX_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Why a frame is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// Longer than the reader takes.
    Length,
    /// Not COBS, or the CRC does not fit.
    Damaged,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message does not fit a frame")
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FrameError::Length => "a frame is too long",
            FrameError::Damaged => "a frame is damaged",
        })
    }
}

impl core::error::Error for TooLong {}
impl core::error::Error for FrameError {}

/// A frame with both its zero bytes.
pub type Frame = heapless::Vec<u8, { FRAME_MAX_BYTES + 2 }>;

/// Frames a request or a reply under a number.
///
/// # Errors
/// The message is longer than [`BODY_MAX_BYTES`].
pub fn frame<T: Encode<()>>(number: u32, message: &T) -> Result<Frame, TooLong> {
    let mut body = [0; BODY_MAX_BYTES + CRC_BYTES];
    let mut cursor = Cursor::new(&mut body[..BODY_MAX_BYTES]);
    minicbor::encode((number, message), &mut cursor).map_err(|_| TooLong)?;
    let length = cursor.position();
    let crc = CRC.checksum(&body[..length]).to_le_bytes();
    body[length..length + CRC_BYTES].copy_from_slice(&crc);
    let mut frame = Frame::new();
    frame.resize_default(frame.capacity()).map_err(|_| TooLong)?;
    let length = cobs::try_encode_including_sentinels(&body[..length + CRC_BYTES], &mut frame).map_err(|_| TooLong)?;
    frame.truncate(length);
    Ok(frame)
}

/// Reads a body: the number if there is one, and the message if it is valid.
pub fn parse<'a, T: Decode<'a, ()>>(body: &'a [u8]) -> Option<(u32, Option<T>)> {
    let mut decoder = Decoder::new(body);
    if fields::count(&mut decoder).ok()? != Some(2) {
        return None;
    }
    let number = fields::number(&mut decoder).ok()?;
    let message = decoder.decode().ok();
    let whole = decoder.position() == body.len();
    Some((number, message.filter(|_| whole)))
}

/// Collects bytes to frames of up to `MAX` bytes.
#[derive(Debug, Clone, Default)]
pub struct Deframer<const MAX: usize> {
    bytes: heapless::Vec<u8, MAX>,
    /// How many bytes came since the last zero byte, including those without room.
    received: usize,
}

impl<const MAX: usize> Deframer<MAX> {
    /// Takes a byte. If it ends a frame, returns the frame's body, or why it is dropped.
    pub fn push(&mut self, byte: u8) -> Option<Result<&[u8], FrameError>> {
        if self.received == 0 {
            self.bytes.clear();
        }
        if byte != 0 {
            self.received = self.received.saturating_add(1);
            // A byte without room makes the frame too long.
            let _ = self.bytes.push(byte);
            return None;
        }
        match core::mem::take(&mut self.received) {
            0 => None,
            received if received > self.bytes.len() => Some(Err(FrameError::Length)),
            _ => Some(body_of(&mut self.bytes).ok_or(FrameError::Damaged)),
        }
    }
}

/// Removes COBS and CRC from a frame, in place; the result is never longer than the input.
fn body_of(bytes: &mut [u8]) -> Option<&[u8]> {
    let length = cobs::decode_in_place(bytes).ok()?;
    let (body, crc) = bytes.get(..length)?.split_last_chunk::<CRC_BYTES>()?;
    (CRC.checksum(body) == u32::from_le_bytes(*crc)).then_some(body)
}
