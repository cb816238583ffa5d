//! All sessions, by credential and client identifier.
//!
//! Lock order: the registry's map, then a session's state.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{ConnectionInfo, Outbox, OutboxBounds, Queued, Session, Will};
use crate::auth::{Lane, Rules};
use crate::codec::DisconnectReasonCode;
use crate::config::Limits;

/// A session's owner. Two credentials never share a session, whatever client identifiers they use.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub credential: Box<str>,
    pub client_id: Box<str>,
}

/// All sessions.
pub(crate) struct Sessions {
    table: Mutex<SessionTable>,
    numbers: AtomicU64,
    /// Counts revocations: a login decided before one and attached after it is decided again.
    revocations: AtomicU64,
    client_max: usize,
    /// Of those, reserved for credentials without a session.
    for_first: usize,
    credential_max: usize,
    credential_bytes: usize,
    client_bounds: OutboxBounds,
    device_bounds: OutboxBounds,
    /// The total size of all sessions' queues.
    pub queued: Arc<Queued>,
}

#[derive(Default)]
struct SessionTable {
    sessions: HashMap<Key, Arc<Session>>,
    /// Those without a connection.
    offline: HashSet<Key>,
    /// Credentials with client-lane sessions.
    client_lane: BTreeMap<Box<str>, CredentialUsage>,
    /// Client-lane sessions in total.
    client_lane_total: usize,
}

/// The total size of a credential's client-lane queues.
struct CredentialUsage {
    sessions: usize,
    queued: Arc<Queued>,
}

impl SessionTable {
    fn remove(&mut self, session: &Arc<Session>, lane: Lane) {
        self.sessions.remove(&session.key);
        self.offline.remove(&session.key);
        if lane == Lane::Client {
            self.client_lane_total -= 1;
            if let Some(account) = self.client_lane.get_mut(&session.key.credential) {
                account.sessions -= 1;
                if account.sessions == 0 {
                    self.client_lane.remove(&session.key.credential);
                }
            }
        }
    }
}

/// A connection that wants its session.
pub(crate) struct Attach {
    /// The connection's number.
    pub owner: u64,
    pub info: ConnectionInfo,
    pub rules: Arc<Rules>,
    pub clean_start: bool,
    pub expiry: Duration,
    pub will: Option<Will>,
    /// [`Sessions::revocations`] before the login was decided.
    pub revocations: u64,
}

/// The result.
pub(crate) enum Attached {
    Ready {
        session: Arc<Session>,
        /// Whether an earlier session is resumed.
        present: bool,
        /// The will of the displaced connection or session, to be published before anything of the new one.
        displaced: Option<Will>,
    },
    /// A credential was revoked in the meantime: decide the login again.
    Revoked(Box<Attach>),
    /// No room for another client-lane session.
    Full,
}

impl Sessions {
    pub fn new(limits: &Limits) -> Sessions {
        Sessions {
            table: Mutex::default(),
            numbers: AtomicU64::new(1),
            revocations: AtomicU64::new(0),
            client_max: limits.client_sessions,
            for_first: limits.client_sessions_for_first,
            credential_bytes: limits.credential_queue_bytes,
            credential_max: limits.sessions_per_credential,
            client_bounds: OutboxBounds { messages: limits.client_queue_messages, bytes: limits.client_queue_bytes },
            device_bounds: OutboxBounds { messages: limits.device_queue_messages, bytes: limits.device_queue_bytes },
            queued: Arc::new(Queued::new(limits.queued_bytes)),
        }
    }

    /// How many credentials were revoked so far.
    pub fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Acquire)
    }

    /// Gives a connection its session: the earlier one if it may be resumed, else a new one. The previous owner is told
    /// to end, and has lost the session before this returns.
    pub fn attach(&self, attach: Attach) -> Attached {
        let key = Key {
            credential: attach.rules.credential.as_str().into(),
            client_id: attach.info.client_id.as_str().into(),
        };
        let lane = attach.rules.lane;
        let mut table = self.table.lock();
        if self.revocations() != attach.revocations {
            return Attached::Revoked(Box::new(attach));
        }
        let earlier = table.sessions.get(&key).cloned();
        let mut displaced = None;
        let mut replaces = false;
        if let Some(earlier) = &earlier {
            let mut state = earlier.state();
            // The second condition: it has expired and is not yet swept.
            let ended = state.revoked || state.ends_at.is_some_and(|at| at <= Instant::now());
            let resumable = !attach.clean_start && !ended && lane == Lane::Client && state.rules.lane == Lane::Client;
            let will = state.will.take();
            // A will with a delay is not sent if its session is resumed in time.
            displaced = will.filter(|will| !resumable || (will.delay.is_zero() && state.owner != 0));
            if state.owner != 0 {
                state.kick = Some(DisconnectReasonCode::SessionTakenOver);
                // Wake all waiters: the connection that takes over may already wait on the same session.
                earlier.wake.notify_waiters();
            }
            if resumable {
                drop(state);
                table.offline.remove(&key);
                self.take_over(earlier, attach);
                return Attached::Ready { session: earlier.clone(), present: true, displaced };
            }
            let earlier_lane = state.rules.lane;
            state.owner = 0;
            state.route = None;
            drop(state);
            table.remove(earlier, earlier_lane);
            replaces = earlier_lane == lane;
        }
        let outbox = match lane {
            Lane::Device => Outbox::new(self.device_bounds, None, self.queued.clone()),
            Lane::Client => match self.reserve(&mut table, &key.credential, replaces) {
                Some(of_credential) => Outbox::new(self.client_bounds, Some(of_credential), self.queued.clone()),
                None => return Attached::Full,
            },
        };
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session::new(number, key.clone(), outbox, attach.rules.clone()));
        self.take_over(&session, attach);
        table.sessions.insert(key, session.clone());
        Attached::Ready { session, present: false, displaced }
    }

    /// Counts another client-lane session, if there is room for it, and returns the credential's total queue size. A
    /// session that replaces another takes its place.
    fn reserve(&self, table: &mut SessionTable, credential: &str, replaces: bool) -> Option<Arc<Queued>> {
        let total = table.client_lane_total;
        let has = table.client_lane.get(credential).map_or(0, |account| account.sessions);
        let kept_back = if has == 0 { 0 } else { self.for_first };
        if !replaces && (total + kept_back >= self.client_max || has >= self.credential_max) {
            return None;
        }
        table.client_lane_total += 1;
        let account = table
            .client_lane
            .entry(credential.into())
            .or_insert_with(|| CredentialUsage { sessions: 0, queued: Arc::new(Queued::new(self.credential_bytes)) });
        account.sessions += 1;
        Some(account.queued.clone())
    }

    fn take_over(&self, session: &Session, attach: Attach) {
        let mut state = session.state();
        state.owner = attach.owner;
        state.info = Some(attach.info);
        state.kick = None;
        state.round_trip = None;
        state.outbox.reconnected();
        state.catching_up = state.outbox.is_half_full();
        // Subscriptions are checked against the current grants.
        state.subscriptions.retain(|subscription| {
            let may_share = subscription.membership.is_none() || attach.rules.shared;
            may_share && attach.rules.may_subscribe(&subscription.filter)
        });
        state.outbox.keep_replays(|filter| attach.rules.may_subscribe(filter));
        state.rules = attach.rules;
        state.will = attach.will;
        state.will_due = None;
        state.expiry = attach.expiry;
        state.ends_at = None;
    }

    /// Takes a session back from a connection that ends, unless another connection has taken it over; returns the will
    /// to be published now.
    pub fn detach(&self, session: &Arc<Session>, owner: u64, publish_will: bool) -> Option<Will> {
        let mut table = self.table.lock();
        let mut state = session.state();
        if state.owner != owner {
            return None;
        }
        let now = Instant::now();
        state.owner = 0;
        state.info = None;
        // A DISCONNECT may ask for an expiry after the revocation.
        let ended = state.revoked || state.expiry.is_zero();
        if !publish_will {
            state.will = None;
        }
        let delayed = state.will.as_ref().is_some_and(|will| !will.delay.is_zero()) && !ended;
        let will = if delayed {
            state.will_due = state.will.as_ref().map(|will| now + will.delay.min(state.expiry));
            None
        } else {
            state.will.take()
        };
        let lane = state.rules.lane;
        if ended {
            state.route = None;
            drop(state);
            table.remove(session, lane);
        } else {
            state.ends_at = Some(now + state.expiry);
            drop(state);
            table.offline.insert(session.key.clone());
        }
        will
    }

    /// Ends sessions whose time has come; returns the wills that are due.
    pub fn sweep(&self, now: Instant) -> Vec<Will> {
        let mut table = self.table.lock();
        let mut wills = Vec::new();
        let mut ended = Vec::new();
        for key in &table.offline {
            let Some(session) = table.sessions.get(key) else { continue };
            let mut state = session.state();
            let ends = state.ends_at.is_some_and(|at| at <= now);
            if ends || state.will_due.is_some_and(|due| due <= now) {
                state.will_due = None;
                wills.extend(state.will.take());
            }
            if ends {
                state.route = None;
                ended.push(session.clone());
            }
        }
        for session in ended {
            let lane = session.state().rules.lane;
            table.remove(&session, lane);
        }
        wills
    }

    /// Ends all sessions of a credential; returns how many connections have to end.
    pub fn revoke(&self, credential: &str) -> usize {
        let table = self.table.lock();
        self.revocations.fetch_add(1, Ordering::AcqRel);
        let mut connections = 0;
        for session in table.sessions.values().filter(|session| &*session.key.credential == credential) {
            let mut state = session.state();
            state.revoked = true;
            if state.owner != 0 {
                connections += 1;
                // The owner ends its session itself, including the will.
                state.kick = Some(DisconnectReasonCode::AdministrativeAction);
                session.wake.notify_one();
            } else {
                // The next sweep ends it, and publishes a delayed will.
                state.route = None;
                state.ends_at = Some(Instant::now());
            }
        }
        connections
    }

    /// Requests the end of a connection; its session stays as the client asked for. False if there is no such
    /// connection.
    pub fn end_connection(&self, number: u64) -> bool {
        let table = self.table.lock();
        for session in table.sessions.values() {
            let mut state = session.state();
            if number != 0 && state.owner == number {
                state.kick = Some(DisconnectReasonCode::AdministrativeAction);
                session.wake.notify_one();
                return true;
            }
        }
        false
    }

    /// The live connections.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.table.lock().sessions.values().filter_map(|session| session.connection()).collect()
    }

    /// Credentials with sessions of the client lane, connected or not.
    pub fn credentials(&self) -> Vec<Box<str>> {
        self.table.lock().client_lane.keys().cloned().collect()
    }

    /// The sessions of the client lane.
    pub fn client_lane(&self) -> Vec<Arc<Session>> {
        let table = self.table.lock();
        let is_client = |session: &&Arc<Session>| session.state().rules.lane == Lane::Client;
        table.sessions.values().filter(is_client).cloned().collect()
    }

    /// How many sessions have a connection.
    pub fn connected(&self) -> usize {
        let table = self.table.lock();
        table.sessions.len() - table.offline.len()
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.table.lock().sessions.len()
    }
}
