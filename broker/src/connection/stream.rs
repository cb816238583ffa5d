//! Bytes of one connection: framing in, buffering out, deadlines. No MQTT is decided here.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use mqtt_protocol_core::mqtt::common::Cursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::codec::{MqttError, PacketBuildResult, PacketBuilder, RawPacket};

/// Bytes read in one go, into a buffer that exists only while reading: an idle connection holds none.
const READ_BYTES: usize = 8 * 1024;
/// Output is written once this much waits. While more than this waits, nothing is read.
pub(crate) const OUT_FULL_BYTES: usize = 32 * 1024;

/// How many first bytes of a connection are kept: enough to see the version of a CONNECT that is too long to be read.
const FIRST_BYTES: usize = 12;
/// How much input is still read after the end of our output, so that the client can read the reason before a reset.
const DRAINED_BYTES_MAX: usize = 1024 * 1024;

/// Why a connection's stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// Closed by the client, or broken.
    Closed,
    /// A packet longer than the limit.
    TooLong,
    /// Not MQTT framing.
    Malformed,
}

/// A client's stream with its buffers.
pub(crate) struct PacketStream<S> {
    stream: S,
    builder: PacketBuilder,
    /// Whole packets not yet handled.
    inbox: VecDeque<RawPacket>,
    /// Bytes to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// Bytes written but not flushed (TLS and WebSocket buffer).
    unflushed: bool,
    end: Option<StreamEnd>,
    /// When a whole packet last came in. Single bytes of a packet do not count for keep alive (MQTT 5 section
    /// 3.1.2.10).
    pub last_read: Instant,
    /// When the client last read bytes, or when the oldest waiting bytes were produced.
    pub last_written: Instant,
    first: [u8; FIRST_BYTES],
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// What ended a [`PacketStream::turn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Packets or the end came in, or output was written.
    Stream,
    /// The other future is done.
    Woken,
}

impl<S: AsyncRead + AsyncWrite + Unpin> PacketStream<S> {
    pub fn new(stream: S, packet_bytes_max: u32) -> PacketStream<S> {
        let now = Instant::now();
        PacketStream {
            stream,
            builder: PacketBuilder::with_maximum_packet_size(packet_bytes_max),
            inbox: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            unflushed: false,
            end: None,
            last_read: now,
            last_written: now,
            first: [0; FIRST_BYTES],
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// The connection's first bytes, as far as they have arrived.
    pub fn first_bytes(&self) -> &[u8] {
        let count = usize::try_from(self.bytes_in).unwrap_or(FIRST_BYTES);
        &self.first[..count.min(FIRST_BYTES)]
    }

    /// The next whole packet that came in. The end of the stream is reported only after all packets before it.
    pub fn next_packet(&mut self) -> Option<Result<RawPacket, StreamEnd>> {
        match self.inbox.pop_front() {
            Some(packet) => Some(Ok(packet)),
            None => {
                self.inbox.shrink_to(0);
                self.end.map(Err)
            }
        }
    }

    /// The buffer to append output to.
    pub fn out(&mut self) -> &mut Vec<u8> {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
            self.last_written = Instant::now();
        }
        &mut self.out
    }

    /// Bytes waiting to be written.
    pub fn waiting(&self) -> usize {
        self.out.len() - self.written
    }

    /// Reads and writes until something happened or `other` is done.
    pub async fn turn(&mut self, other: impl Future<Output = ()>) -> Turn {
        tokio::pin!(other);
        poll_fn(|cx| {
            let mut happened = self.poll_write(cx);
            if self.inbox.is_empty() && self.end.is_none() && self.waiting() < OUT_FULL_BYTES {
                happened |= self.poll_read(cx);
            }
            if happened {
                return Poll::Ready(Turn::Stream);
            }
            other.as_mut().poll(cx).map(|()| Turn::Woken)
        })
        .await
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> bool {
        let mut room = [MaybeUninit::<u8>::uninit(); READ_BYTES];
        let mut buffer = ReadBuf::uninit(&mut room);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => false,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                let (known, bytes) = (self.first_bytes().len(), buffer.filled());
                let more = bytes.len().min(FIRST_BYTES - known);
                self.first[known..known + more].copy_from_slice(&bytes[..more]);
                self.bytes_in += bytes.len() as u64;
                self.take_in(bytes);
                true
            }
            Poll::Ready(_) => {
                self.end = Some(StreamEnd::Closed);
                true
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        let mut cursor = Cursor::new(bytes);
        while cursor.position() < bytes.len() as u64 {
            match self.builder.feed(&mut cursor) {
                PacketBuildResult::Complete(packet) => {
                    self.last_read = Instant::now();
                    self.inbox.push_back(packet);
                }
                PacketBuildResult::Incomplete => {}
                PacketBuildResult::Error(error) => {
                    let too_long = error == MqttError::PacketTooLarge;
                    self.end = Some(if too_long { StreamEnd::TooLong } else { StreamEnd::Malformed });
                    return;
                }
            }
        }
    }

    /// Writes waiting output; true if everything was written, so that more may be produced.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> bool {
        let mut drained = false;
        while self.waiting() > 0 {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Pending => return false,
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.written += count;
                    self.bytes_out += count as u64;
                    self.last_written = Instant::now();
                    self.unflushed = true;
                    drained = true;
                }
                Poll::Ready(_) => {
                    self.out = Vec::new();
                    self.written = 0;
                    self.end = Some(StreamEnd::Closed);
                    return true;
                }
            }
        }
        if drained {
            self.out = Vec::new();
            self.written = 0;
        }
        if self.unflushed {
            match Pin::new(&mut self.stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => {
                    self.end = Some(StreamEnd::Closed);
                    return true;
                }
            }
        }
        drained
    }

    /// Writes waiting output, closes the stream, and reads what the client still sends until it closes too. Closing a
    /// socket with unread input resets the connection, and the client might never read our output.
    pub async fn finish(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        self.stream.write_all(&self.out[self.written..]).await?;
        self.bytes_out += self.waiting() as u64;
        self.written = self.out.len();
        self.stream.shutdown().await?;
        let mut left = DRAINED_BYTES_MAX;
        while left > 0 {
            // The buffer is on the stack only while reading.
            let count = poll_fn(|cx| {
                let mut room = [MaybeUninit::<u8>::uninit(); READ_BYTES];
                let mut buffer = ReadBuf::uninit(&mut room);
                let polled = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
                polled.map_ok(|()| buffer.filled().len())
            });
            match count.await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }
}
