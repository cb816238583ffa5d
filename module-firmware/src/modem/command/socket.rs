//! Sending and reading, which differ by name and place of a number between the families.

use super::{Command, Expects, Value};
use crate::modem::decimal::decimal;
use crate::modem::{RX_BYTES, family::DataHeader};
use atat::Error;
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, pipe::Pipe};

/// Sends so many bytes; after the prompt they are written, and then `SEND OK` says that they were taken (SIM800 8.2.3,
/// Quectel 2.4.10). It does not say that the server has them. `name` is the command's up to the length.
///
/// A SIM800 says so when the peer's acknowledgement came.
pub const fn send<'a>(name: &'a [u8], length: &'a [Value<'a>; 1]) -> Command<'a> {
    Command::asking(name, 25_000, Expects::SendVerdict).with(length)
}

/// Sends so many bytes; after they were written comes `OK`, and `+CIPSEND: <link>,<asked>,<taken>` later (A7670 15.2.4).
pub const fn send_counted<'a>(name: &'a [u8], length: &'a [Value<'a>; 1]) -> Command<'a> {
    Command::order(name, 10_000).with(length)
}

/// Reads up to so many bytes that came. `name` is the command's up to the length.
pub const fn receive<'a>(name: &'a [u8], length: &'a [Value<'a>; 1], receive: Receive<'a>) -> Command<'a> {
    Command::asking(name, 9_000, Expects::Data(receive)).with(length)
}

/// Where data goes. It must fit: ask for no more than there is room for.
#[derive(Clone, Copy)]
pub struct Receive<'a> {
    /// How its answer's first line looks.
    pub header: &'a DataHeader,
    /// Most bytes to read.
    pub length: u16,
    /// Where they go.
    pub into: &'a Pipe<NoopRawMutex, RX_BYTES>,
}

/// How much was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes read.
    pub count: u16,
    /// Bytes that are still there to read, where the modem tells.
    pub left: Option<u16>,
}

impl Receive<'_> {
    pub(super) fn take(&self, answer: &[u8]) -> Result<Received, Error> {
        let end = answer.iter().position(|byte| *byte == b'\n').unwrap_or(answer.len());
        let (line, data) = answer.split_at(end);
        let data = data.get(1..).unwrap_or_default();
        let count = self.header.count(line).ok_or(Error::Parse)?;
        if usize::from(count) != data.len() || count > self.length || data.len() > self.into.free_capacity() {
            return Err(Error::InvalidResponse);
        }
        let mut rest = data;
        while !rest.is_empty() {
            let Ok(written) = self.into.try_write(rest) else { return Err(Error::InvalidResponse) };
            rest = rest.get(written..).unwrap_or_default();
        }
        let left = self.header.left_field.and_then(|field| decimal(self.header.field(line, field)?));
        Ok(Received { count, left })
    }
}
