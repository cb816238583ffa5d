//! The one loop of a module: it drives the core, and keeps a session with the broker.
//!
//! The core never waits for the network: whatever is awaited here (dialling, CONNECT, a publish that is stuck) is
//! awaited beside the core, which is polled at each of its deadlines and edges.
//!
//! MQTT 5 over minimq: client id and user name are the module's id, the password is derived from its secret, the will
//! says offline. Each attempt to connect is a session of its own: nothing is left in minimq that it could send again,
//! since the core itself says again what has to be. A command is taken into the core before the next call on the
//! connection, which is what acknowledges it to the broker; what counts for the server is the ack, which the core gives
//! out only when what it says is in flash.
//!
//! minimq's calls may be cancelled where the stream's reads and writes may; [`Dial::Stream`] must see to that.

use crate::{
    backoff::Backoff,
    module::{Health, Identity, Module, Outputs},
    outbox::{IN_FLIGHT_MAX, Outgoing, Token},
};
use core::{future::Future, pin::pin};
use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_storage_async::nor_flash::NorFlash;
use heapless::Vec;
use minimq::{Buffers, ConfigBuilder, Connection, InboundPublish, Op, Publication, QoS, Session, TopicFilter, Will};
use protocol::{
    console::Info,
    limits::PAYLOAD_MAX_BYTES,
    messages::Settings,
    topics::{Kind, topic},
};

/// Keepalive asked for, in seconds: within the 4.5 to 5 minutes after which carriers drop idle connections.
pub const KEEPALIVE_S: u16 = 120;
/// Dialling and CONNECT together may take so long.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(40);
/// A publish may be stuck in the transport so long before the connection counts as lost.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A farewell may take so long before the module restarts without.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(3);
/// Nothing being heard, the connection is looked after this often, so that a write that got stuck unasked (a ping, an
/// acknowledgement) is noticed.
pub const LOOK_AFTER: Duration = Duration::from_secs(60);
/// A session that lasted so long, in microseconds, shows that the broker has nothing against the module: the next waits
/// begin from the first again.
pub const SETTLED_US: u64 = 10_000_000;
/// While the broker takes no more messages, the core is looked after so much later at the least, in microseconds.
pub const NO_ROOM_US: u64 = 1_000;
/// First wait before dialling again; doubled up to the longest, each drawn at random from its half to its whole.
pub const BACKOFF_FIRST_MS: u64 = 500;
/// Longest wait before dialling again.
pub const BACKOFF_MAX_MS: u64 = 60_000;

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
    /// The machine says that it runs, or no longer.
    Sense {
        /// Whether it runs.
        running: bool,
    },
    /// The button was pressed, or let go; bounce may be in it.
    Button {
        /// Whether it is pressed.
        pressed: bool,
    },
    /// The board or its modem has something new to tell of itself.
    Health(Health),
    /// Settings that somebody at the board gives.
    Settings(Settings),
    /// Somebody at the board asks how the module fares: see [`Board::tell`].
    Tell,
}

/// Pins and clock.
pub trait Board {
    /// Microseconds since boot.
    fn now_us(&self) -> u64;
    /// Sets the output pins.
    fn apply(&mut self, outputs: Outputs);
    /// The next input captured and not taken yet, in order.
    fn take_input(&mut self) -> Option<Input>;
    /// Takes how the module fares, asked for by [`Input::Tell`]; of no use to a board where nobody asks.
    fn tell(&mut self, _info: &Info<'static>) {}
    /// Waits until an input is captured, or the uptime is reached. Must be safe to cancel.
    fn wait(&mut self, until_us: u64) -> impl Future<Output = ()>;
}

/// The way to the broker.
pub trait Dial {
    /// An established byte stream.
    type Stream: minimq::Io;
    /// Why there is none.
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

/// Runs a module for ever, or until it is told to restart. `seed` spreads the waits of many modules.
pub async fn run<F: NorFlash, B: Board, D: Dial>(
    module: &mut Module<F>,
    identity: &Identity,
    board: &mut B,
    dial: &mut D,
    seed: u64,
) -> Ended {
    let mut node = Node { module, board };
    let mut backoff = Backoff::new(BACKOFF_FIRST_MS, BACKOFF_MAX_MS, seed);
    loop {
        let ended = node.session(identity, dial, &mut backoff).await;
        node.module.on_disconnected();
        if let Some(ended) = ended {
            return ended;
        }
        let wait = Timer::after_millis(backoff.next_ms());
        if node.beside(wait).await.is_none() {
            return Ended::Reboot;
        }
    }
}

struct Node<'a, F: NorFlash, B> {
    module: &'a mut Module<F>,
    board: &'a mut B,
}

impl<F: NorFlash, B: Board> Node<'_, F, B> {
    /// Takes inputs and polls the core until nothing is to be done before the uptime given back.
    async fn settle(&mut self) -> u64 {
        loop {
            // Before the inputs are taken: one captured meanwhile must not be found older than the time polled at.
            let now_us = self.board.now_us();
            while let Some(input) = self.board.take_input() {
                match input {
                    Input::Edge { at_us, level_high } => self.module.on_edge(at_us, level_high),
                    Input::Sense { running } => self.module.on_sense(running),
                    Input::Button { pressed } => self.module.on_button(now_us, pressed),
                    Input::Health(health) => self.module.set_health(health),
                    Input::Settings(settings) => self.module.take_settings(settings),
                    Input::Tell => self.board.tell(&self.module.info(now_us)),
                }
            }
            let deadline_us = self.module.poll(now_us).await;
            self.board.apply(self.module.outputs(now_us));
            if deadline_us > now_us {
                return deadline_us;
            }
        }
    }

    /// Awaits `work` with the core running beside it; `None` if the module shall restart meanwhile.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        self.beside_unless(work, |module, now_us| module.wants_reboot(now_us)).await
    }

    async fn beside_unless<T>(
        &mut self,
        work: impl Future<Output = T>,
        ends: impl Fn(&Module<F>, u64) -> bool,
    ) -> Option<T> {
        let mut work = pin!(work);
        loop {
            let deadline_us = self.settle().await;
            if ends(self.module, self.board.now_us()) {
                return None;
            }
            if let Either::First(value) = select(work.as_mut(), self.board.wait(deadline_us)).await {
                return Some(value);
            }
        }
    }

    /// One session, from dialling to its loss.
    async fn session<D: Dial>(&mut self, identity: &Identity, dial: &mut D, backoff: &mut Backoff) -> Option<Ended> {
        let (mut rx, mut tx) = ([0; RX_BYTES], [0; TX_BYTES]);
        let will = self.module.begin_session(self.board.now_us());
        let password = identity.secret.mqtt_password(identity.id);
        let config = config(&mut rx, &mut tx, identity, &password, &will)?;
        let mut session = Session::new(config);
        let connect = with_timeout(CONNECT_TIMEOUT, async {
            let stream = dial.dial().await.ok()?;
            session.connect(stream).await.ok()
        });
        let Some(connected) = self.beside(connect).await else { return Some(Ended::Reboot) };
        let Ok(Some(mut connection)) = connected else { return None };
        let command_topic = topic(identity.id, Kind::Command);
        let filters = [TopicFilter::new(&command_topic)
            .options(minimq::SubscriptionOptions::default().maximum_qos(QoS::AtLeastOnce))];
        let subscribe = with_timeout(WRITE_TIMEOUT, connection.subscribe(&filters, &[]));
        match self.beside(subscribe).await {
            None => return Some(Ended::Reboot),
            Some(Ok(Ok(_))) => {}
            Some(_) => return None,
        }
        self.module.on_connected();
        let since_us = self.board.now_us();
        match self.converse(&mut connection).await {
            Over::Reboot => {
                self.take_leave(&mut connection).await;
                Some(Ended::Reboot)
            }
            Over::Lost => {
                if self.board.now_us().saturating_sub(since_us) >= SETTLED_US {
                    backoff.settled();
                }
                None
            }
        }
    }

    /// Says what is to be said and takes what comes, until the connection is lost.
    async fn converse<S: minimq::Io>(&mut self, connection: &mut Connection<'_, '_, S>) -> Over {
        let mut on_their_way: Vec<(Token, Op), IN_FLIGHT_MAX> = Vec::new();
        loop {
            // What minimq itself has to write (acknowledgements, pings) goes out here, where being stuck has an end.
            match self.beside(with_timeout(WRITE_TIMEOUT, connection.drive())).await {
                None => return Over::Reboot,
                Some(Ok(Ok(Some(message)))) => self.take(&message),
                Some(Ok(Ok(None))) => {}
                Some(_) => return Over::Lost,
            }
            on_their_way.retain(|(token, op)| {
                let heard = connection.is_complete(op);
                if heard {
                    self.module.published(*token);
                }
                !heard
            });
            let deadline_us = self.settle().await;
            if self.module.wants_reboot(self.board.now_us()) {
                return Over::Reboot;
            }
            // Between settling and waiting nothing else is awaited: what the core has to say is never left lying.
            let room = connection.can_publish(QoS::AtLeastOnce) && !on_their_way.is_full();
            let outgoing = if room { self.module.outgoing(self.board.now_us()) } else { None };
            let went_on = match outgoing {
                Some(outgoing) => self.publish(connection, &outgoing, &mut on_their_way).await,
                None if room => self.hear(connection, deadline_us).await,
                // A status may be overdue that a broker of few messages at once has no room for: that is no cause to spin.
                None => self.hear(connection, deadline_us.max(self.board.now_us() + NO_ROOM_US)).await,
            };
            if let Err(over) = went_on {
                return over;
            }
        }
    }

    fn take(&mut self, message: &InboundPublish<'_>) {
        // Longer than any command of ours: for the core it is no command either.
        let payload = message.payload().get(..=PAYLOAD_MAX_BYTES).unwrap_or(message.payload());
        self.module.on_message(self.board.now_us(), message.topic(), payload);
    }

    /// Publishes one message.
    async fn publish<S: minimq::Io>(
        &mut self,
        connection: &mut Connection<'_, '_, S>,
        outgoing: &Outgoing,
        on_their_way: &mut Vec<(Token, Op), IN_FLIGHT_MAX>,
    ) -> Result<(), Over> {
        let topic = topic(self.module.id(), outgoing.kind);
        let mut publication = Publication::bytes(&topic, &outgoing.payload).qos(QoS::AtLeastOnce);
        if outgoing.retain {
            publication = publication.retain();
        }
        let publish = with_timeout(WRITE_TIMEOUT, connection.publish(publication));
        match self.beside(publish).await {
            None => Err(Over::Reboot),
            Some(Ok(Ok(Some(op)))) => {
                // There is room: it was looked for before the core was asked.
                let _ = on_their_way.push((outgoing.token, op));
                Ok(())
            }
            Some(_) => Err(Over::Lost),
        }
    }

    /// Waits until a message or an acknowledgement comes, or the core has something to do.
    async fn hear<S: minimq::Io>(
        &mut self,
        connection: &mut Connection<'_, '_, S>,
        deadline_us: u64,
    ) -> Result<(), Over> {
        let news = with_timeout(LOOK_AFTER, connection.poll());
        match select(news, self.board.wait(deadline_us)).await {
            Either::First(Ok(Ok(Some(message)))) => self.take(&message),
            Either::First(Ok(Err(_))) => return Err(Over::Lost),
            Either::First(Ok(Ok(None)) | Err(_)) | Either::Second(()) => {}
        }
        Ok(())
    }

    /// Says that the module leaves on purpose, if the connection takes it.
    async fn take_leave<S: minimq::Io>(&mut self, connection: &mut Connection<'_, '_, S>) {
        let farewell = self.module.farewell(self.board.now_us());
        let topic = topic(self.module.id(), Kind::Status);
        let leave = with_timeout(FAREWELL_TIMEOUT, async {
            let publication = Publication::bytes(&topic, &farewell).qos(QoS::AtLeastOnce).retain();
            if connection.publish(publication).await.is_ok() {
                // Without it the broker publishes the will, which says the same.
                let _ = connection.disconnect().await;
            }
        });
        // Coins are passed on meanwhile; the restart waits.
        self.beside_unless(leave, |_, _| false).await;
    }
}

/// Why a conversation is over.
enum Over {
    Lost,
    Reboot,
}

fn config<'a>(
    rx: &'a mut [u8],
    tx: &'a mut [u8],
    identity: &'a Identity,
    password: &'a str,
    will: &'a [u8],
) -> Option<ConfigBuilder<'a>> {
    let will = Will::new(&topic(identity.id, Kind::Status), will, &[]).ok()?.retained().qos(QoS::AtLeastOnce);
    let config = ConfigBuilder::new(Buffers::new(rx, tx)).client_id(identity.id.as_str()).ok()?;
    config.auth(identity.id.as_str(), password.as_bytes()).ok()?.keepalive_interval(KEEPALIVE_S).will(will).ok()
}
