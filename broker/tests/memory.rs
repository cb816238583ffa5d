//! What clients send is forgotten once it is delivered: the broker's memory does not grow with it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Raw, start};
use mqtt_protocol_core::mqtt::packet::{CorrelationData, Property, Qos, UserProperty};

/// Bytes of this process that are in memory.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// A megabyte.
const MB: usize = 1024 * 1024;

#[tokio::test]
async fn messages_long_by_their_properties_do_not_stay() {
    const PROPERTY_BYTES: usize = 30_000;
    const MESSAGES: usize = 3_000;
    let running = start().await;
    let mut reader = Raw::client5(running.address, "anna", "reader").await;
    reader.subscribed5("t/#", Qos::AtMostOnce).await;
    let mut writer = Raw::client5(running.address, "ben", "writer").await;
    let long = "x".repeat(PROPERTY_BYTES);
    let correlation = Property::CorrelationData(CorrelationData::new(long.clone().into_bytes()).unwrap());
    let user = Property::UserProperty(UserProperty::new("key", long.as_str()).unwrap());
    let before = resident_bytes();
    for _ in 0..MESSAGES {
        let properties = vec![correlation.clone(), user.clone()];
        assert_eq!(writer.publish5("t/x", b"", false, properties).await, 0);
        assert_eq!(reader.received5().await.properties.len(), 2);
    }
    let grown = resident_bytes().saturating_sub(before);
    // 180 MB passed; the core keeps the last 4 MiB of each of its logs.
    assert!(grown < 60 * MB, "grew by {} MB", grown / MB);
}
