//! JSON to a topic.

use crate::{Context, Result};
use serde::Serialize;

/// Publishes JSON to integrators or a manufacturer. Best effort by design: the API and the pages are authoritative,
/// and a status is retained.
pub(crate) async fn publish_json(ctx: &Context, topic: &str, json: &impl Serialize, retain: bool) {
    if let Err(error) = try_publish_json(ctx, topic, json, retain).await {
        tracing::debug!(topic, %error, "a message to integrators or a manufacturer was not published");
    }
}

pub(crate) async fn try_publish_json(ctx: &Context, topic: &str, json: &impl Serialize, retain: bool) -> Result<()> {
    let payload = serde_json::to_vec(json).expect("what is told is plain JSON");
    ctx.bus.publish(topic, payload, retain, None).await
}
