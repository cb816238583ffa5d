//! A revoked credential's sessions are gone at once, whoever logs in next.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Raw, login, start, until};
use mqtt_protocol_core::mqtt::packet::{Property, Qos, SessionExpiryInterval};

#[tokio::test]
async fn a_session_is_not_resumed_after_its_credential_was_revoked() {
    let running = start().await;
    let lasting = || vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(300).unwrap())];
    let kept = || login("anna", "kept").resuming().properties(lasting()).v5();
    for away in [true, false] {
        let mut before = Raw::accepted5(running.address, kept()).await;
        before.subscribed5("t/#", Qos::AtLeastOnce).await;
        if away {
            drop(before);
            until("it is away", || running.broker.connections().is_empty()).await;
        }
        running.broker.disconnect("anna");
        let mut after = Raw::open(running.address).await;
        assert!(!after.connect5(kept()).await.session_present(), "away: {away}");
        assert_eq!(after.publish5("t/x", b"x", false, vec![]).await, 0);
        // Nothing comes: the subscription is gone with the session.
        after.ping().await;
        drop(after);
        until("it is away", || running.broker.connections().is_empty()).await;
        running.broker.disconnect("anna");
    }
}

#[tokio::test]
async fn credentials_of_offline_sessions_are_listed() {
    let running = start().await;
    let lasting = vec![Property::SessionExpiryInterval(SessionExpiryInterval::new(300).unwrap())];
    let _there = Raw::client5(running.address, "ben", "b").await;
    let _module = Raw::client5(running.address, "module-one", "one").await;
    drop(Raw::accepted5(running.address, login("anna", "a").properties(lasting).v5()).await);
    until("it is away", || running.broker.connections().len() == 2).await;
    assert_eq!(running.broker.credentials(), ["anna".into(), "ben".into()]);
    running.broker.disconnect("anna");
    until("it is gone", || running.broker.credentials() == ["ben".into()]).await;
}
