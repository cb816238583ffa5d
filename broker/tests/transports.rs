//! TLS and WebSocket: the same MQTT, certificates that change, handshakes that do not come to an end.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Config, Limits, StartError, TlsFiles};
use bytes::Bytes;
use common::{Logins, PASSWORD, Raw, WAIT_TIMEOUT, login, until};
use futures_util::{SinkExt, StreamExt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

/// An issuer with its certificate in `dir/ca.pem`.
fn issuer(dir: &Path) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "issuer");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
    issuer
}

/// Writes a certificate of this machine's.
fn certify(dir: &Path, name: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, issuer).unwrap();
    let files = TlsFiles {
        certificate: dir.join(format!("{name}.pem")),
        key: dir.join(format!("{name}.key")),
        client_ca: None,
    };
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    files
}

async fn start(tls: Option<TlsFiles>, limits: Limits) -> Broker {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: vec![anywhere],
        listen_tls: tls.iter().map(|_| anywhere).collect(),
        listen_web_socket: vec![anywhere],
        tls,
        limits,
        ..Config::default()
    };
    broker::start(config, Arc::new(Logins)).await.unwrap()
}

/// Whether mosquitto_pub gets a message through over TLS, trusting `ca`.
async fn publishes(at: SocketAddr, version: &str, ca: &Path, more: &[&str]) -> bool {
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &at.port().to_string(), "-u", "anna", "-P", PASSWORD, "-V", version]);
    command.args(["-q", "1", "-t", "t/x", "-m", "over tls", "--cafile", ca.to_str().unwrap()]).args(more);
    let publishing = command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).status();
    tokio::time::timeout(WAIT_TIMEOUT, publishing).await.unwrap().unwrap().success()
}

#[tokio::test]
async fn a_stock_client_gets_through_over_tls_in_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(Some(certify(dir.path(), "server", &issuer(dir.path()))), Limits::default()).await;
    let mut plain = Raw::client5(broker.local_addrs()[0], "ben", "plain").await;
    plain.subscribed5("t/#", mqtt_protocol_core::mqtt::packet::Qos::AtMostOnce).await;
    for version in ["311", "5"] {
        assert!(publishes(broker.tls_addrs()[0], version, &dir.path().join("ca.pem"), &[]).await);
        assert_eq!(plain.received5().await.payload, b"over tls");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (dir.path().join("old"), dir.path().join("new"));
    for dir in [&old, &new] {
        std::fs::create_dir(dir).unwrap();
    }
    let (first, second) = (issuer(&old), issuer(&new));
    let files = certify(dir.path(), "server", &first);
    let broker = start(Some(files.clone()), Limits::default()).await;
    let (at, old, new) = (broker.tls_addrs()[0], old.join("ca.pem"), new.join("ca.pem"));
    assert!(publishes(at, "5", &old, &[]).await && !publishes(at, "5", &new, &[]).await);
    std::fs::write(&files.certificate, "half a certifi").unwrap();
    // Longer than the files are left unlooked at.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(publishes(at, "5", &old, &[]).await, "the old certificate stays");
    certify(dir.path(), "server", &second);
    let renewed = async { while !publishes(at, "5", &new, &[]).await {} };
    tokio::time::timeout(WAIT_TIMEOUT, renewed).await.expect("the new certificate is taken");
}

#[tokio::test]
async fn a_client_certificate_must_be_of_the_named_issuer_if_one_is_shown() {
    let (dir, strange) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ca = issuer(dir.path());
    let server = certify(dir.path(), "server", &ca);
    let own = certify(dir.path(), "client", &ca);
    let foreign = certify(strange.path(), "client", &issuer(strange.path()));
    let trusted = dir.path().join("ca.pem");
    let broker = start(Some(TlsFiles { client_ca: Some(trusted.clone()), ..server }), Limits::default()).await;
    let at = broker.tls_addrs()[0];
    let shown = |files: &TlsFiles| -> Vec<String> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        vec!["--cert".into(), text(&files.certificate), "--key".into(), text(&files.key)]
    };
    for (arguments, passes) in [(vec![], true), (shown(&own), true), (shown(&foreign), false)] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(publishes(at, "5", &trusted, &arguments).await, passes, "{arguments:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_files_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let files = certify(dir.path(), "server", &issuer(dir.path()));
    let with = |tls| Config { listen_tls: vec![([127, 0, 0, 1], 0).into()], tls, ..Config::default() };
    let refused = broker::start(with(None), Arc::new(Logins)).await;
    assert!(matches!(refused, Err(StartError::NoCertificate(_))));
    let missing = dir.path().join("missing.pem");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (wrong, name) in [
        (TlsFiles { certificate: missing.clone(), ..files.clone() }, "missing.pem"),
        (TlsFiles { key: missing.clone(), ..files.clone() }, "missing.pem"),
        (TlsFiles { certificate: empty.clone(), ..files.clone() }, "empty.pem"),
        (TlsFiles { client_ca: Some(empty.clone()), ..files.clone() }, "empty.pem"),
    ] {
        let Err(error) = broker::start(with(Some(wrong)), Arc::new(Logins)).await else { panic!("{name}") };
        assert!(error.to_string().contains(name), "{error}");
    }
}

type WebSocket = tokio_tungstenite::WebSocketStream<TcpStream>;

async fn web_socket(at: SocketAddr, protocol: Option<&str>) -> Result<WebSocket, Error> {
    let mut request = format!("ws://{at}/mqtt").into_client_request().unwrap();
    if let Some(protocol) = protocol {
        request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse().unwrap());
    }
    let socket = TcpStream::connect(at).await.unwrap();
    tokio_tungstenite::client_async(request, socket).await.map(|(socket, _)| socket)
}

/// Bytes that came, until there are so many.
async fn bytes(socket: &mut WebSocket, count: usize) -> Vec<u8> {
    let mut all = vec![];
    while all.len() < count {
        let next = tokio::time::timeout(WAIT_TIMEOUT, socket.next()).await.unwrap().expect("it was closed").unwrap();
        if let Message::Binary(part) = next {
            all.extend_from_slice(&part);
        }
    }
    all
}

#[tokio::test]
async fn mqtt_over_web_socket_however_its_bytes_are_cut() {
    let broker = start(None, Limits::default()).await;
    let mut socket = web_socket(broker.web_socket_addrs()[0], Some("mqttv3.1, mqtt")).await.unwrap();
    let connect = login("anna", "browser").v4().to_continuous_buffer();
    let ping = [0xc0, 0];
    // A packet in pieces, two in one message.
    for piece in connect.chunks(3) {
        socket.send(Message::Binary(Bytes::copy_from_slice(piece))).await.unwrap();
    }
    assert_eq!(bytes(&mut socket, 4).await, [0x20, 2, 0, 0]);
    socket.send(Message::Ping(Bytes::new())).await.unwrap();
    socket.send(Message::Binary(Bytes::copy_from_slice(&[ping, ping].concat()))).await.unwrap();
    assert_eq!(bytes(&mut socket, 4).await, [0xd0, 0, 0xd0, 0]);
    socket.send(Message::Text("no bytes".into())).await.unwrap();
    let end = async { while let Some(Ok(_)) = socket.next().await {} };
    tokio::time::timeout(WAIT_TIMEOUT, end).await.expect("a text message ends the connection");
    until("it is gone", || broker.connections().is_empty()).await;
}

#[tokio::test]
async fn the_subprotocol_of_older_libraries_is_taken_in_whatever_order() {
    let broker = start(None, Limits::default()).await;
    for (offers, agreed) in [
        ("mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1.1", "mqttv3.1.1"),
        ("mqttv3.1, mqtt", "mqttv3.1"),
        ("chat,mqttv3.1.1 , mqttv3.1", "mqttv3.1.1"),
    ] {
        let mut request = format!("ws://{}/mqtt", broker.web_socket_addrs()[0]).into_client_request().unwrap();
        request.headers_mut().insert("Sec-WebSocket-Protocol", offers.parse().unwrap());
        let socket = TcpStream::connect(broker.web_socket_addrs()[0]).await.unwrap();
        let (mut socket, response) = tokio_tungstenite::client_async(request, socket).await.unwrap();
        assert_eq!(response.headers()["Sec-WebSocket-Protocol"], agreed, "{offers}");
        let connect = login("anna", "browser").v4().to_continuous_buffer();
        socket.send(Message::Binary(connect.into())).await.unwrap();
        assert_eq!(bytes(&mut socket, 4).await, [0x20, 2, 0, 0], "{offers}");
    }
}

#[tokio::test]
async fn a_web_socket_of_another_protocol_is_refused() {
    let broker = start(None, Limits::default()).await;
    for protocol in [None, Some("chat"), Some("mqttv5")] {
        let Err(Error::Http(response)) = web_socket(broker.web_socket_addrs()[0], protocol).await else {
            panic!("{protocol:?}")
        };
        assert_eq!(response.status(), 400);
    }
}

#[tokio::test]
async fn handshakes_that_do_not_end_hold_up_nobody_and_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let files = certify(dir.path(), "server", &issuer(dir.path()));
    let limits = Limits { connect_timeout: Duration::from_secs(2), ..Limits::default() };
    let broker = start(Some(files), limits).await;
    let (tls, ws) = (broker.tls_addrs()[0], broker.web_socket_addrs()[0]);
    let mut idle = vec![];
    for at in [tls, ws] {
        for _ in 0..20 {
            idle.push(TcpStream::connect(at).await.unwrap());
        }
    }
    assert!(publishes(tls, "5", &dir.path().join("ca.pem"), &[]).await);
    web_socket(ws, Some("mqtt")).await.unwrap();
    for socket in idle {
        let mut byte = [0];
        let closed = async {
            socket.readable().await.unwrap();
            socket.try_read(&mut byte)
        };
        assert!(matches!(tokio::time::timeout(WAIT_TIMEOUT, closed).await.unwrap(), Ok(0)), "it is cut");
    }
}
