//! Listens to modules: their messages are taken in lanes, so that one module's keep their order and different modules' do
//! not wait for each other.

use crate::{
    Context,
    bus::mqtt::{BusEvent, MqttReader},
    flows::take_message::on_message,
    integrations::last_known::{publish_all_last_known, publish_last_known},
};
use protocol::{
    ModuleId,
    topics::{self, Kind},
};
use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

/// Lanes of incoming messages, by module.
const LANES: usize = 16;

/// Messages that wait in a lane, at most; beyond, reading from the broker waits.
const LANE_MESSAGES_MAX: usize = 1_024;

/// What a lane does, in order.
enum Work {
    /// A connection to the broker began: nobody was heard on it yet.
    Connected,
    /// A message came in.
    Message { topic: String, payload: bytes::Bytes },
    /// What is known of a module is published, as live if it was heard on this connection; `done` says whether it is.
    LastKnown { module: ModuleId, done: oneshot::Sender<bool> },
}

/// Takes what modules say until it is dropped. After each connection the last known facts of all are published again.
pub async fn listen(ctx: Context, mut reader: MqttReader) {
    let lanes: Vec<_> = (0..LANES).map(|_| start_lane(ctx.clone())).collect();
    let mut telling = JoinSet::new();
    loop {
        match reader.next().await {
            BusEvent::Connected => {
                telling.shutdown().await;
                for lane in &lanes {
                    if lane.send(Work::Connected).await.is_err() {
                        return;
                    }
                }
            }
            BusEvent::Subscribed => {
                let lanes = lanes.clone();
                let in_lane = move |module: ModuleId| tell_in(lanes[lane_of(module.as_str())].clone(), module);
                telling.spawn(publish_all_last_known(ctx.clone(), in_lane));
            }
            BusEvent::Message { topic, payload } => {
                let lane = &lanes[lane_of(topic.split('/').nth(1).unwrap_or_default())];
                if lane.send(Work::Message { topic, payload }).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn start_lane(ctx: Context) -> mpsc::Sender<Work> {
    let (sender, mut receiver) = mpsc::channel::<Work>(LANE_MESSAGES_MAX);
    tokio::spawn(async move {
        let mut heard: HashSet<ModuleId> = HashSet::new();
        while let Some(work) = receiver.recv().await {
            match work {
                Work::Connected => heard.clear(),
                Work::Message { topic, payload } => match on_message(&ctx, &topic, &payload).await {
                    Ok(()) => {
                        heard.extend(topics::parse(&topic).filter(|(_, kind)| *kind == Kind::Status).map(|(id, _)| id))
                    }
                    Err(error) => {
                        tracing::warn!(topic, %error, "a module's message could not be processed; the module will send it again");
                    }
                },
                Work::LastKnown { module, done } => {
                    let told = publish_last_known(&ctx, module, heard.contains(&module)).await.is_ok();
                    // Whoever asked has gone with its connection.
                    let _ = done.send(told);
                }
            }
        }
    });
    sender
}

/// Publishes what is known of a module in its lane; whether it could be, or `None` if the lane has ended.
async fn tell_in(lane: mpsc::Sender<Work>, module: ModuleId) -> Option<bool> {
    let (done, told) = oneshot::channel();
    lane.send(Work::LastKnown { module, done }).await.ok()?;
    told.await.ok()
}

/// All of a module's messages go down one lane.
fn lane_of(module: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    module.hash(&mut hasher);
    usize::try_from(hasher.finish() % (LANES as u64)).unwrap_or(0)
}
