//! A publish from a client: alias, topic, grants, QoS 2, and the answer.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};

use super::serving::Connection;
use crate::auth::{Lane, Version};
use crate::codec::{DisconnectReasonCode, InboundPublish, PubackReasonCode, Qos, encode};
use crate::gate::PublishError;
use crate::message::Message;
use crate::refusals::Refused;
use crate::topic::{self, TopicError};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes a publish. The error ends the connection.
    pub(super) async fn publish(&mut self, mut publish: InboundPublish) -> Result<(), DisconnectReasonCode> {
        let (id, qos, version) = (publish.id, publish.qos, self.window.version);
        let topic = self.resolve_alias(std::mem::take(&mut publish.topic), publish.alias)?;
        if qos == Qos::ExactlyOnce {
            let state = self.session.state();
            if state.received.contains(&id) {
                // A repeat of a message that is already on its way.
                encode::pubrec(self.stream.out(), version, id, PubackReasonCode::Success);
                return Ok(());
            }
            if state.received.len() >= usize::from(self.gate.limits.receive_maximum) {
                return Err(DisconnectReasonCode::ReceiveMaximumExceeded);
            }
        }
        // Bridges and home automation publish their online state on the topic of their will by default. If the will was
        // withheld, this publish is dropped as well. Disconnecting the client for it would make it reconnect for ever;
        // the standard allows acknowledging it (3.1.1, section 3.3.5).
        let is_birth = self.withheld_will_topic.as_deref() == Some(&*topic);
        let code = self.take(topic, publish).await?;
        if code != PubackReasonCode::Success {
            self.gate.meters.publishes_refused.increment(1);
            if version == Version::V311 && !is_birth {
                // 3.1.1 has no code for this, and an acknowledgement would be wrong.
                return Err(DisconnectReasonCode::NotAuthorized);
            }
        }
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => encode::puback(self.stream.out(), version, id, code),
            Qos::ExactlyOnce => {
                let mut state = self.session.state();
                if state.owner != self.owner {
                    // The client repeats it on the connection that took over.
                    return Err(DisconnectReasonCode::SessionTakenOver);
                }
                if code == PubackReasonCode::Success {
                    state.received.push(id);
                }
                drop(state);
                encode::pubrec(self.stream.out(), version, id, code);
            }
        }
        Ok(())
    }

    async fn take(
        &mut self,
        topic: Box<str>,
        publish: InboundPublish,
    ) -> Result<PubackReasonCode, DisconnectReasonCode> {
        // Before the other checks, because refused publishes count too.
        let is_paced = self.rules.lane == Lane::Device;
        if is_paced && self.gate.publish_rates.check_key(&self.session.key.credential).is_err() {
            return Err(DisconnectReasonCode::MessageRateTooHigh);
        }
        match topic::check_name(&topic, self.gate.limits.topic_bounds()) {
            Ok(()) => {}
            Err(TopicError::Malformed) => return Err(DisconnectReasonCode::TopicNameInvalid),
            Err(TopicError::Unsupported) => {
                self.gate.refusals.record(Refused::Publish, self.who(), "topic", &topic);
                return Ok(PubackReasonCode::TopicNameInvalid);
            }
        }
        if !self.rules.may_publish(&topic) {
            self.gate.refusals.record(Refused::Publish, self.who(), "not_authorized", &topic);
            return Ok(PubackReasonCode::NotAuthorized);
        }
        self.gate.meters.publishes_in.increment(1);
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            origin: self.session.number,
            expires_at: publish.expiry_s.map(|seconds| Instant::now() + Duration::from_secs(seconds.into())),
            properties: publish.properties.into(),
        };
        // While it waits for the core, another connection may take over the session, and then nothing more may be
        // published from here; or the credential may be revoked.
        let taken = tokio::select! {
            biased;
            code = self.session.disconnect_requested(self.owner) => return Err(code),
            taken = self.gate.publish(message) => taken,
        };
        match taken {
            Ok(()) => Ok(PubackReasonCode::Success),
            Err(PublishError::Quota) => {
                self.gate.refusals.record(Refused::Publish, self.who(), "quota", "");
                Ok(PubackReasonCode::QuotaExceeded)
            }
            Err(PublishError::Unavailable) => Err(DisconnectReasonCode::ServerBusy),
        }
    }

    /// The topic meant by a name, an alias, or both (which sets the alias).
    fn resolve_alias(&mut self, topic: String, alias: Option<u16>) -> Result<Box<str>, DisconnectReasonCode> {
        let Some(alias) = alias else { return Ok(topic.into()) };
        if alias == 0 || alias > self.gate.limits.topic_aliases {
            return Err(DisconnectReasonCode::TopicAliasInvalid);
        }
        let at = usize::from(alias) - 1;
        if topic.is_empty() {
            let known = self.aliases.get(at).cloned().flatten();
            return known.ok_or(DisconnectReasonCode::ProtocolError);
        }
        if self.aliases.len() <= at {
            self.aliases.resize(at + 1, None);
        }
        let topic: Box<str> = topic.into();
        // A topic that is too long is refused below. It is not stored, and the alias loses its previous meaning.
        let kept = topic.len() <= self.gate.limits.topic_bytes;
        self.aliases[at] = kept.then(|| topic.clone());
        Ok(topic)
    }
}
