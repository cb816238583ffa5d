//! The simulated modem: strict, with real TCP behind it.
//!
//! [`core`] is the state machine, [`at`] its parser (which shares nothing with the driver's), a file a family what its
//! commands do. This file does the I/O: the line to the host on one side, a TCP connection to the broker on the other.
//! It is strict: an unknown command is an ERROR, a command in the wrong state the maker's own error, a line sent before
//! the last was answered is counted.

mod a7670;
pub mod at;
pub mod core;
mod family;
pub mod meter;
pub mod plan;
mod quectel;
mod sim800;

pub use self::core::{Core, Counters, Effect, Power};
pub use family::Family;
pub use meter::{Meter, Way};
pub use plan::{Answer, Fault, Plan, Registration};

use meter::{Connection, Segment};
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{Notify, mpsc},
    task::JoinHandle,
};

/// A dial that gets no answer ends so much later.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a modem without anything due looks around.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The host's side of the line was told where it is; lines come and go as the board does.
pub struct Modem {
    shared: Arc<Shared>,
    lines: mpsc::UnboundedSender<Line>,
    task: JoinHandle<()>,
}

struct Shared {
    core: Mutex<Core>,
    meter: Mutex<Meter>,
    /// What went over the line, for people: `<` from the host, `>` to it.
    log: Mutex<Vec<(Instant, Way, Vec<u8>)>>,
    wake: Notify,
    begun: Instant,
}

struct Line {
    reader: Box<dyn AsyncRead + Send + Unpin>,
    writer: Box<dyn AsyncWrite + Send + Unpin>,
}

impl Modem {
    /// A modem that is off.
    pub fn start(family: Family, plan: Plan, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            core: Mutex::new(Core::new(family, plan, seed)),
            meter: Mutex::default(),
            log: Mutex::default(),
            wake: Notify::new(),
            begun: Instant::now(),
        });
        let (lines, incoming) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(shared.clone(), incoming));
        Self { shared, lines, task }
    }

    /// Connects a host's line; one before is gone.
    pub fn connect<R, W>(&self, reader: R, writer: W)
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        // It fails only when the task is gone, and then there is nobody to connect.
        let _ = self.lines.send(Line { reader: Box::new(reader), writer: Box::new(writer) });
    }

    /// Does something to the modem.
    pub fn with<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let value = change(&mut self.shared.core());
        self.shared.wake.notify_one();
        value
    }

    /// Changes how it behaves.
    pub fn plan(&self, change: impl FnOnce(&mut Plan)) {
        self.with(|core| change(&mut core.plan));
    }

    /// Puts bytes on the line that nobody meant.
    pub fn noise(&self, bytes: &[u8]) {
        self.with(|core| core.noise(bytes));
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.shared.core().counters()
    }

    /// Whether it is on.
    pub fn power(&self) -> Power {
        self.shared.core().power()
    }

    /// Whether a TCP connection stands.
    pub fn is_connected(&self) -> bool {
        self.shared.core().is_connected()
    }

    /// What went over its TCP connections.
    pub fn meter(&self) -> Meter {
        lock(&self.shared.meter).clone()
    }

    /// What went over the line to the host, for people to read.
    pub fn transcript(&self) -> String {
        let mut text = String::new();
        for (at, way, bytes) in lock(&self.shared.log).iter() {
            let at_ms = at.duration_since(self.shared.begun).as_millis();
            let arrow = if *way == Way::Up { '<' } else { '>' };
            text += &format!("{at_ms:7} {arrow} {}\n", bytes.escape_ascii());
        }
        text
    }
}

impl Drop for Modem {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    /// The core, at the present time.
    fn core(&self) -> MutexGuard<'_, Core> {
        let mut core = lock(&self.core);
        core.touch(self.now());
        core
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn count(&self, connection: u32, way: Way, bytes: &[u8]) {
        let mut meter = lock(&self.meter);
        let index = (connection as usize).saturating_sub(1);
        while meter.connections.len() <= index {
            meter.connections.push(Connection::default());
        }
        let segment = Segment { at: Instant::now(), way, bytes: bytes.to_vec() };
        meter.connections[index].segments.push(segment);
    }

    fn note(&self, way: Way, bytes: &[u8]) {
        lock(&self.log).push((Instant::now(), way, bytes.to_vec()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

enum News {
    Host(Vec<u8>),
    HostGone { line: u32 },
    Dialled { connection: u32, stream: Option<TcpStream> },
    Network { connection: u32, bytes: Vec<u8> },
    Hung { connection: u32 },
}

async fn run(shared: Arc<Shared>, mut lines: mpsc::UnboundedReceiver<Line>) {
    let (news, mut incoming) = mpsc::unbounded_channel();
    let mut host: Option<(Box<dyn AsyncWrite + Send + Unpin>, JoinHandle<()>)> = None;
    let mut lines_so_far = 0;
    let mut peer: Option<(u32, OwnedWriteHalf, JoinHandle<()>)> = None;
    // Connections that nobody closed: they end with the modem.
    let mut abandoned = vec![];
    loop {
        let effects = shared.core().poll(shared.now());
        for effect in effects {
            match effect {
                Effect::Line(bytes) => {
                    shared.note(Way::Down, &bytes);
                    if let Some((writer, _)) = host.as_mut() {
                        // A host that is gone hears nothing.
                        let _ = writer.write_all(&bytes).await;
                        let _ = writer.flush().await;
                    }
                }
                Effect::Dial { connection, host, port } => {
                    let news = news.clone();
                    tokio::spawn(async move {
                        let dial = tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((host.as_str(), port)));
                        let stream = dial.await.ok().and_then(Result::ok);
                        let _ = news.send(News::Dialled { connection, stream });
                    });
                }
                Effect::Send(bytes) => {
                    if let Some((connection, writer, _)) = peer.as_mut() {
                        shared.count(*connection, Way::Up, &bytes);
                        // A peer that is gone shows when it is read.
                        let _ = writer.write_all(&bytes).await;
                    }
                }
                Effect::Hang => {
                    if let Some((_, writer, reading)) = peer.take() {
                        reading.abort();
                        drop(writer);
                    }
                }
                Effect::Abandon => abandoned.extend(peer.take().map(|(_, writer, reading)| {
                    reading.abort();
                    writer
                })),
            }
        }
        let deadline = shared.core().deadline();
        let rest = deadline.map_or(POLL_INTERVAL, |at| at.saturating_sub(shared.now())).min(POLL_INTERVAL);
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else { return };
                if let Some((_, reading)) = host.take() {
                    reading.abort();
                }
                lines_so_far += 1;
                host = Some((line.writer, tokio::spawn(listen(lines_so_far, line.reader, news.clone()))));
            }
            Some(news_item) = incoming.recv() => match news_item {
                News::Host(bytes) => {
                    shared.note(Way::Up, &bytes);
                    shared.core().from_line(&bytes);
                }
                News::HostGone { line } if line == lines_so_far => host = None,
                News::HostGone { .. } => {}
                News::Dialled { connection, stream } => {
                    shared.core().dialled(connection, stream.is_some());
                    if let Some(stream) = stream {
                        let _ = stream.set_nodelay(true);
                        let (reader, writer) = stream.into_split();
                        let reading = tokio::spawn(receive(connection, reader, news.clone()));
                        peer = Some((connection, writer, reading));
                    }
                }
                News::Network { connection, bytes } => {
                    shared.count(connection, Way::Down, &bytes);
                    shared.core().from_network(connection, &bytes);
                }
                News::Hung { connection } => shared.core().hung(connection),
            },
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(rest) => {}
        }
    }
}

async fn listen(line: u32, mut reader: Box<dyn AsyncRead + Send + Unpin>, news: mpsc::UnboundedSender<News>) {
    let mut buffer = [0; 512];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let _ = news.send(News::Host(buffer[..count].to_vec()));
    }
    let _ = news.send(News::HostGone { line });
}

async fn receive(connection: u32, mut reader: OwnedReadHalf, news: mpsc::UnboundedSender<News>) {
    let mut buffer = [0; 2048];
    while let Ok(count @ 1..) = reader.read(&mut buffer).await {
        let _ = news.send(News::Network { connection, bytes: buffer[..count].to_vec() });
    }
    let _ = news.send(News::Hung { connection });
}
