//! A bus that keeps what is published.

use async_trait::async_trait;
use backend::{Error, Result, bus::Bus};
use tokio::sync::watch;

/// A message as it would go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    /// MQTT's message expiry.
    pub expiry_s: Option<u32>,
}

#[derive(Default)]
struct Published {
    messages: Vec<Message>,
    down: bool,
}

/// Keeps every message in order.
#[derive(Default)]
pub struct RecordingBus(watch::Sender<Published>);

impl RecordingBus {
    /// Everything published so far.
    pub fn messages(&self) -> Vec<Message> {
        self.0.borrow().messages.clone()
    }

    /// What was published on a topic so far.
    pub fn on(&self, topic: &str) -> Vec<Message> {
        self.0.borrow().messages.iter().filter(|message| message.topic == topic).cloned().collect()
    }

    /// Completes once more than `count` messages were published on a topic.
    pub async fn published(&self, topic: &str, count: usize) {
        let more = |published: &Published| published.messages.iter().filter(|m| m.topic == topic).count() > count;
        self.0.subscribe().wait_for(more).await.unwrap();
    }

    /// Takes the broker away, or brings it back.
    pub fn set_down(&self, down: bool) {
        self.0.send_modify(|published| published.down = down);
    }
}

#[async_trait]
impl Bus for RecordingBus {
    async fn publish(&self, topic: &str, payload: Vec<u8>, retain: bool, expiry_s: Option<u32>) -> Result<()> {
        if self.0.borrow().down {
            return Err(Error::Bus("the test took it away".into()));
        }
        let message = Message { topic: topic.to_owned(), payload, retain, expiry_s };
        self.0.send_modify(|published| published.messages.push(message));
        Ok(())
    }

    fn connected(&self) -> bool {
        !self.0.borrow().down
    }
}
