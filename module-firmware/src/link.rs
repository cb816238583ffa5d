//! The loop of a module: it drives the core, writes the core's data to flash, and keeps a session with the broker.
//!
//! Two futures share the core, each for the length of a call. `core_loop` takes the board's inputs, polls the core at
//! each of its deadlines and sets the outputs, while a write to flash runs in parallel; so an edge waits neither for
//! flash nor for the network. `connection_loop` dials, publishes outgoing messages and receives incoming ones.
//!
//! MQTT 5 over minimq: client id and user name are the module's id, the password is derived from its secret, the will
//! says offline. Each attempt to connect is a new session: minimq keeps nothing that it could send again, since the
//! core itself repeats what is needed. A command is handed to the core before the next call on the connection, which
//! acknowledges it to the broker. What counts for the server is the ack, which the core sends only when its content is
//! in flash.
//!
//! minimq's calls can be cancelled if the stream's reads and writes can; [`Dial::Stream`] must ensure this.

use crate::{
    backoff::Backoff,
    module::{Health, Identity, Module, Outputs},
    outbox::{IN_FLIGHT_MAX, Outgoing, Token},
    store::Store,
};
use core::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::{Future, pending},
    pin::pin,
};
use embassy_futures::select::{Either, Either3, select, select3};
use embassy_sync::{blocking_mutex::raw::NoopRawMutex, signal::Signal};
use embassy_time::{Duration, Instant, Timer, with_timeout};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Vec;
use minimq::{Buffers, ConfigBuilder, Connection, InboundPublish, Op, Publication, QoS, Session, TopicFilter, Will};
use protocol::{
    ModuleId,
    console::Info,
    limits::PAYLOAD_MAX_BYTES,
    messages::Settings,
    topics::{Kind, topic},
};

/// How long dialling, CONNECT and SUBSCRIBE together may take.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(40);
/// How long a publish may be stuck in the transport before the connection counts as lost.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a farewell may take before the module restarts without it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// How often the connection is serviced while nothing is received, so that a stuck automatic write (a ping, an
/// acknowledgement) is noticed.
pub const IDLE_CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// A session of this length shows that the broker accepts the module: the backoff is reset.
pub const STABLE_AFTER: Duration = Duration::from_secs(10);
/// First wait before dialling again; doubled up to the longest. Each wait is a random value between its half and its
/// whole.
pub const BACKOFF_FIRST_MS: u64 = 500;
/// Longest wait before dialling again.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Inputs taken at most before the core is polled.
pub const INPUTS_MAX: usize = 128;

const RX_BYTES: usize = 512;
const TX_BYTES: usize = 1536;

/// Something that happened on an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// An edge of the coin line, with the uptime of its capture in microseconds.
    Edge {
        /// When.
        at_us: u64,
        /// The level since.
        level_high: bool,
    },
    /// The sense input says that the machine runs, or that it stopped.
    Sense {
        /// Whether it runs.
        running: bool,
    },
    /// The button was pressed or released; may include bounce.
    Button {
        /// Whether it is pressed.
        pressed: bool,
    },
    /// The board or its modem has new health data.
    Health(Health),
    /// Settings given by somebody at the board.
    Settings(Settings),
    /// Somebody at the board asks for the module's state: see [`Board::tell`]. Settings given before are written first.
    Tell,
}

/// Pins and clock.
pub trait Board {
    /// Microseconds since boot.
    fn now_us(&self) -> u64;
    /// Sets the output pins.
    fn apply(&mut self, outputs: Outputs);
    /// The next captured input that was not taken yet, in order.
    fn take_input(&mut self) -> Option<Input>;
    /// Receives the module's state, asked for by [`Input::Tell`]. Not needed by a board where nobody asks.
    fn tell(&mut self, _info: &Info<'static>) {}
    /// Waits until an input is captured, or the uptime is reached. Must be safe to cancel.
    fn wait(&mut self, until_us: u64) -> impl Future<Output = ()>;
}

/// The way to the broker.
pub trait Dial {
    /// An established byte stream.
    type Stream: minimq::Io;
    /// Why there is no connection.
    type Error;
    /// Dials once.
    fn dial(&mut self) -> impl Future<Output = Result<Self::Stream, Self::Error>>;
}

/// Why the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A restart was commanded.
    Reboot,
}

/// Runs a module for ever, or until it must restart. `store` is the store it booted from; `seed` spreads the waits of
/// many modules.
pub async fn run<F: NorFlash, B: Board, D: Dial>(
    module: &mut Module,
    store: &mut Store<F>,
    identity: &Identity,
    board: &mut B,
    dial: &mut D,
    seed: u64,
) -> Ended {
    let node = Node {
        boot_us: Instant::now().as_micros().saturating_sub(board.now_us()),
        module: RefCell::new(module),
        told: Signal::new(),
        news: Signal::new(),
        leave: Signal::new(),
        asked: Cell::new(false),
    };
    let connected = async {
        let ended = node.connection_loop(identity, dial, seed).await;
        while node.module.borrow().is_writing() {
            node.news.wait().await;
        }
        ended
    };
    match select(node.core_loop(store, board), connected).await {
        Either::First(never) => match never {},
        Either::Second(ended) => ended,
    }
}

/// The core, and how the two futures around it call each other.
struct Node<'a> {
    /// The time driver's time of uptime zero, in microseconds.
    boot_us: u64,
    /// Borrowed only during calls that await nothing, so never twice at a time.
    module: RefCell<&'a mut Module>,
    /// The core got something from the network and must be polled.
    told: Signal<NoopRawMutex, ()>,
    /// The core was polled, and may have something to send.
    news: Signal<NoopRawMutex, ()>,
    /// The core wants a restart.
    leave: Signal<NoopRawMutex, ()>,
    /// Somebody at the board asked for the module's state and was not answered yet.
    asked: Cell<bool>,
}

impl Node<'_> {
    fn now_us(&self) -> u64 {
        Instant::now().as_micros().saturating_sub(self.boot_us)
    }

    /// Tells the core something.
    fn tell(&self, something: impl FnOnce(&mut Module, u64)) {
        let now_us = self.now_us();
        something(&mut self.module.borrow_mut(), now_us);
        self.news.reset();
        self.told.signal(());
    }

    /// The core's next outgoing message. The core is polled first if it got something new.
    async fn outgoing(&self) -> Option<Outgoing> {
        if self.told.signaled() {
            self.news.wait().await;
        }
        self.module.borrow_mut().outgoing(self.now_us())
    }

    /// Lets the core act, and flash be written beside it.
    async fn core_loop<F: NorFlash, B: Board>(&self, store: &mut Store<F>, board: &mut B) -> Infallible {
        loop {
            // Nothing is awaited between settling and waiting, so that no wish of the core is left undone.
            let deadline_us = self.settle(board);
            let write = self.module.borrow_mut().take_write(board.now_us());
            let Some(write) = write else {
                self.wait(board, deadline_us, pending::<Infallible>()).await;
                continue;
            };
            let mut writing = pin!(write.carry_out(store));
            let outcome = loop {
                let deadline_us = self.settle(board);
                if let Some(outcome) = self.wait(board, deadline_us, writing.as_mut()).await {
                    break outcome;
                }
            };
            self.module.borrow_mut().written(&write, outcome, board.now_us());
        }
    }

    /// Waits until the core has to be polled, or `work` is done.
    async fn wait<B: Board, T>(&self, board: &mut B, until_us: u64, work: impl Future<Output = T>) -> Option<T> {
        match select3(work, board.wait(until_us), self.told.wait()).await {
            Either3::First(done) => Some(done),
            Either3::Second(()) | Either3::Third(()) => None,
        }
    }

    /// Takes inputs and polls the core until there is nothing to do before the returned uptime.
    fn settle<B: Board>(&self, board: &mut B) -> u64 {
        let mut module = self.module.borrow_mut();
        loop {
            // Read before the inputs are taken: an input captured in between must not be older than the time of the
            // poll.
            let now_us = board.now_us();
            // Limited, because a line that never rests must not delay outputs and watchdog.
            for _ in 0..INPUTS_MAX {
                let Some(input) = board.take_input() else { break };
                match input {
                    Input::Edge { at_us, level_high } => module.on_edge(at_us, level_high),
                    Input::Sense { running } => module.on_sense(now_us, running),
                    Input::Button { pressed } => module.on_button(now_us, pressed),
                    Input::Health(health) => module.set_health(health),
                    Input::Settings(settings) => module.take_settings(settings),
                    Input::Tell => self.asked.set(true),
                }
            }
            // Not between settings given and settings in force: what is told is what holds.
            if self.asked.get() && !module.is_taking_settings() {
                self.asked.set(false);
                board.tell(&module.info(now_us));
            }
            let deadline_us = module.poll(now_us);
            board.apply(module.outputs(now_us));
            if deadline_us > now_us {
                self.news.signal(());
                if module.wants_reboot(now_us) {
                    self.leave.signal(());
                }
                return deadline_us;
            }
        }
    }

    /// Connects again and again, until the core wants a restart.
    async fn connection_loop<D: Dial>(&self, identity: &Identity, dial: &mut D, seed: u64) -> Ended {
        let mut backoff = Backoff::new(BACKOFF_FIRST_MS, BACKOFF_MAX_MS, seed);
        loop {
            let over = self.session(identity, dial).await;
            self.tell(|module, _| module.on_disconnected());
            match over {
                SessionEnd::Left => return Ended::Reboot,
                SessionEnd::Lost { settled: true } => backoff.settled(),
                SessionEnd::Lost { settled: false } => {}
            }
            let wait = Timer::after_millis(backoff.next_ms());
            if let Either::First(()) = select(self.leave.wait(), wait).await {
                return Ended::Reboot;
            }
        }
    }

    /// One session, from dialling to its end.
    async fn session<D: Dial>(&self, identity: &Identity, dial: &mut D) -> SessionEnd {
        const NONE: SessionEnd = SessionEnd::Lost { settled: false };
        let (mut rx, mut tx) = ([0; RX_BYTES], [0; TX_BYTES]);
        let will = self.module.borrow_mut().begin_session(self.now_us());
        let password = identity.secret.mqtt_password(identity.id);
        let keepalive_s = self.keepalive_s();
        let Some(config) = config(&mut rx, &mut tx, identity, &password, &will, keepalive_s) else { return NONE };
        let mut session = Session::new(config);
        let connect = with_timeout(CONNECT_TIMEOUT, async {
            let stream = dial.dial().await.ok()?;
            let mut connection = session.connect(stream).await.ok()?;
            let command_topic = topic(identity.id, Kind::Command);
            let options = minimq::SubscriptionOptions::default().maximum_qos(QoS::AtLeastOnce);
            connection.subscribe(&[TopicFilter::new(&command_topic).options(options)], &[]).await.ok()?;
            Some(connection)
        });
        let mut connection = match select(self.leave.wait(), connect).await {
            Either::First(()) => return SessionEnd::Left,
            Either::Second(Ok(Some(connection))) => connection,
            Either::Second(_) => return NONE,
        };
        self.tell(|module, _| module.on_connected());
        let since = Instant::now();
        match select(self.leave.wait(), self.serve_session(&mut connection, identity.id, keepalive_s)).await {
            Either::First(()) => {
                self.send_farewell(&mut connection, identity.id).await;
                SessionEnd::Left
            }
            Either::Second(()) => SessionEnd::Lost { settled: since.elapsed() >= STABLE_AFTER },
        }
    }

    fn keepalive_s(&self) -> u16 {
        self.module.borrow().settings().keepalive()
    }

    /// Publishes and receives, until the connection is lost or needs another keepalive.
    async fn serve_session<S: minimq::Io>(
        &self,
        connection: &mut Connection<'_, '_, S>,
        id: ModuleId,
        keepalive_s: u16,
    ) {
        let mut on_their_way: Vec<(Token, Op), IN_FLIGHT_MAX> = Vec::new();
        loop {
            // minimq's own output (acknowledgements, pings) is sent here, where a timeout applies.
            match with_timeout(WRITE_TIMEOUT, connection.drive()).await {
                Ok(Ok(Some(message))) => self.take(&message),
                Ok(Ok(None)) => {}
                _ => return,
            }
            on_their_way.retain(|(token, op)| {
                let heard = connection.is_complete(op);
                if heard {
                    self.tell(|module, _| module.published(*token));
                }
                !heard
            });
            let room = connection.can_publish(QoS::AtLeastOnce) && !on_their_way.is_full();
            let outgoing = if room { self.outgoing().await } else { None };
            let Some(outgoing) = outgoing else {
                if on_their_way.is_empty() && self.keepalive_s() != keepalive_s {
                    return;
                }
                match select(self.news.wait(), with_timeout(self.receive_timeout(room), connection.poll())).await {
                    Either::Second(Ok(Ok(Some(message)))) => self.take(&message),
                    Either::Second(Ok(Err(_))) => return,
                    Either::First(()) | Either::Second(Ok(Ok(None)) | Err(_)) => {}
                }
                continue;
            };
            let topic = topic(id, outgoing.kind);
            let mut publication = Publication::bytes(&topic, &outgoing.payload).qos(QoS::AtLeastOnce);
            if outgoing.retain {
                publication = publication.retain();
            }
            let Ok(Ok(Some(op))) = with_timeout(WRITE_TIMEOUT, connection.publish(publication)).await else { return };
            // There is room; this was checked before asking the core.
            let _ = on_their_way.push((outgoing.token, op));
        }
    }

    /// How long to listen when there is nothing to send: until the next status is due, if it can be sent.
    fn receive_timeout(&self, room: bool) -> Duration {
        let due_us = self.module.borrow().status_due_us().filter(|_| room);
        let wait = |due_us: u64| IDLE_CHECK_INTERVAL.min(Duration::from_micros(due_us.saturating_sub(self.now_us())));
        due_us.map_or(IDLE_CHECK_INTERVAL, wait)
    }

    fn take(&self, message: &InboundPublish<'_>) {
        // Longer than any command of ours; the core also drops it as an invalid command.
        let payload = message.payload().get(..=PAYLOAD_MAX_BYTES).unwrap_or(message.payload());
        self.tell(|module, now_us| module.on_message(now_us, message.topic(), payload));
    }

    /// Publishes that the module leaves on purpose, if the connection still works.
    async fn send_farewell<S: minimq::Io>(&self, connection: &mut Connection<'_, '_, S>, id: ModuleId) {
        let farewell = self.module.borrow().farewell(self.now_us());
        let topic = topic(id, Kind::Status);
        let leave = with_timeout(FAREWELL_TIMEOUT, async {
            let publication = Publication::bytes(&topic, &farewell).qos(QoS::AtLeastOnce).retain();
            if connection.publish(publication).await.is_ok() {
                // Without it the broker publishes the will, which says the same.
                let _ = connection.disconnect().await;
            }
        });
        let _ = leave.await;
    }
}

/// How a session ended.
enum SessionEnd {
    /// The connection was lost, or never made; `settled` if it had lasted.
    Lost { settled: bool },
    /// The module leaves on purpose.
    Left,
}

fn config<'a>(
    rx: &'a mut [u8],
    tx: &'a mut [u8],
    identity: &'a Identity,
    password: &'a str,
    will: &'a [u8],
    keepalive_s: u16,
) -> Option<ConfigBuilder<'a>> {
    let will = Will::new(&topic(identity.id, Kind::Status), will, &[]).ok()?.retained().qos(QoS::AtLeastOnce);
    let config = ConfigBuilder::new(Buffers::new(rx, tx)).client_id(identity.id.as_str()).ok()?;
    config.auth(identity.id.as_str(), password.as_bytes()).ok()?.keepalive_interval(keepalive_s).will(will).ok()
}
