//! The log, on standard error.
//!
//! It never delays the program: lines go into a bounded queue, and one thread writes them. If nobody reads them, lines
//! are dropped and counted; once there is a reader again, one line says how many are missing. And no single call site
//! can flood the log with lines that clients provoke (`rate_limit.rs`).

mod rate_limit;

use crate::log::rate_limit::LogRateLimiter;
use anyhow::{Context, Result};
use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter, layer::SubscriberExt, util::SubscriberInitExt};

/// How many lines may wait to be read.
const QUEUE_LINES: usize = 2048;
/// The longest line; the rest is cut off.
const LINE_BYTES: usize = 8 * 1024;
/// How often omitted lines are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long the end of the process waits for the last lines to be read.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The queue, once the log has begun.
static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Starts the log of what passes the filter. To be called once.
pub fn begin(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("setting log: {filter:?} is not a filter such as \"info\""))?;
    let rate_limiter = Arc::new(LogRateLimiter::default());
    let queue = Queue::start(io::stderr(), rate_limiter.clone()).context("cannot start the log's thread")?;
    let queue = QUEUE.get_or_init(|| queue).clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(queue);
    tracing_subscriber::registry().with(filter).with(rate_limit::Limit(rate_limiter)).with(lines).try_init()?;
    // Otherwise a panic in a task would write to standard error directly, and block there if nobody reads.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "panicked: {}", panic.payload_as_str().unwrap_or("without a text"));
    }));
    Ok(())
}

/// Logs why the process ends, and writes the last lines; does not wait for long if nobody reads them.
pub fn end(failure: Option<&anyhow::Error>) {
    let last = failure.map(|failure| format!("Error: {failure:?}\n")).unwrap_or_default();
    let queue = match QUEUE.get() {
        Some(queue) => queue.clone(),
        None => match Queue::start(io::stderr(), Arc::default()) {
            Ok(queue) => queue,
            Err(_) => return,
        },
    };
    queue.finish(last.into_bytes(), FLUSH_TIMEOUT);
}

enum Entry {
    Line(Vec<u8>),
    /// Everything before it is written; the holder of the receiver notices that the sender is dropped.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone)]
struct Queue {
    lines: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(output: impl Write + Send + 'static, rate_limiter: Arc<LogRateLimiter>) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(QUEUE_LINES);
        let dropped = Arc::new(AtomicU64::new(0));
        let writing = Writing { output, waiting, dropped: dropped.clone(), rate_limiter };
        thread::Builder::new().name("log".into()).spawn(move || writing.run())?;
        Ok(Self { lines, dropped })
    }

    /// Queues a line, or counts it if there is no room.
    fn push(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Entry::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("coinwire_log_lines_dropped_total").increment(1);
        }
    }

    /// Writes a last line and all before it, within the given time.
    fn finish(&self, last: Vec<u8>, within: Duration) {
        let until = Instant::now() + within;
        let (flushed, told) = sync_channel(0);
        for mut entry in [Entry::Line(last), Entry::Flush(flushed)] {
            while let Err(TrySendError::Full(again)) = self.lines.try_send(entry) {
                if Instant::now() >= until {
                    return;
                }
                entry = again;
                thread::sleep(Duration::from_millis(5));
            }
        }
        let _ = told.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// The thread that writes.
struct Writing<W> {
    output: W,
    waiting: Receiver<Entry>,
    dropped: Arc<AtomicU64>,
    rate_limiter: Arc<LogRateLimiter>,
}

impl<W: Write> Writing<W> {
    fn run(mut self) {
        let mut told_at = Instant::now();
        loop {
            let entry = self.waiting.try_recv().or_else(|_| {
                // Everything that found room is written; the gap begins here.
                self.report_dropped();
                self.waiting.recv_timeout(REPORT_INTERVAL.saturating_sub(told_at.elapsed()))
            });
            match entry {
                // An error while writing the log cannot be reported anywhere.
                Ok(Entry::Line(line)) => drop(self.output.write_all(&line)),
                Ok(Entry::Flush(_told)) => {
                    self.report_dropped();
                    self.report_suppressed();
                    let _ = self.output.flush();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if told_at.elapsed() >= REPORT_INTERVAL {
                told_at = Instant::now();
                self.report_suppressed();
            }
        }
    }

    fn report_dropped(&mut self) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ =
                writeln!(self.output, "WARN coinwire::log: nobody read the log, and {dropped} lines are missing here");
        }
    }

    fn report_suppressed(&mut self) {
        for line in self.rate_limiter.take_suppressed() {
            let _ = writeln!(self.output, "WARN coinwire::log: {line}");
        }
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { queue: self, bytes: vec![] }
    }
}

/// A line being written; it is queued when dropped.
struct Line<'a> {
    queue: &'a Queue,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = LINE_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let mut line = std::mem::take(&mut self.bytes);
        if line.len() == LINE_BYTES {
            line.extend_from_slice(b"..\n");
        }
        self.queue.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Mutex, mpsc};

    /// An output that accepts data only when it is allowed to.
    struct Gate {
        let_through: mpsc::Receiver<()>,
        seen: Arc<Mutex<String>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.let_through.recv();
            self.seen.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_unread_log_blocks_nothing_and_reports_what_is_missing() {
        let (open, let_through) = mpsc::channel();
        let seen = Arc::new(Mutex::new(String::new()));
        let queue = Queue::start(Gate { let_through, seen: seen.clone() }, Arc::default()).unwrap();
        for number in 0..QUEUE_LINES + 500 {
            writeln!(queue.make_writer(), "line {number}").unwrap();
        }
        let missing = queue.dropped.load(Ordering::Relaxed);
        assert!((499..=500).contains(&missing), "{missing}: one line may be in the writer's hands");
        queue.finish(vec![], Duration::from_millis(50));
        assert_eq!(*seen.lock().unwrap(), "", "and the end of the process does not wait for it either");
        // The reader is back.
        drop(open);
        queue.finish(b"last\n".to_vec(), Duration::from_secs(60));
        let seen = seen.lock().unwrap().clone();
        assert!(seen.starts_with("line 0\n"), "{seen}");
        assert!(seen.contains(&format!("{missing} lines are missing here\n")), "{seen}");
        assert!(seen.contains("last\n"), "{seen}");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let queue = Queue { lines: sync_channel(1).0, dropped: Arc::default() };
        let mut line = queue.make_writer();
        for _ in 0..100 {
            line.write_all(&[b'x'; 1000]).unwrap();
        }
        assert_eq!(line.bytes.len(), LINE_BYTES);
    }
}
