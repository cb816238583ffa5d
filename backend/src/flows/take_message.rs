//! A message of a module: opened with its key, and taken by its kind.

use crate::{
    Context, Result,
    flows::{take_ack::on_ack, take_pulse::on_pulse, take_status::on_status},
    modules::{
        dropped::{count_dropped, refused},
        secrets::message_key,
    },
};
use protocol::{
    messages::{Ack, Pulse, Status},
    topics::{self, Kind},
};

/// Takes a message of a module's, as it came from the bus. A message without a valid signature is counted and
/// dropped. An error is the store's; the module will repeat what it reported.
///
/// # Errors
/// `Store`.
pub async fn on_message(ctx: &Context, topic: &str, payload: &[u8]) -> Result<()> {
    let Some((module, kind)) = topics::parse(topic) else {
        return count_dropped("topic");
    };
    let Some(key) = message_key(ctx, module).await? else {
        return count_dropped("unknown_module");
    };
    match kind {
        Kind::Status => match protocol::open::<Status>(&key, topic, payload) {
            Ok(status) => on_status(ctx, module, &status).await,
            Err(error) => refused(module, error),
        },
        Kind::Pulse => match protocol::open::<Pulse>(&key, topic, payload) {
            Ok(pulse) => on_pulse(ctx, module, &pulse).await,
            Err(error) => refused(module, error),
        },
        Kind::Ack => match protocol::open::<Ack>(&key, topic, payload) {
            Ok(ack) => on_ack(ctx, module, &ack).await,
            Err(error) => refused(module, error),
        },
        // Our own commands; the gate does not let modules publish them.
        Kind::Command => count_dropped("topic"),
    }
}
