//! Sending and reading, which differ by name and place of a number between the families.

use super::{Decimal, Nothing, decimal, ok, verdict, write_parts};
use crate::modem::family::DataHeader;
use atat::{AtatCmd, AtatResp, Error, InternalError};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, pipe::Pipe};

/// Sends so many bytes; after the prompt they are written, and then `SEND OK` says that they were taken (SIM800 8.2.3,
/// Quectel 2.4.10). It does not say that the server has them.
pub struct Send {
    /// The command's name up to the length.
    pub name: &'static [u8],
    /// Bytes to send.
    pub length: u16,
}

impl AtatCmd for Send {
    type Response = Nothing;
    const EXPECTS_RESPONSE_CODE: bool = false;
    /// A SIM800 says so when the peer's acknowledgement came.
    const MAX_TIMEOUT_MS: u32 = 25_000;

    fn write(&self, buffer: &mut [u8]) -> usize {
        write_parts(&[b"AT", self.name, Decimal::new(self.length).digits(), b"\r"], buffer)
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Nothing, Error> {
        let line = answer?;
        if line == b"SEND FAIL" || line == b"CLOSED" {
            return Err(Error::Error);
        }
        verdict(b"SEND OK", line)
    }
}

/// Sends so many bytes; after they were written comes `OK`, and `+CIPSEND: <link>,<asked>,<taken>` later (A7670 15.2.4).
pub struct SendCounted(pub Send);

impl AtatCmd for SendCounted {
    type Response = Nothing;
    const MAX_TIMEOUT_MS: u32 = 10_000;

    fn write(&self, buffer: &mut [u8]) -> usize {
        self.0.write(buffer)
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Nothing, Error> {
        ok(answer?)
    }
}

/// Reads up to so many bytes that came, into the pipe. They must fit: ask for no more than it has room for.
pub struct Receive<'a, const N: usize> {
    /// The command's name up to the length.
    pub name: &'static [u8],
    /// How its answer's first line looks.
    pub header: &'a DataHeader,
    /// Most bytes to read.
    pub length: u16,
    /// Where they go.
    pub into: &'a Pipe<NoopRawMutex, N>,
}

/// How much was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// Bytes read.
    pub count: u16,
    /// Bytes that are still there to read, where the modem tells.
    pub left: Option<u16>,
}

impl AtatResp for Received {}

impl<const N: usize> AtatCmd for Receive<'_, N> {
    type Response = Received;
    const MAX_TIMEOUT_MS: u32 = 9000;

    fn write(&self, buffer: &mut [u8]) -> usize {
        write_parts(&[b"AT", self.name, Decimal::new(self.length).digits(), b"\r"], buffer)
    }

    fn parse(&self, answer: Result<&[u8], InternalError>) -> Result<Received, Error> {
        let answer = answer?;
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
