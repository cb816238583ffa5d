//! SUBSCRIBE and UNSUBSCRIBE: checking filters against grants, retained messages, and routes.

use std::sync::Arc;

use metrics::counter;
use tokio::io::{AsyncRead, AsyncWrite};

use super::serving::Connection;
use crate::auth::Lane;
use crate::codec::{
    DisconnectReasonCode, Qos, RetainHandling, SubackReasonCode, SubscribeEntry, UnsubackReasonCode, encode,
};
use crate::refusals::Refused;
use crate::session::{Replay, Subscription, TooManyGroups};
use crate::topic::{self, Filter};

/// What a client asks for, checked.
struct RequestedFilter {
    /// The group of a shared subscription.
    group: Option<Box<str>>,
    filter: Filter,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Answers a SUBSCRIBE. The error ends the connection.
    pub(super) fn subscribe(
        &mut self,
        id: u16,
        identifier: Option<u32>,
        entries: Vec<SubscribeEntry>,
    ) -> Result<(), DisconnectReasonCode> {
        if entries.is_empty() {
            return Err(DisconnectReasonCode::ProtocolError);
        }
        if entries.len() > self.gate.limits.subscriptions {
            return Err(DisconnectReasonCode::QuotaExceeded);
        }
        let mut codes = Vec::with_capacity(entries.len());
        for entry in entries {
            let code = match self.check(&entry.filter) {
                Err(code) => code,
                Ok(RequestedFilter { group: Some(_), .. }) if entry.no_local => {
                    // MQTT 5 section 3.8.3.1.
                    return Err(DisconnectReasonCode::ProtocolError);
                }
                Ok(requested) => self.add(requested, identifier, &entry),
            };
            if !matches!(
                code,
                SubackReasonCode::GrantedQos0 | SubackReasonCode::GrantedQos1 | SubackReasonCode::GrantedQos2
            ) {
                let reason = refusal(code);
                counter!("broker_subscribe_refusals_total", "reason" => reason).increment(1);
                self.gate.refusals.record(Refused::Subscribe, self.who(), reason, &entry.filter);
            }
            codes.push(code);
        }
        encode::suback(self.stream.out(), self.window.version, id, codes);
        Ok(())
    }

    fn check(&self, text: &str) -> Result<RequestedFilter, SubackReasonCode> {
        let invalid = |_| SubackReasonCode::TopicFilterInvalid;
        let (group, text) = match topic::shared(text) {
            None => (None, text),
            Some(_) if !self.rules.shared => return Err(SubackReasonCode::SharedSubscriptionsNotSupported),
            Some(parts) => parts.map(|(group, filter)| (Some(group.into()), filter)).map_err(invalid)?,
        };
        let filter = Filter::parse(text, self.gate.limits.topic_bounds()).map_err(invalid)?;
        if group.is_some() && filter.is_system() {
            return Err(SubackReasonCode::TopicFilterInvalid);
        }
        // A device's messages are routed by a map from topic to device.
        let served =
            self.rules.lane == Lane::Client || (filter.is_literal() && self.gate.device_topics.contains(&filter));
        if !served || !self.rules.may_subscribe(&filter) {
            return Err(SubackReasonCode::NotAuthorized);
        }
        Ok(RequestedFilter { group, filter })
    }

    fn add(
        &mut self,
        RequestedFilter { group, filter }: RequestedFilter,
        identifier: Option<u32>,
        entry: &SubscribeEntry,
    ) -> SubackReasonCode {
        let mut subscription = Subscription {
            filter: filter.clone(),
            qos: entry.qos,
            no_local: entry.no_local,
            retain_as_published: entry.retain_as_published,
            identifier,
            membership: None,
            since: 0,
        };
        let known_membership = {
            let state = self.session.state();
            let known = state.subscriptions.iter().find(|known| known.is(&entry.filter));
            known.and_then(|known| known.membership.clone())
        };
        if let Some(group) = &group {
            subscription.membership = match known_membership {
                Some(membership) => Some(membership),
                None => match self.gate.share(&self.session, group, &filter) {
                    Ok(membership) => Some(Arc::new(membership)),
                    Err(TooManyGroups) => return SubackReasonCode::QuotaExceeded,
                },
            };
        }
        // Done first, so that no message after the start of the subscription is missed.
        match self.rules.lane {
            // A group has its own route, and the broker's statistics need none.
            Lane::Client if group.is_none() && !filter.is_system() => self.gate.route(&self.session, self.owner),
            Lane::Client | Lane::Device => {}
        }
        let (since, cursor) = self.gate.begin(filter.clone());
        let existed = {
            let mut state = self.session.state();
            let known = state.subscriptions.iter_mut().find(|known| known.is(&entry.filter));
            if let Some(known) = known {
                // Messages published before this subscription replaced an earlier one are meant for it too.
                subscription.since = known.since;
                *known = subscription;
                true
            } else if state.subscriptions.len() >= self.gate.limits.subscriptions {
                return SubackReasonCode::QuotaExceeded;
            } else {
                subscription.since = since;
                state.subscriptions.push(subscription);
                false
            }
        };
        if self.rules.lane == Lane::Device {
            self.gate.route_device(filter.as_str(), &self.session);
        }
        let granted = match entry.qos {
            Qos::AtMostOnce => SubackReasonCode::GrantedQos0,
            Qos::AtLeastOnce => SubackReasonCode::GrantedQos1,
            Qos::ExactlyOnce => SubackReasonCode::GrantedQos2,
        };
        if group.is_some() {
            // No retained messages (MQTT 5 section 4.8.2).
            return granted;
        }
        let wants_retained = match entry.retain_handling {
            RetainHandling::SendRetained => true,
            RetainHandling::SendRetainedIfNotExists => !existed,
            RetainHandling::DoNotSendRetained => false,
        };
        if wants_retained {
            self.session.state().outbox.replay(Replay { cursor, qos: entry.qos, identifier });
        }
        granted
    }

    /// Answers an UNSUBSCRIBE.
    pub(super) fn unsubscribe(&mut self, id: u16, filters: &[String]) -> Result<(), DisconnectReasonCode> {
        if filters.is_empty() {
            return Err(DisconnectReasonCode::ProtocolError);
        }
        if filters.len() > self.gate.limits.subscriptions {
            return Err(DisconnectReasonCode::QuotaExceeded);
        }
        let mut codes = Vec::with_capacity(filters.len());
        for filter in filters {
            let mut state = self.session.state();
            let at = state.subscriptions.iter().position(|known| known.is(filter));
            let removed = at.map(|at| state.subscriptions.remove(at));
            if let Some(removed) = removed.as_ref().filter(|removed| removed.membership.is_none()) {
                state.outbox.keep_replays(|filter| *filter != removed.filter);
            }
            drop(state);
            codes.push(match removed {
                None => UnsubackReasonCode::NoSubscriptionExisted,
                Some(_) => {
                    if self.rules.lane == Lane::Device {
                        self.gate.unroute_device(filter, &self.session);
                    }
                    UnsubackReasonCode::Success
                }
            });
        }
        encode::unsuback(self.stream.out(), self.window.version, id, codes);
        Ok(())
    }

    /// Removes a device from the map.
    pub(super) fn unroute_all(&self) {
        let subscriptions = self.session.state().subscriptions.clone();
        for subscription in subscriptions {
            self.gate.unroute_device(subscription.filter.as_str(), &self.session);
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the codec's crate has many more")]
fn refusal(code: SubackReasonCode) -> &'static str {
    match code {
        SubackReasonCode::NotAuthorized => "not_authorized",
        SubackReasonCode::TopicFilterInvalid => "filter",
        SubackReasonCode::QuotaExceeded => "quota",
        SubackReasonCode::SharedSubscriptionsNotSupported => "shared",
        _ => "other",
    }
}
