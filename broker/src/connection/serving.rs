//! An accepted connection: packets in, messages out, deadlines, and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tracing::warn;

use super::connect::Accepted;
use super::stream::{OUT_FULL_BYTES, PacketStream, StreamEnd};
use crate::auth::{Lane, Rules};
use crate::codec::{DisconnectReasonCode, Inbound, decode, encode};
use crate::gate::Gate;
use crate::refusals::ClientLabel;
use crate::session::{Session, Window};

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client said goodbye.
    Client {
        /// Whether it still wants its will published.
        publish_will: bool,
    },
    /// The stream broke.
    Lost,
    /// The client does not read.
    Stalled,
    /// The broker ends it.
    Server(DisconnectReasonCode),
}

impl End {
    /// Whether the broker ended it because of something the client did or failed to do.
    pub fn is_refusal(self) -> bool {
        match self {
            End::Client { .. } | End::Lost => false,
            End::Stalled => true,
            End::Server(code) => code != DisconnectReasonCode::ServerShuttingDown,
        }
    }

    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            End::Client { .. } => "client",
            End::Lost => "lost",
            End::Stalled => "write_stall",
            #[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
            End::Server(code) => match code {
                DisconnectReasonCode::KeepAliveTimeout => "keep_alive",
                DisconnectReasonCode::SessionTakenOver => "taken_over",
                DisconnectReasonCode::ServerShuttingDown => "shutdown",
                DisconnectReasonCode::AdministrativeAction => "revoked",
                DisconnectReasonCode::QuotaExceeded => "quota",
                DisconnectReasonCode::NotAuthorized => "not_authorized",
                DisconnectReasonCode::PacketTooLarge => "packet_too_large",
                DisconnectReasonCode::ServerBusy => "busy",
                DisconnectReasonCode::TopicAliasInvalid => "topic_alias",
                DisconnectReasonCode::TopicNameInvalid => "topic_name",
                DisconnectReasonCode::MessageRateTooHigh => "publish_rate",
                DisconnectReasonCode::ReceiveMaximumExceeded => "receive_maximum",
                DisconnectReasonCode::MalformedPacket | DisconnectReasonCode::ProtocolError => "protocol",
                _ => "other",
            },
        }
    }
}

/// Whether everything that could be written was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Done,
    /// After a pause there may be more.
    More,
}

/// An accepted connection.
pub(super) struct Connection<S> {
    pub gate: Arc<Gate>,
    pub stream: PacketStream<S>,
    pub session: Arc<Session>,
    pub rules: Arc<Rules>,
    peer: SocketAddr,
    /// The topic of a will that it asked for and was refused.
    pub withheld_will_topic: Option<String>,
    pub window: Window,
    pub owner: u64,
    silence_max: Duration,
    session_expiry_s: u32,
    session_present: bool,
    /// Topics behind the client's aliases; alias 1 is the first.
    pub aliases: Vec<Option<Box<str>>>,
    counted: (u64, u64),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(gate: Arc<Gate>, stream: PacketStream<S>, accepted: Accepted) -> Connection<S> {
        Connection {
            gate,
            stream,
            session: accepted.session,
            rules: accepted.rules,
            peer: accepted.peer,
            withheld_will_topic: accepted.withheld_will_topic,
            window: accepted.window,
            owner: accepted.owner,
            silence_max: accepted.silence_max,
            session_expiry_s: accepted.session_expiry_s,
            session_present: accepted.session_present,
            aliases: Vec::new(),
            counted: (0, 0),
        }
    }

    /// Who it is, for the log.
    pub fn who(&self) -> ClientLabel<'_> {
        ClientLabel {
            client: &self.session.key.client_id,
            user: &self.session.key.credential,
            peer: self.peer,
            known: true,
        }
    }

    /// Serves the client until either side ends it.
    pub async fn run(&mut self) -> End {
        if self.session_present {
            self.resume();
        }
        let deadline = tokio::time::sleep_until(self.next_deadline());
        tokio::pin!(deadline);
        let session = self.session.clone();
        let closing = self.gate.closing.clone();
        let closing = closing.cancelled();
        tokio::pin!(closing);
        loop {
            while self.stream.waiting() < OUT_FULL_BYTES {
                let raw = match self.stream.next_packet() {
                    None => break,
                    Some(Ok(raw)) => raw,
                    Some(Err(StreamEnd::Closed)) => return End::Lost,
                    Some(Err(StreamEnd::TooLong)) => return End::Server(DisconnectReasonCode::PacketTooLarge),
                    Some(Err(StreamEnd::Malformed)) => return End::Server(DisconnectReasonCode::MalformedPacket),
                };
                let packet = match decode::inbound(self.window.version, &raw, self.gate.limits.properties) {
                    Ok(packet) => packet,
                    Err(code) => return End::Server(code),
                };
                if let Err(end) = Box::pin(self.handle(packet)).await {
                    return end;
                }
            }
            // Registered before the session is checked, so that nothing queued or decided in between is missed.
            let woken = session.wake.notified();
            match self.fill() {
                Ok(Fill::Done) => {}
                Ok(Fill::More) => {
                    session.wake.notify_one();
                    tokio::task::yield_now().await;
                }
                Err(code) => return End::Server(code),
            }
            self.count_bytes();
            if self.next_deadline() < deadline.deadline() {
                deadline.as_mut().reset(self.next_deadline());
            }
            let mut closes = false;
            let other = async {
                tokio::select! {
                    () = woken => {}
                    () = deadline.as_mut() => {}
                    () = closing.as_mut() => closes = true,
                }
            };
            let _ = self.stream.turn(other).await;
            if closes {
                return End::Server(DisconnectReasonCode::ServerShuttingDown);
            }
            if deadline.is_elapsed() {
                if let Some(end) = self.overdue() {
                    return end;
                }
                deadline.as_mut().reset(self.next_deadline());
            }
        }
    }

    /// Resumes an earlier session, with routes for what it may receive now.
    fn resume(&mut self) {
        if !self.session.state().subscriptions.is_empty() {
            self.gate.route(&self.session, self.owner);
        }
        let mut state = self.session.state();
        if state.dropped > 0 {
            warn!(client = %self.session.key.client_id, dropped = state.dropped, "messages were lost while the client was away");
            state.dropped = 0;
        }
    }

    async fn handle(&mut self, packet: Inbound) -> Result<(), End> {
        if let Some(code) = self.session.state().disconnect_reason(self.owner) {
            // Nothing from this connection may be handled after another connection took over, or after the credential
            // was revoked.
            return Err(End::Server(code));
        }
        self.session.note_packet();
        let version = self.window.version;
        match packet {
            Inbound::Publish(publish) => self.publish(publish).await.map_err(End::Server)?,
            Inbound::PubAck { id } => {
                // An acknowledgement without a message is ignored: it may be from before a takeover.
                let mut state = self.session.state();
                if let Some(round_trip) = state.outbox.acknowledged(id, std::time::Instant::now()) {
                    state.round_trip = Some(round_trip);
                }
            }
            Inbound::PubRec { id, failed } => {
                let found = self.session.state().outbox.received(id, failed, std::time::Instant::now());
                if !failed {
                    encode::pubrel(self.stream.out(), version, id, found);
                }
            }
            Inbound::PubRel { id } => {
                let mut state = self.session.state();
                let held = state.received.iter().position(|received| *received == id);
                if let Some(at) = held {
                    state.received.swap_remove(at);
                }
                drop(state);
                encode::pubcomp(self.stream.out(), version, id, held.is_some());
            }
            Inbound::PubComp { id } => {
                self.session.state().outbox.completed(id);
            }
            Inbound::Subscribe { id, identifier, entries } => {
                self.subscribe(id, identifier, entries).map_err(End::Server)?;
            }
            Inbound::Unsubscribe { id, filters } => self.unsubscribe(id, &filters).map_err(End::Server)?,
            Inbound::PingReq => encode::pingresp(self.stream.out()),
            Inbound::Disconnect { publish_will, session_expiry_s } => {
                return Err(self.send_disconnect(publish_will, session_expiry_s));
            }
        }
        Ok(())
    }

    fn send_disconnect(&mut self, publish_will: bool, session_expiry_s: Option<u32>) -> End {
        if let Some(seconds) = session_expiry_s {
            if self.session_expiry_s == 0 && seconds != 0 {
                return End::Server(DisconnectReasonCode::ProtocolError);
            }
            let mut state = self.session.state();
            if state.owner == self.owner && self.rules.lane == Lane::Client {
                state.expiry = Duration::from_secs(seconds.into()).min(self.gate.limits.session_expiry_max);
            }
        }
        End::Client { publish_will }
    }

    /// Writes the messages that wait for this client, as many as it accepts.
    fn fill(&mut self) -> Result<Fill, DisconnectReasonCode> {
        let mut state = self.session.state();
        if let Some(code) = state.disconnect_reason(self.owner) {
            return Err(code);
        }
        let waiting = self.stream.waiting();
        if waiting >= OUT_FULL_BYTES {
            return Ok(Fill::Done);
        }
        let out = self.stream.out();
        let full = out.len() + (OUT_FULL_BYTES - waiting);
        let retained = &self.gate.retained;
        let filled = state.outbox.fill(out, full, self.window, retained, std::time::Instant::now());
        state.catching_up &= state.outbox.is_half_full();
        drop(state);
        if filled.sent > 0 {
            self.gate.meters.publishes_out.increment(filled.sent);
        }
        if filled.dropped > 0 {
            self.gate.meters.dropped.increment(filled.dropped);
        }
        Ok(if filled.more { Fill::More } else { Fill::Done })
    }

    fn next_deadline(&self) -> Instant {
        let silent = self.stream.last_read + self.silence_max;
        if self.stream.waiting() == 0 {
            return silent;
        }
        silent.min(self.stream.last_written + self.gate.limits.write_stall)
    }

    fn overdue(&self) -> Option<End> {
        let now = Instant::now();
        if now >= self.stream.last_read + self.silence_max {
            return Some(End::Server(DisconnectReasonCode::KeepAliveTimeout));
        }
        let stalled = self.stream.waiting() > 0 && now >= self.stream.last_written + self.gate.limits.write_stall;
        stalled.then_some(End::Stalled)
    }

    /// Gives the session back, and publishes the will if the end calls for it.
    pub async fn release_session(&mut self, end: End) {
        let shutdown = end == End::Server(DisconnectReasonCode::ServerShuttingDown);
        let publish_will = !shutdown && !matches!(end, End::Client { publish_will: false });
        if self.rules.lane == Lane::Device {
            self.unroute_all();
        }
        if let Some(will) = self.gate.sessions.detach(&self.session, self.owner, publish_will) {
            self.gate.publish_will(will).await;
        }
    }

    /// Adds the traffic since the last call to the counters.
    pub fn count_bytes(&mut self) {
        let (bytes_in, bytes_out) = (self.stream.bytes_in, self.stream.bytes_out);
        let (counted_in, counted_out) = self.counted;
        if bytes_in > counted_in {
            self.gate.meters.bytes_in.increment(bytes_in - counted_in);
        }
        if bytes_out > counted_out {
            self.gate.meters.bytes_out.increment(bytes_out - counted_out);
        }
        self.counted = (bytes_in, bytes_out);
    }
}
