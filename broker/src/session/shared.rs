//! Shared subscriptions: each message goes to one member of a group (MQTT 5 section 4.8.2).
//!
//! A group belongs to a credential and is identified by name and filter. It gets messages like one subscriber, deals
//! them out to its members in turn, and takes back what a member had not taken when it ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Delivery, Recipient, Session};
use crate::codec::Qos;
use crate::message::Message;
use crate::routes::Route;
use crate::topic::Filter;

/// Identifies a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub credential: Box<str>,
    pub name: Box<str>,
    pub filter: Filter,
}

/// A group with at least one member.
pub(crate) struct Group {
    key: GroupKey,
    /// The core's position when it was created. Messages published before are not meant for it.
    since: u64,
    /// Sessions by their numbers.
    members: Mutex<Vec<(u64, Weak<Session>)>>,
    /// Whose turn it is. Locked while messages are dealt out, so that they keep their order.
    turn: Mutex<usize>,
    /// Messages that members did not take in the end. Bounded by the members' queues, from which they come.
    returned: Mutex<VecDeque<Arc<Message>>>,
    /// Something was returned, or the group has ended.
    woken: Arc<Notify>,
    route: OnceLock<Route<Recipient>>,
}

impl Group {
    /// A group without members and without a route.
    fn new(key: GroupKey, since: u64) -> Group {
        Group {
            key,
            since,
            members: Mutex::default(),
            turn: Mutex::default(),
            returned: Mutex::default(),
            woken: Arc::default(),
            route: OnceLock::new(),
        }
    }

    /// Takes back a message that a member did not take.
    pub fn give_back(&self, message: Arc<Message>) {
        self.returned.lock().push_back(message);
        self.woken.notify_one();
    }

    /// Deals out a message, with its position in the core. Returns how many were lost.
    pub fn take(self: &Arc<Self>, position: u64, message: &Arc<Message>) -> u64 {
        if position <= self.since {
            return 0;
        }
        let mut turn = self.turn.lock();
        // Messages that were returned earlier go first.
        self.redeliver_returned(&mut turn) + u64::from(!self.deliver_to_member(&mut turn, message))
    }

    fn redeliver_returned(self: &Arc<Self>, turn: &mut usize) -> u64 {
        let mut lost = 0;
        loop {
            let Some(message) = self.returned.lock().pop_front() else { return lost };
            lost += u64::from(!self.deliver_to_member(turn, &message));
        }
    }

    /// Gives a message to the next member that is connected and has room; else to one that will be back; else to a
    /// connected one, which is then cut like every slow reader. False if the message is lost although it must not be.
    fn deliver_to_member(self: &Arc<Self>, turn: &mut usize, message: &Arc<Message>) -> bool {
        let candidates: Vec<Arc<Session>> = {
            let members = self.members.lock();
            *turn = (*turn + 1) % members.len().max(1);
            let (before, after) = members.split_at((*turn).min(members.len()));
            after.iter().chain(before).filter_map(|(_, session)| session.upgrade()).collect()
        };
        let offer = |condition| candidates.iter().find_map(|session| session.offer(self, message, condition));
        let taken = offer(OfferCondition::Connected)
            .or_else(|| offer(OfferCondition::Kept))
            .or_else(|| offer(OfferCondition::Cut));
        taken.unwrap_or(false) || message.qos == Qos::AtMostOnce
    }

    /// Deals out returned messages again, until the group ends; reports how many were lost each time.
    pub async fn redeliver_loop(self: Arc<Self>, lost: impl Fn(u64)) {
        let (woken, group) = (self.woken.clone(), Arc::downgrade(&self));
        drop(self);
        loop {
            woken.notified().await;
            let Some(group) = group.upgrade() else { return };
            lost(group.redeliver_returned(&mut group.turn.lock()));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.woken.notify_one();
    }
}

/// The condition for offering a message to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OfferCondition {
    /// If it is connected and has room.
    Connected,
    /// If it has room, even if it is away or has to disconnect.
    Kept,
    /// If it is connected; it is cut because it has no room.
    Cut,
}

impl Session {
    /// Whether it took the message; `None` if the condition is not met.
    fn offer(&self, group: &Arc<Group>, message: &Arc<Message>, condition: OfferCondition) -> Option<bool> {
        let mut state = self.state();
        let shares = |membership: &Arc<Membership>| Arc::ptr_eq(&membership.group, group);
        let subscription =
            state.subscriptions.iter().find(|subscription| subscription.membership.as_ref().is_some_and(shares))?;
        let qos = subscription.qos.min(message.qos);
        let stays = state.owner != 0 && state.kick.is_none();
        let fits = match condition {
            OfferCondition::Connected => stays && state.outbox.has_room(message),
            OfferCondition::Kept => !stays && qos != Qos::AtMostOnce && state.outbox.has_room(message),
            OfferCondition::Cut => stays,
        };
        if !fits {
            return None;
        }
        let delivery = Delivery {
            message: message.clone(),
            qos,
            retain: subscription.retain_as_published && message.retain,
            identifiers: subscription.identifier.into_iter().collect(),
            group: Some(Arc::downgrade(group)),
        };
        let taken = self.queue(&mut state, delivery);
        (taken || condition == OfferCondition::Cut).then_some(taken)
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
    fn new(group: Arc<Group>, session: &Arc<Session>) -> Membership {
        group.members.lock().push((session.number, Arc::downgrade(session)));
        Membership { group, number: session.number }
    }

    /// The group's name.
    pub fn group_name(&self) -> &str {
        &self.group.key.name
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.group.members.lock().retain(|(number, _)| *number != self.number);
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

    /// Makes a session a member of a group: an existing one, or a new one, which must then be served. `since` is the
    /// core's position now; `add_route` adds the route to a new group before anybody else can join it.
    pub fn join(
        &self,
        key: GroupKey,
        session: &Arc<Session>,
        since: u64,
        add_route: impl FnOnce(&Arc<Group>) -> Route<Recipient>,
    ) -> Result<(Membership, Option<Arc<Group>>), TooManyGroups> {
        let mut groups = self.groups.lock();
        if let Some(there) = groups.get(&key).and_then(Weak::upgrade) {
            return Ok((Membership::new(there, session), None));
        }
        groups.retain(|_, group| group.strong_count() > 0);
        let of_credential = groups.keys().filter(|other| other.credential == key.credential).count();
        if groups.len() >= self.limit || of_credential >= self.of_credential_max {
            return Err(TooManyGroups);
        }
        let group = Arc::new(Group::new(key.clone(), since));
        let membership = Membership::new(group.clone(), session);
        let _ = group.route.set(add_route(&group));
        groups.insert(key, Arc::downgrade(&group));
        Ok((membership, Some(group)))
    }
}
