//! Dropped messages of modules, counted by cause.

use crate::Result;

/// Counts a dropped message. It is not an error for the sender, which would only send it again.
pub(crate) fn count_dropped(why: &'static str) -> Result<()> {
    metrics::counter!("coinwire_messages_dropped_total", "why" => why).increment(1);
    Ok(())
}

pub(crate) fn refused(module: protocol::ModuleId, error: protocol::OpenError) -> Result<()> {
    tracing::debug!(%module, %error, "dropped a module's message");
    count_dropped(match error {
        protocol::OpenError::Length => "length",
        protocol::OpenError::Tag => "signature",
        protocol::OpenError::Body => "body",
    })
}
