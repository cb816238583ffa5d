//! From a client's first packet to its session: CONNECT, login, grants, takeover, CONNACK.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use metrics::counter;
use rand::Rng;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::{error, warn};

use super::stream::{PacketStream, Turn};
use crate::auth::{ClientIdRule, Lane, Login, Refusal, Rules, Version};
use crate::codec::decode::{self, BadConnect};
use crate::codec::encode::{self, Welcome};
use crate::codec::{Connect, ConnectReasonCode, ConnectWill, RawPacket};
use crate::gate::Gate;
use crate::message::Message;
use crate::session::{Attach, Attached, ConnectionInfo, Session, Will, Window};
use crate::topic;

/// How often a login is decided again because credentials were revoked while it was decided.
const DECIDE_AGAIN: usize = 8;
/// Characters of a user name that are logged.
const LOGGED_CHARS: usize = 64;
/// Characters of a client identifier the broker assigns.
const ASSIGNED_CHARS: usize = 16;

/// An accepted client.
pub(super) struct Accepted {
    pub session: Arc<Session>,
    pub rules: Arc<Rules>,
    /// The connection's number: it owns the session while the session says so.
    pub owner: u64,
    pub window: Window,
    /// Longest silence of the client.
    pub silence_max: Duration,
    /// The session's expiry as asked for: what a DISCONNECT may change.
    pub session_expiry_s: u32,
    pub session_present: bool,
    /// The will of whoever was displaced, to be published before anything of this client.
    pub displaced: Option<Will>,
}

/// Why a CONNECT is refused: what the client is told, and the reason in logs and metrics.
type Refused = (ConnectReasonCode, &'static str);

/// Reads a CONNECT and answers it. The error is the reason for logs and metrics; the client has been told what it may be
/// told, once the stream's output is written.
pub(super) async fn accept<S>(
    gate: &Arc<Gate>,
    stream: &mut PacketStream<S>,
    peer: SocketAddr,
) -> Result<Accepted, &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let raw = first_packet(stream).await?;
    let connect = match decode::connect(&raw, gate.limits.properties) {
        Ok(connect) => connect,
        Err(bad) => {
            let (version, code) = match bad {
                BadConnect::Malformed => return Err("malformed"),
                BadConnect::MalformedV5 => (Version::V5, ConnectReasonCode::MalformedPacket),
                BadConnect::NoUserName => (Version::V5, ConnectReasonCode::BadUserNameOrPassword),
                BadConnect::Version => (Version::V311, ConnectReasonCode::UnsupportedProtocolVersion),
            };
            encode::connack_refused(stream.out(), version, code);
            return Err("malformed");
        }
    };
    drop(raw);
    let version = connect.version;
    match admit(gate, connect, peer).await {
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
            Err(reason)
        }
    }
}

async fn first_packet<S>(stream: &mut PacketStream<S>) -> Result<RawPacket, &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match stream.next_packet() {
            Some(Ok(packet)) => return Ok(packet),
            Some(Err(_)) => return Err("closed"),
            None => {
                let _: Turn = stream.turn(std::future::pending()).await;
            }
        }
    }
}

/// What the client is told where it differs from what it asked for.
struct Told {
    assigned: bool,
    session_expiry_s: Option<u32>,
    keep_alive_s: Option<u16>,
}

async fn admit(gate: &Arc<Gate>, mut connect: Connect, peer: SocketAddr) -> Result<(Accepted, Told), Refused> {
    if connect.extended_auth {
        return Err((ConnectReasonCode::BadAuthenticationMethod, "auth_method"));
    }
    check_client_id(gate, &connect)?;
    check_credentials(gate, &connect)?;
    let mut will = connect.will.take().map(|will| check_will(gate, will)).transpose()?;
    let login = Login {
        client_id: std::mem::take(&mut connect.client_id),
        username: connect.username.take(),
        password: connect.password.take(),
        peer,
        version: connect.version,
    };
    let owner = gate.connection_number();
    for _ in 0..DECIDE_AGAIN {
        let revocations = gate.sessions.revocations();
        let rules = decide(gate, &login).await?;
        let client_id = bind_client_id(&rules, &login.client_id)?;
        if will.as_ref().is_some_and(|will| !rules.may_publish(&will.message.topic)) {
            return Err((ConnectReasonCode::NotAuthorized, "will_not_granted"));
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
                heard_at: SystemTime::now(),
                round_trip: None,
            },
            rules: rules.clone(),
            clean_start: connect.clean_start,
            expiry,
            will: will.take(),
            revocations,
        };
        // From here to the return nothing is awaited: a login that runs out of time cannot leave a session owned by nobody.
        match gate.sessions.attach(attach) {
            Attached::Revoked(attach) => will = attach.will,
            Attached::Full => return Err((ConnectReasonCode::QuotaExceeded, "session_limit")),
            Attached::Ready { session, present, displaced } => {
                let mut told = told(gate, &connect, expiry);
                told.assigned = login.client_id.is_empty();
                let window = window(gate, &connect, rules.lane);
                let silence_max = silence_max(gate, &connect);
                let session_expiry_s = connect.session_expiry_s;
                let accepted = Accepted {
                    session,
                    rules,
                    owner,
                    window,
                    silence_max,
                    session_expiry_s,
                    session_present: present,
                    displaced,
                };
                return Ok((accepted, told));
            }
        }
    }
    Err((ConnectReasonCode::ServerBusy, "revocations"))
}

/// The keep alive asked for, if it is one the gate grants.
fn granted_keep_alive(gate: &Gate, connect: &Connect) -> Option<u16> {
    Some(connect.keep_alive_s).filter(|asked| (1..=gate.limits.keep_alive_max_s).contains(asked))
}

fn told(gate: &Gate, connect: &Connect, expiry: Duration) -> Told {
    let granted_s = u32::try_from(expiry.as_secs()).unwrap_or(u32::MAX);
    Told {
        assigned: false,
        session_expiry_s: Some(granted_s).filter(|granted| *granted != connect.session_expiry_s),
        keep_alive_s: granted_keep_alive(gate, connect).is_none().then_some(gate.limits.keep_alive_max_s),
    }
}

fn window(gate: &Gate, connect: &Connect, lane: Lane) -> Window {
    let in_flight = match lane {
        Lane::Module => gate.limits.module_in_flight,
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
        // Told in CONNACK.
        Version::V5 => gate.limits.keep_alive_max_s,
        // Cannot be told: what it asked for stands, and the gate's bound where it asked for none.
        Version::V311 if connect.keep_alive_s > 0 => connect.keep_alive_s,
        Version::V311 => gate.limits.keep_alive_max_s,
    });
    Duration::from_millis(u64::from(seconds) * 1_500)
}

fn check_client_id(gate: &Gate, connect: &Connect) -> Result<(), Refused> {
    let id = &connect.client_id;
    let kept_without_id = connect.version == Version::V311 && id.is_empty() && !connect.clean_start;
    if id.len() > gate.limits.client_id_bytes || id.contains(char::is_control) || kept_without_id {
        return Err((ConnectReasonCode::ClientIdentifierNotValid, "client_id"));
    }
    Ok(())
}

/// Longer ones are nobody's; they would cost time and memory to check and to count.
fn check_credentials(gate: &Gate, connect: &Connect) -> Result<(), Refused> {
    let user_name_bytes = connect.username.as_ref().map_or(0, String::len);
    let password_bytes = connect.password.as_ref().map_or(0, Vec::len);
    if user_name_bytes > gate.limits.user_name_bytes || password_bytes > gate.limits.password_bytes {
        return Err((ConnectReasonCode::BadUserNameOrPassword, "credentials_too_long"));
    }
    Ok(())
}

fn check_will(gate: &Gate, will: ConnectWill) -> Result<Will, Refused> {
    if topic::check_name(&will.topic, gate.limits.topic_bounds()).is_err() {
        return Err((ConnectReasonCode::TopicNameInvalid, "will_topic"));
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
    Ok(Will {
        message,
        expiry: will.expiry_s.map(|seconds| Duration::from_secs(seconds.into())),
        delay: Duration::from_secs(will.delay_s.into()),
    })
}

async fn decide(gate: &Gate, login: &Login) -> Result<Arc<Rules>, Refused> {
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
            let user: String = name.chars().take(LOGGED_CHARS).collect();
            warn!(peer = %login.peer, user, "a login failed");
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

fn bind_client_id(rules: &Rules, asked: &str) -> Result<String, Refused> {
    let bound = match (&rules.client_id, asked) {
        (ClientIdRule::Exactly(id), "") => Some(id.clone()),
        (ClientIdRule::Prefix(prefix), "") => Some(format!("{prefix}{}", random_id())),
        (ClientIdRule::Any, "") => Some(random_id()),
        (ClientIdRule::Exactly(id), asked) => (asked == id).then(|| asked.to_owned()),
        (ClientIdRule::Prefix(prefix), asked) => asked.starts_with(prefix.as_str()).then(|| asked.to_owned()),
        (ClientIdRule::Any, asked) => Some(asked.to_owned()),
    };
    bound.ok_or_else(|| {
        warn!(credential = rules.credential, "client identifier not bound to this credential");
        (ConnectReasonCode::ClientIdentifierNotValid, "client_id")
    })
}

fn random_id() -> String {
    let mut rng = rand::rng();
    (0..ASSIGNED_CHARS).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

/// Modules keep no session: what they missed is sent again from the database.
fn session_expiry(gate: &Gate, rules: &Rules, asked_s: u32) -> Duration {
    match rules.lane {
        Lane::Module => Duration::ZERO,
        Lane::Client => Duration::from_secs(asked_s.into()).min(gate.limits.session_expiry_max),
    }
}
