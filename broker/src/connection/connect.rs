//! From a client's first packet to its session: CONNECT, login, grants, takeover, CONNACK.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metrics::counter;
use rand::Rng;
use strum::IntoStaticStr;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::IncomingConnection;
use super::stream::{PacketStream, StreamEnd, Turn};
use crate::auth::{ClientIdRule, Lane, Login, Refusal, Rules, Version};
use crate::codec::decode::{self, BadConnect};
use crate::codec::encode::{self, Welcome};
use crate::codec::{Connect, ConnectReasonCode, ConnectWill, RawPacket};
use crate::gate::Gate;
use crate::message::Message;
use crate::refusals::{ClientLabel, Refused};
use crate::session::{Attach, Attached, ConnectionInfo, Session, Will, Window};
use crate::topic::{self, TopicError};

/// How often a login is checked again because credentials were revoked during the check.
const DECISION_RETRIES: usize = 8;
/// Characters of a client identifier the broker assigns.
const ASSIGNED_CHARS: usize = 16;

/// An accepted client.
pub(super) struct Accepted {
    pub session: Arc<Session>,
    pub rules: Arc<Rules>,
    pub peer: SocketAddr,
    /// The topic of a will that it asked for and was refused.
    pub withheld_will_topic: Option<String>,
    /// The connection's number. It owns the session as long as the session has this number.
    pub owner: u64,
    pub window: Window,
    /// Longest silence of the client.
    pub silence_max: Duration,
    /// The session's expiry as asked for: what a DISCONNECT may change.
    pub session_expiry_s: u32,
    pub session_present: bool,
    /// The will of the displaced connection, to be published before anything from this client.
    pub displaced: Option<Will>,
}

/// Why a CONNECT is refused: what the client is told, and the reason in logs and metrics.
type ConnectRefusal = (ConnectReasonCode, &'static str);

/// A client that was not accepted: the reason for logs and metrics, and who it claimed to be.
pub(super) struct RefusedConnect {
    pub reason: &'static str,
    pub client: String,
    pub user: String,
}

impl From<&'static str> for RefusedConnect {
    /// It had not sent a CONNECT.
    fn from(reason: &'static str) -> RefusedConnect {
        RefusedConnect { reason, client: String::new(), user: String::new() }
    }
}

/// Why the broker stops waiting for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
enum LoginCutoff {
    /// The client, or the decision on its login, takes too long.
    #[strum(serialize = "connect_timeout")]
    Late,
    /// New connections need its place.
    #[strum(serialize = "displaced")]
    Displaced,
    /// The broker is ending.
    #[strum(serialize = "shutdown")]
    Closing,
}

/// Waits for a step of an arrival, within the time that an arrival has.
async fn before_deadline<T>(
    gate: &Gate,
    limits: &LoginDeadline,
    step: impl Future<Output = T>,
) -> Result<T, LoginCutoff> {
    tokio::select! {
        done = tokio::time::timeout_at(limits.deadline, step) => done.map_err(|_| LoginCutoff::Late),
        () = limits.displaced.cancelled() => Err(LoginCutoff::Displaced),
        () = gate.closing.cancelled() => Err(LoginCutoff::Closing),
    }
}

/// How long to wait for an arrival.
struct LoginDeadline {
    deadline: tokio::time::Instant,
    displaced: CancellationToken,
}

/// Reads a CONNECT and answers it. On an error, the answer for the client is already in the stream's output.
pub(super) async fn accept<S>(
    gate: &Arc<Gate>,
    stream: &mut PacketStream<S>,
    incoming: &mut IncomingConnection,
) -> Result<Accepted, RefusedConnect>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let patience = LoginDeadline { deadline: incoming.deadline, displaced: incoming.displaced.clone() };
    let raw = match before_deadline(gate, &patience, first_packet(stream)).await.map_err(<&str>::from)? {
        Ok(raw) => raw,
        Err(StreamEnd::TooLong) => {
            if decode::begins_v5_connect(stream.first_bytes()) {
                encode::connack_refused(stream.out(), Version::V5, ConnectReasonCode::PacketTooLarge);
            }
            return Err("packet_too_large".into());
        }
        Err(StreamEnd::Closed | StreamEnd::Malformed) => return Err("closed".into()),
    };
    let connect = match decode::connect(&raw, gate.limits.properties) {
        Ok(connect) => connect,
        Err(bad) => {
            let (version, code, reason) = match bad {
                BadConnect::Malformed => return Err("malformed".into()),
                BadConnect::MalformedV5 => (Version::V5, ConnectReasonCode::MalformedPacket, "malformed"),
                BadConnect::ProtocolV5 => (Version::V5, ConnectReasonCode::ProtocolError, "malformed"),
                BadConnect::NoUserName => (Version::V5, ConnectReasonCode::BadUserNameOrPassword, "credentials"),
                BadConnect::Version => (Version::V311, ConnectReasonCode::UnsupportedProtocolVersion, "version"),
            };
            encode::connack_refused(stream.out(), version, code);
            return Err(reason.into());
        }
    };
    drop(raw);
    let version = connect.version;
    let (client, user) = (connect.client_id.clone(), connect.username.clone().unwrap_or_default());
    let admitted = before_deadline(gate, &patience, admit(gate, connect, incoming)).await;
    let admitted = admitted.unwrap_or_else(|cut| {
        let code = match cut {
            LoginCutoff::Displaced => ConnectReasonCode::ServerBusy,
            // MQTT 5 has no other code for a server that shuts down: 0x8B is for DISCONNECT only.
            LoginCutoff::Late | LoginCutoff::Closing => ConnectReasonCode::ServerUnavailable,
        };
        Err((code, cut.into()))
    });
    match admitted {
        Ok((accepted, welcome)) => {
            let assigned = welcome.assigned.then_some(&*accepted.session.key.client_id);
            let welcome = Welcome {
                session_present: accepted.session_present,
                assigned_client_id: assigned,
                session_expiry_s: welcome.session_expiry_s,
                keep_alive_s: welcome.keep_alive_s,
                receive_maximum: gate.limits.receive_maximum,
                maximum_packet_bytes: gate.limits.packet_bytes,
                topic_aliases: gate.limits.topic_aliases,
                shared_subscriptions: accepted.rules.shared,
            };
            encode::connack_accepted(stream.out(), version, &welcome);
            let lane = accepted.rules.lane.as_str();
            counter!("broker_connects_total", "version" => version.as_str(), "lane" => lane).increment(1);
            Ok(accepted)
        }
        Err((code, reason)) => {
            encode::connack_refused(stream.out(), version, code);
            Err(RefusedConnect { reason, client, user })
        }
    }
}

async fn first_packet<S>(stream: &mut PacketStream<S>) -> Result<RawPacket, StreamEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match stream.next_packet() {
            Some(packet) => return packet,
            None => {
                let _: Turn = stream.turn(std::future::pending()).await;
            }
        }
    }
}

/// What the client is told where it differs from what it asked for.
struct ConnackValues {
    assigned: bool,
    session_expiry_s: Option<u32>,
    keep_alive_s: Option<u16>,
}

async fn admit(
    gate: &Arc<Gate>,
    mut connect: Connect,
    incoming: &mut IncomingConnection,
) -> Result<(Accepted, ConnackValues), ConnectRefusal> {
    let peer = incoming.peer;
    if connect.extended_auth {
        return Err((ConnectReasonCode::BadAuthenticationMethod, "auth_method"));
    }
    check_client_id(gate, &connect)?;
    check_credentials(gate, &connect)?;
    let asked_will = connect.will.take();
    let login = Login {
        client_id: std::mem::take(&mut connect.client_id),
        username: connect.username.take(),
        password: connect.password.take(),
        peer,
        version: connect.version,
    };
    let (mut will, mut withheld) = match asked_will.map(|asked| check_will(gate, asked)).transpose()? {
        Some(Ok(will)) => (Some(will), None),
        Some(Err(topic)) => (None, Some(("topic", topic))),
        None => (None, None),
    };
    let owner = gate.connection_number();
    for _ in 0..DECISION_RETRIES {
        let revocations = gate.sessions.revocations();
        let rules = decide(gate, &login).await?;
        let client_id = bind_client_id(&rules, &login.client_id)?;
        if let Some(refused) = will.take_if(|will| !rules.may_publish(&will.message.topic)) {
            withheld = Some(("not_authorized", refused.message.topic.into()));
        }
        let expiry = session_expiry(gate, &rules, connect.session_expiry_s);
        let attach = Attach {
            owner,
            info: ConnectionInfo {
                number: owner,
                client_id,
                credential: rules.credential.clone(),
                peer,
                version: login.version,
                lane: rules.lane,
                connected_at: SystemTime::now(),
                last_packet_at: SystemTime::now(),
                round_trip: None,
            },
            rules: rules.clone(),
            clean_start: connect.clean_start,
            expiry,
            will: will.take(),
            revocations,
        };
        if !incoming.slot.settle() {
            return Err((ConnectReasonCode::ServerBusy, LoginCutoff::Displaced.into()));
        }
        // Nothing is awaited from here to the return, so that a login that times out cannot leave a session without an
        // owner.
        match gate.sessions.attach(attach) {
            Attached::Revoked(attach) => will = attach.will,
            Attached::Full => return Err((ConnectReasonCode::QuotaExceeded, "session_limit")),
            Attached::Ready { session, present, displaced } => {
                if let Some((reason, topic)) = &withheld {
                    gate.meters.wills_refused.increment(1);
                    let who =
                        ClientLabel { client: &session.key.client_id, user: &rules.credential, peer, known: true };
                    gate.refusals.record(Refused::Will, who, reason, topic);
                }
                let mut connack_values = connack_values(gate, &connect, expiry);
                connack_values.assigned = login.client_id.is_empty();
                let window = window(gate, &connect, rules.lane);
                let silence_max = silence_max(gate, &connect);
                let session_expiry_s = connect.session_expiry_s;
                let accepted = Accepted {
                    session,
                    rules,
                    peer,
                    withheld_will_topic: withheld.map(|(_, topic)| topic),
                    owner,
                    window,
                    silence_max,
                    session_expiry_s,
                    session_present: present,
                    displaced,
                };
                return Ok((accepted, connack_values));
            }
        }
    }
    Err((ConnectReasonCode::ServerBusy, "revocations"))
}

/// The keep alive asked for, if the gate allows it.
fn granted_keep_alive(gate: &Gate, connect: &Connect) -> Option<u16> {
    Some(connect.keep_alive_s).filter(|asked| (1..=gate.limits.keep_alive_max_s).contains(asked))
}

fn connack_values(gate: &Gate, connect: &Connect, expiry: Duration) -> ConnackValues {
    let granted_s = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
    ConnackValues {
        assigned: false,
        session_expiry_s: Some(granted_s).filter(|granted| *granted != connect.session_expiry_s),
        keep_alive_s: granted_keep_alive(gate, connect).is_none().then_some(gate.limits.keep_alive_max_s),
    }
}

fn window(gate: &Gate, connect: &Connect, lane: Lane) -> Window {
    let in_flight = match lane {
        Lane::Device => gate.limits.device_in_flight,
        Lane::Client => gate.limits.client_in_flight,
    };
    Window {
        version: connect.version,
        in_flight: in_flight.min(connect.receive_maximum),
        maximum_packet_bytes: connect.maximum_packet_bytes,
    }
}

/// The longest silence before a client is cut: 1.5 times its keep alive (MQTT 5 section 3.1.2.10).
fn silence_max(gate: &Gate, connect: &Connect) -> Duration {
    let seconds = granted_keep_alive(gate, connect).unwrap_or(match connect.version {
        // The client is told in CONNACK.
        Version::V5 => gate.limits.keep_alive_max_s,
        // 3.1.1 clients cannot be told: what they asked for applies, or the gate's limit if they asked for none.
        Version::V311 if connect.keep_alive_s > 0 => connect.keep_alive_s,
        Version::V311 => gate.limits.keep_alive_max_s,
    });
    Duration::from_millis(u64::from(seconds) * 1_500)
}

fn check_client_id(gate: &Gate, connect: &Connect) -> Result<(), ConnectRefusal> {
    let id = &connect.client_id;
    let kept_without_id = connect.version == Version::V311 && id.is_empty() && !connect.clean_start;
    if id.len() > gate.limits.client_id_bytes || id.contains(char::is_control) || kept_without_id {
        return Err((ConnectReasonCode::ClientIdentifierNotValid, "client_id"));
    }
    Ok(())
}

/// No valid credential is longer; a longer one would only cost time and memory.
fn check_credentials(gate: &Gate, connect: &Connect) -> Result<(), ConnectRefusal> {
    let user_name_bytes = connect.username.as_ref().map_or(0, String::len);
    let password_bytes = connect.password.as_ref().map_or(0, Vec::len);
    if user_name_bytes > gate.limits.user_name_bytes || password_bytes > gate.limits.password_bytes {
        return Err((ConnectReasonCode::BadUserNameOrPassword, "credentials_too_long"));
    }
    Ok(())
}

/// A CONNECT with a will that violates the protocol is refused. A will on a topic that the client may not publish to is
/// left out, and its topic is returned. Bridges and home automation send such wills by default, and could never connect
/// otherwise.
fn check_will(gate: &Gate, will: ConnectWill) -> Result<Result<Will, String>, ConnectRefusal> {
    match topic::check_name(&will.topic, gate.limits.topic_bounds()) {
        Ok(()) => {}
        Err(TopicError::Malformed) => return Err((ConnectReasonCode::TopicNameInvalid, "will_topic")),
        Err(TopicError::Unsupported) => return Ok(Err(will.topic)),
    }
    let message = Message {
        topic: will.topic.into(),
        payload: will.payload,
        qos: will.qos,
        retain: will.retain,
        origin: 0,
        expires_at: None,
        properties: will.properties.into(),
    };
    Ok(Ok(Will {
        message,
        expiry: will.expiry_s.map(|seconds| Duration::from_secs(seconds.into())),
        delay: Duration::from_secs(will.delay_s.into()),
    }))
}

async fn decide(gate: &Gate, login: &Login) -> Result<Arc<Rules>, ConnectRefusal> {
    let name = login.username.as_deref().unwrap_or_default();
    let attempt = if gate.auth.is_guessable(login) {
        let attempt = gate.failed_logins.attempt(login.peer.ip(), name, Instant::now());
        Some(attempt.ok_or((ConnectReasonCode::ConnectionRateExceeded, "failed_logins"))?)
    } else {
        None
    };
    let grants = match gate.auth.authenticate(login).await {
        Ok(grants) => grants,
        Err(Refusal::Unavailable) => return Err((ConnectReasonCode::ServerUnavailable, "unavailable")),
        Err(Refusal::NotAuthorized) => return Err((ConnectReasonCode::NotAuthorized, "not_authorized")),
        Err(Refusal::BadCredentials) => {
            if let Some(attempt) = attempt {
                attempt.failed();
            }
            let failures = gate.failed_logins.failed_name(name, Instant::now());
            if failures > gate.limits.failed_logins_per_name {
                tokio::time::sleep(gate.limits.failed_login_delay).await;
            }
            return Err((ConnectReasonCode::BadUserNameOrPassword, "credentials"));
        }
    };
    if let Some(attempt) = attempt {
        attempt.succeeded(Instant::now());
    }
    let credential = grants.credential.clone();
    let rules = Rules::new(grants, gate.limits.topic_bounds()).map_err(|error| {
        error!(credential, %error, "grants with an invalid filter");
        (ConnectReasonCode::ServerUnavailable, "bad_grants")
    })?;
    Ok(Arc::new(rules))
}

fn bind_client_id(rules: &Rules, asked: &str) -> Result<String, ConnectRefusal> {
    let bound = match (&rules.client_id, asked) {
        (ClientIdRule::Exactly(id), "") => Some(id.clone()),
        (ClientIdRule::Prefix(prefix), "") => Some(format!("{prefix}{}", random_id())),
        (ClientIdRule::Any, "") => Some(random_id()),
        (ClientIdRule::Exactly(id), asked) => (asked == id).then(|| asked.to_owned()),
        (ClientIdRule::Prefix(prefix), asked) => asked.starts_with(prefix.as_str()).then(|| asked.to_owned()),
        (ClientIdRule::Any, asked) => Some(asked.to_owned()),
    };
    bound.ok_or((ConnectReasonCode::ClientIdentifierNotValid, "client_id"))
}

fn random_id() -> String {
    let mut rng = rand::rng();
    (0..ASSIGNED_CHARS).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// Devices keep no session: the sender repeats what they missed.
fn session_expiry(gate: &Gate, rules: &Rules, asked_s: u32) -> Duration {
    match rules.lane {
        Lane::Device => Duration::ZERO,
        Lane::Client => Duration::from_secs(asked_s.into()).min(gate.limits.session_expiry_max),
    }
}
