//! The core: what carries a message from the gate's publishers to the gate's subscribers.
//!
//! The interface is small, so that another core (an MQTT cluster, one of a test) can stand in its place. The gate holds it
//! as a trait object: type parameters would run through every connection, and what they would save is one allocation for
//! each publish and one indirect call for each message handed out. The one there is runs rumqttd's router in process
//! ([`RumqttdCore`]).

mod rumqttd;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;

use crate::message::Message;
pub(crate) use rumqttd::RumqttdCore;

/// Why the core did not take a message, or did not start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CoreError {
    #[error("the core is busy or gone")]
    Unavailable,
    #[error("too many distinct topics")]
    TooManyTopics,
}

/// What takes the messages that come out, each with its position.
pub(crate) type Take<'a> = dyn Fn(u64, Arc<Message>) + Send + Sync + 'a;

/// What carries messages. Each that it takes gets a position, greater than all before it, and comes out under it once, in
/// that order.
#[async_trait]
pub(crate) trait Core: Send + Sync {
    /// Hands a message over, and calls `taken` when it was, before any other message is. Waits while the core is behind or
    /// being replaced, within a bound of its own.
    ///
    /// # Errors
    /// The core did not take the message; `taken` was not called.
    async fn publish(&self, message: &Arc<Message>, taken: &(dyn Fn() + Sync)) -> Result<(), CoreError>;

    /// Does something while no message is being handed over, given the position of the last one that was.
    fn between_handovers(&self, what: &mut dyn FnMut(u64));

    /// Hands every message out with its position until it is dropped. Called once.
    async fn run(&self, take: &Take<'_>);

    /// Whether messages pass.
    fn healthy(&self) -> bool;
}
