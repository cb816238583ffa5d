//! The link's side: asking for a connection, and its stream.

use super::{ConnectionState, Modem, Number};
use crate::link::Dial;
use core::fmt;
use embassy_futures::select::{Either, select};
use embedded_io_async::{Error, ErrorKind, ErrorType, Read, Write};

/// Dials through a modem.
pub struct ModemDial<'a> {
    modem: &'a Modem,
}

impl<'a> ModemDial<'a> {
    /// `modem` is the one that [`super::run`] runs.
    pub fn new(modem: &'a Modem) -> Self {
        Self { modem }
    }
}

/// There is no connection: see [`Modem::state`] for why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DialError;

impl<'a> Dial for ModemDial<'a> {
    type Stream = ModemStream<'a>;
    type Error = DialError;

    /// Waits until the modem has a network, too. Whoever stops waiting takes the wish back.
    async fn dial(&mut self) -> Result<ModemStream<'a>, DialError> {
        let number = self.modem.dialled.get().wrapping_add(1).max(1);
        self.modem.dialled.set(number);
        self.modem.wanted.set(number);
        self.modem.to_stream.reset();
        // Dropped unless it is given out: then nothing is wanted any more.
        let stream = ModemStream { modem: self.modem, number };
        self.modem.to_actor.signal(());
        loop {
            match self.modem.connection_state.get() {
                (at, ConnectionState::Open) if at == number => return Ok(stream),
                (at, ConnectionState::Failed | ConnectionState::Ended) if at == number => return Err(DialError),
                _ => self.modem.to_stream.wait().await,
            }
        }
    }
}

/// A connection. Reads and writes may be cancelled: what was not given out stays, what was not taken is not sent.
/// Dropping it closes the connection; what was written and not flushed may not be sent then.
pub struct ModemStream<'a> {
    modem: &'a Modem,
    number: Number,
}

impl Drop for ModemStream<'_> {
    fn drop(&mut self) {
        if self.modem.wanted.get() == self.number {
            self.modem.wanted.set(0);
            self.modem.to_actor.signal(());
        }
    }
}

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamError;

impl fmt::Display for StreamError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the modem's connection is gone")
    }
}

impl core::error::Error for StreamError {}

impl Error for StreamError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

impl ErrorType for ModemStream<'_> {
    type Error = StreamError;
}

impl Read for ModemStream<'_> {
    /// Gives 0 once the connection is gone and all that came was read.
    async fn read(&mut self, bytes: &mut [u8]) -> Result<usize, StreamError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        while self.modem.is_open(self.number) {
            match select(self.modem.rx.read(bytes), self.modem.to_stream.wait()).await {
                Either::First(count) => {
                    self.modem.to_actor.signal(());
                    return Ok(count);
                }
                Either::Second(()) => {}
            }
        }
        // Another connection's bytes are not this one's.
        if self.modem.wanted.get() != self.number {
            return Ok(0);
        }
        Ok(self.modem.rx.try_read(bytes).unwrap_or(0))
    }
}

impl Write for ModemStream<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, StreamError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        while self.modem.is_open(self.number) {
            match select(self.modem.tx.write(bytes), self.modem.to_stream.wait()).await {
                Either::First(count) => {
                    self.modem.to_actor.signal(());
                    return Ok(count);
                }
                Either::Second(()) => {}
            }
        }
        Err(StreamError)
    }

    /// Waits until the modem took all that was written. That is not that the server has it.
    async fn flush(&mut self) -> Result<(), StreamError> {
        while self.modem.is_open(self.number) {
            if self.modem.tx.is_empty() && !self.modem.sending.get() {
                return Ok(());
            }
            self.modem.to_stream.wait().await;
        }
        Err(StreamError)
    }
}
