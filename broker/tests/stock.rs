//! Stock clients: mosquitto's tools and rumqttc, both versions.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use common::{PASSWORD, WAIT_TIMEOUT, start};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

fn mosquitto(tool: &str, at: SocketAddr, user: &str, version: &str) -> Command {
    let mut command = Command::new(tool);
    command.args(["-h", "127.0.0.1", "-p", &at.port().to_string(), "-u", user, "-P", PASSWORD, "-V", version]);
    command.kill_on_drop(true);
    command
}

/// mosquitto_sub that has its subscription, and its lines.
async fn subscriber(
    at: SocketAddr,
    user: &str,
    version: &str,
    arguments: &[&str],
) -> (Child, Lines<BufReader<ChildStdout>>) {
    // Line-buffered output is only given to a terminal; the debug lines show when the subscription stands.
    let mut command = Command::new("stdbuf");
    command.args(["-oL", "mosquitto_sub", "-d", "-h", "127.0.0.1", "-p", &at.port().to_string()]);
    command.args(["-u", user, "-P", PASSWORD, "-V", version]).args(arguments);
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    loop {
        let line = next(&mut lines).await;
        if line.starts_with("Subscribed") {
            return (child, lines);
        }
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    tokio::time::timeout(WAIT_TIMEOUT, lines.next_line()).await.unwrap().unwrap().expect("mosquitto_sub ended")
}

/// The next line that is a message, not a debug line.
async fn message(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    loop {
        let line = next(lines).await;
        if line.starts_with("m/") || line.starts_with("t/") || line.starts_with("v1/") {
            return line;
        }
    }
}

async fn publish(at: SocketAddr, user: &str, version: &str, arguments: &[&str]) -> bool {
    let mut command = mosquitto("mosquitto_pub", at, user, version);
    command.args(arguments).stderr(Stdio::null());
    let publishing = command.status();
    tokio::time::timeout(WAIT_TIMEOUT, publishing).await.unwrap().unwrap().success()
}

#[tokio::test]
async fn mosquitto_publishes_and_subscribes_in_both_versions() {
    let running = start().await;
    let at = running.address;
    for version in ["311", "5"] {
        for qos in ["0", "1", "2"] {
            let (_child, mut lines) = subscriber(at, "anna", version, &["-t", "t/#", "-v", "-q", qos]).await;
            for other in ["311", "5"] {
                assert!(publish(at, "ben", other, &["-t", "t/x", "-m", "hello", "-q", qos]).await);
                assert_eq!(message(&mut lines).await, "t/x hello");
            }
        }
        assert!(!publish(at, "nobody", version, &["-t", "t/x", "-m", "x"]).await, "unknown user");
    }
    assert!(!publish(at, "ben", "311", &["-t", "v1/x", "-m", "x", "-q", "1"]).await, "not granted");
}

#[tokio::test]
async fn an_integrator_reads_its_topics_and_the_last_status() {
    let running = start().await;
    let at = running.address;
    let json = r#"{"online":true}"#;
    assert!(publish(at, "backend", "5", &["-t", "v1/op/machine/status", "-m", json, "-q", "1", "-r"]).await);
    for version in ["311", "5"] {
        let (_child, mut lines) = subscriber(at, "backend", version, &["-t", "v1/op/#", "-v"]).await;
        assert_eq!(message(&mut lines).await, format!("v1/op/machine/status {json}"));
        let sale = r#"{"state":"credited"}"#;
        assert!(publish(at, "backend", "5", &["-t", "v1/op/machine/sale", "-m", sale, "-q", "1"]).await);
        assert_eq!(message(&mut lines).await, format!("v1/op/machine/sale {sale}"));
    }
}

#[tokio::test]
async fn a_killed_mosquitto_leaves_its_will() {
    let running = start().await;
    let at = running.address;
    let (_child, mut lines) = subscriber(at, "anna", "311", &["-t", "t/will", "-v"]).await;
    let will = ["-t", "t/x", "--will-topic", "t/will", "--will-payload", "gone", "--will-qos", "1"];
    let (mut dying, _) = subscriber(at, "ben", "5", &will).await;
    dying.kill().await.unwrap();
    assert_eq!(message(&mut lines).await, "t/will gone");
}

#[tokio::test]
async fn rumqttc_of_mqtt_5_exchanges_ten_thousand_messages() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::Packet;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let running = start().await;
    let mut options = MqttOptions::new("r5", "127.0.0.1", running.address.port());
    options.set_credentials("anna", PASSWORD).set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, 100);
    client.subscribe("t/#", QoS::AtLeastOnce).await.unwrap();
    let publishing = tokio::spawn(async move {
        for number in 0..10_000 {
            client.publish(format!("t/{}", number % 10), QoS::AtLeastOnce, false, number.to_string()).await.unwrap();
        }
        client
    });
    let mut seen = BTreeSet::new();
    let receiving = async {
        while seen.len() < 10_000 {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                let number: u32 = std::str::from_utf8(&publish.payload).unwrap().parse().unwrap();
                assert_eq!(publish.topic, format!("t/{}", number % 10));
                assert!(seen.insert(number), "{number} came twice");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), receiving).await.unwrap();
    publishing.await.unwrap();
}

#[tokio::test]
async fn rumqttc_of_mqtt_3_1_1_resumes_its_session() {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};

    let running = start().await;
    let options = || {
        let mut options = MqttOptions::new("r4", "127.0.0.1", running.address.port());
        options.set_credentials("anna", PASSWORD).set_keep_alive(Duration::from_secs(5)).set_clean_session(false);
        options
    };
    let (client, mut events) = AsyncClient::new(options(), 100);
    client.subscribe("t/#", QoS::ExactlyOnce).await.unwrap();
    let subscribing = async { while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {} };
    tokio::time::timeout(WAIT_TIMEOUT, subscribing).await.unwrap();
    drop((client, events));
    common::until("it is gone", || running.broker.connections().is_empty()).await;
    assert!(publish(running.address, "ben", "5", &["-t", "t/x", "-m", "kept", "-q", "2"]).await);
    let (_client, mut events) = AsyncClient::new(options(), 100);
    let receiving = async {
        loop {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet::ConnAck(ack)) => assert!(ack.session_present),
                Event::Incoming(Packet::Publish(publish)) => return publish,
                Event::Incoming(_) | Event::Outgoing(_) => {}
            }
        }
    };
    let received = tokio::time::timeout(WAIT_TIMEOUT, receiving).await.unwrap();
    assert_eq!(&received.payload[..], b"kept");
}

/// mosquitto as a bridge with all its defaults: MQTT 3.1.1 with its own bit in the version first, a will and a birth message
/// on `$SYS/broker/connection/..`.
#[tokio::test]
async fn a_mosquitto_bridge_with_its_defaults_brings_an_integrators_topics() {
    let running = start().await;
    let at = running.address;
    let directory = tempfile::tempdir().unwrap();
    let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings = directory.path().join("bridge.conf");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nconnection coinwire\naddress {at}\nremote_username reader\n\
         remote_password {PASSWORD}\nrestart_timeout 1\ntopic # in 1 fleet/ v1/\n",
        local.port()
    );
    std::fs::write(&settings, text).unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
    let mut bridge = Command::new("mosquitto");
    bridge.arg("-c").arg(&settings).env("PATH", path).stdout(Stdio::null()).stderr(Stdio::null());
    let _bridge = bridge.kill_on_drop(true).spawn().expect("mosquitto is installed: cargo xtask setup");
    let json = r#"{"online":true}"#;
    assert!(publish(at, "backend", "5", &["-t", "v1/op/machine/status", "-m", json, "-q", "1", "-r"]).await);
    let came = async {
        loop {
            let mut command = Command::new("mosquitto_sub");
            command.args([
                "-h",
                "127.0.0.1",
                "-p",
                &local.port().to_string(),
                "-t",
                "fleet/#",
                "-v",
                "-C",
                "1",
                "-W",
                "2",
            ]);
            let output = command.kill_on_drop(true).output().await.unwrap();
            if String::from_utf8_lossy(&output.stdout).trim() == format!("fleet/op/machine/status {json}") {
                return;
            }
        }
    };
    tokio::time::timeout(WAIT_TIMEOUT, came).await.expect("the bridge brings what an integrator may read");
    assert_eq!(running.broker.connections().len(), 1, "and stays");
}
