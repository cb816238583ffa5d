//! Keeps QEMU's main loop awake while bytes are on their way to the board.
//!
//! QEMU's USART takes a byte from its socket only when its main loop turns, and an idle machine does not turn it. A junk
//! byte to a USART that the image does not listen to turns it: often while something is on a line, seldom otherwise.

use std::{
    io::{ErrorKind, Write},
    os::unix::net::UnixStream,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
    time::{Duration, Instant},
};
use tokio::io::AsyncWrite;

const OFTEN: Duration = Duration::from_micros(100);
const SELDOM: Duration = Duration::from_millis(5);
/// A byte may need so long to be taken: a third of what was measured.
const BYTE_US: u64 = 1000;
/// And some more for those before it.
const REST_US: u64 = 50_000;

/// Says when there is something on a line. Ends with its last handle.
#[derive(Clone)]
pub struct MainLoopWaker {
    awake_until_us: Arc<AtomicU64>,
    begun: Instant,
}

impl MainLoopWaker {
    /// Kicks over this socket until it is closed.
    pub fn start(mut socket: UnixStream) -> std::io::Result<Self> {
        socket.set_nonblocking(true)?;
        let waker = Self { awake_until_us: Arc::default(), begun: Instant::now() };
        let (until_us, begun) = (Arc::downgrade(&waker.awake_until_us), waker.begun);
        thread::Builder::new().name("kick".into()).spawn(move || {
            while let Some(until_us) = until_us.upgrade() {
                match socket.write(&[0]) {
                    // A machine that stands still takes none.
                    Err(error) if error.kind() != ErrorKind::WouldBlock => return,
                    _ => {}
                }
                let awake = until_us.load(Ordering::Relaxed) > micros(begun);
                drop(until_us);
                thread::sleep(if awake { OFTEN } else { SELDOM });
            }
        })?;
        Ok(waker)
    }

    /// So many bytes were put on a line.
    pub fn sent(&self, bytes: usize) {
        let until_us = micros(self.begun) + bytes as u64 * BYTE_US + REST_US;
        self.awake_until_us.fetch_max(until_us, Ordering::Relaxed);
    }
}

fn micros(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_micros()).expect("a test does not run for half a million years")
}

/// A line to the board: what is written is kicked through.
pub struct Line<W> {
    writer: W,
    waker: MainLoopWaker,
}

impl<W> Line<W> {
    /// A line over this socket.
    pub fn new(writer: W, waker: MainLoopWaker) -> Self {
        Self { writer, waker }
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Line<W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.waker.sent(bytes.len());
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}
