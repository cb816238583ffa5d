//! The core carries messages from the gate's publishers to the gate's subscribers.
//!
//! The interface is small, so that another core (an MQTT cluster, or one for a test) can replace it. The gate holds it
//! as a trait object: type parameters would spread through every connection, and would save only one allocation per
//! publish and one indirect call per message. The existing implementation runs rumqttd's router in process
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

/// Receives the messages that come out, each with its position.
pub(crate) type Take<'a> = dyn Fn(u64, Arc<Message>) + Send + Sync + 'a;

/// Carries messages. Each message it accepts gets a position greater than all before it, and comes out once with that
/// position, in that order.
#[async_trait]
pub(crate) trait Core: Send + Sync {
    /// Hands a message to the core, and calls `taken` once it is accepted, before any other message is. While the core
    /// is behind or being replaced it waits, for a limited time.
    ///
    /// # Errors
    /// The core did not take the message; `taken` was not called.
    async fn publish(&self, message: &Arc<Message>, taken: &(dyn Fn() + Sync)) -> Result<(), CoreError>;

    /// Runs a function while no message is being handed over, with the position of the last one that was.
    fn between_handovers(&self, what: &mut dyn FnMut(u64));

    /// Delivers every message with its position, until dropped. Called once.
    async fn run(&self, take: &Take<'_>);

    /// Whether messages pass through.
    fn healthy(&self) -> bool;
}
