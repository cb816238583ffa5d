//! A command on its way to its module.

use crate::{
    Context,
    modules::{command, secrets::message_key},
};
use protocol::{
    ModuleId,
    limits::PAYLOAD_MAX_BYTES,
    messages::Command,
    topics::{self, Kind},
};

/// Publishes a stored command. If that fails it is due again soon.
pub(crate) async fn send_command(ctx: &Context, command: &command::Model) {
    let (Ok(module), Ok(decoded)) =
        (ModuleId::parse(&command.module_id), minicbor::decode::<Command>(&command.payload))
    else {
        tracing::error!(command = command.id, "a stored command cannot be read; it is not sent");
        return;
    };
    let left_ms = command.expires_ms + ctx.rules.credit_grace_ms - ctx.now_ms();
    let expiry_s = u64::try_from(left_ms).unwrap_or(0).div_ceil(1000).max(1);
    publish_command(ctx, module, &decoded, expiry_s).await;
}

pub(crate) async fn publish_command(ctx: &Context, module: ModuleId, command: &Command, expiry_s: u64) {
    let key = match message_key(ctx, module).await {
        Ok(Some(key)) => key,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%module, %error, "could not sign a command; it will be sent again");
            return;
        }
    };
    let topic = topics::topic(module, Kind::Command);
    let mut payload = [0; PAYLOAD_MAX_BYTES];
    let length = protocol::seal(&key, &topic, command, &mut payload).expect("every command fits a payload");
    let expiry_s = u32::try_from(expiry_s).unwrap_or(u32::MAX);
    if let Err(error) = ctx.bus.publish(&topic, payload[..length].to_vec(), false, Some(expiry_s)).await {
        tracing::debug!(%module, %error, "a command was not published; it will be sent again");
    }
    metrics::counter!("coinwire_commands_published_total", "action" => command.action.as_str()).increment(1);
}
