//! Shared subscriptions: each message goes to one member of a group (MQTT 5 section 4.8.2).
//!
//! A group is a credential's, by name and filter. It is fed by the core as one subscriber, deals its messages out to its
//! members in turn, and takes back what a member that ended had not taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Delivery, Session};
use crate::codec::Qos;
use crate::message::Message;
use crate::topic::Filter;

/// What makes a group one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub credential: Box<str>,
    pub name: Box<str>,
    pub filter: Filter,
    /// What the core feeds it with: the grant that the filter lies in.
    pub source: Filter,
}

/// A group with at least one member.
pub(crate) struct Group {
    pub key: GroupKey,
    members: Mutex<Members>,
    /// Messages that members did not take in the end. Bounded by the members' queues, out of which they come.
    returned: UnboundedSender<Arc<Message>>,
    _feeding: DropGuard,
}

#[derive(Default)]
struct Members {
    /// Sessions by their numbers.
    list: Vec<(u64, Weak<Session>)>,
    /// Whose turn it is.
    turn: usize,
}

/// What a group's feeding task needs.
pub(crate) struct Dealing {
    pub returned: UnboundedReceiver<Arc<Message>>,
    /// The group is gone.
    pub ended: CancellationToken,
}

impl Group {
    /// A group without members, and what its task needs.
    pub fn new(key: GroupKey) -> (Arc<Group>, Dealing) {
        let (returned, dealing) = unbounded_channel();
        let ended = CancellationToken::new();
        let feeding = ended.clone().drop_guard();
        let group = Group { key, members: Mutex::default(), returned, _feeding: feeding };
        (Arc::new(group), Dealing { returned: dealing, ended })
    }

    /// Takes back a message that a member did not take.
    pub fn give_back(&self, message: Arc<Message>) {
        // Without a task there is no member left who could be given it.
        let _ = self.returned.send(message);
    }

    /// Gives a message to the member whose turn it is: one that is connected and has room; else one that will be back;
    /// else whoever is connected, who is then cut as every slow reader is. False when it went to nobody.
    pub fn deal(self: &Arc<Self>, message: &Arc<Message>) -> bool {
        let candidates: Vec<Arc<Session>> = {
            let mut members = self.members.lock();
            let count = members.list.len();
            members.turn = (members.turn + 1) % count.max(1);
            let (before, after) = members.list.split_at(members.turn.min(count));
            after.iter().chain(before).filter_map(|(_, session)| session.upgrade()).collect()
        };
        for terms in [Terms::Connected, Terms::Kept, Terms::Cut] {
            if candidates.iter().any(|session| session.offer(self, message, terms)) {
                return true;
            }
        }
        false
    }
}

/// On which terms a member is offered a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    /// If it is connected and has room.
    Connected,
    /// If it has room, though it is away.
    Kept,
    /// If it is connected; it is cut when it has no room.
    Cut,
}

impl Session {
    fn offer(&self, group: &Arc<Group>, message: &Arc<Message>, terms: Terms) -> bool {
        let mut state = self.state();
        let shares = |membership: &Arc<Membership>| Arc::ptr_eq(&membership.group, group);
        let subscription =
            state.subscriptions.iter().find(|subscription| subscription.membership.as_ref().is_some_and(shares));
        let Some(subscription) = subscription else { return false };
        let qos = subscription.qos.min(message.qos);
        let fits = match terms {
            Terms::Connected | Terms::Cut => state.owner != 0 && state.kick.is_none(),
            Terms::Kept => state.owner == 0 && qos != Qos::AtMostOnce,
        };
        if !fits || (terms != Terms::Cut && !state.outbox.has_room(message)) {
            return false;
        }
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: subscription.retain_as_published && message.retain,
            identifiers: subscription.identifier.into_iter().collect(),
            group: Some(Arc::downgrade(group)),
        };
        self.queue(&mut state, delivery)
    }
}

/// A session's place in a group; given up when dropped.
pub(crate) struct Membership {
    group: Arc<Group>,
    number: u64,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("group", &self.group.key).finish_non_exhaustive()
    }
}

impl Membership {
    /// Makes a session a member.
    pub fn new(group: Arc<Group>, session: &Arc<Session>) -> Membership {
        group.members.lock().list.push((session.number, Arc::downgrade(session)));
        Membership { group, number: session.number }
    }

    /// The group's name.
    pub fn group_name(&self) -> &str {
        &self.group.key.name
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.group.members.lock().list.retain(|(number, _)| *number != self.number);
    }
}

/// All groups.
pub(crate) struct Groups {
    groups: Mutex<BTreeMap<GroupKey, Weak<Group>>>,
    limit: usize,
    of_credential_max: usize,
}

/// There are too many groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooManyGroups;

impl Groups {
    pub fn new(limit: usize, of_credential_max: usize) -> Groups {
        Groups { groups: Mutex::default(), limit, of_credential_max }
    }

    /// A group that has members.
    pub fn find(&self, key: &GroupKey) -> Option<Arc<Group>> {
        self.groups.lock().get(key)?.upgrade()
    }

    /// Adds a group, or gives the one that another client of the credential just added.
    pub fn add(&self, group: &Arc<Group>) -> Result<Option<Arc<Group>>, TooManyGroups> {
        let mut groups = self.groups.lock();
        if let Some(there) = groups.get(&group.key).and_then(Weak::upgrade) {
            return Ok(Some(there));
        }
        groups.retain(|_, group| group.strong_count() > 0);
        let of_credential = groups.keys().filter(|key| key.credential == group.key.credential).count();
        if groups.len() >= self.limit || of_credential >= self.of_credential_max {
            return Err(TooManyGroups);
        }
        groups.insert(group.key.clone(), Arc::downgrade(group));
        Ok(None)
    }
}
