//! Stock clients of further families, over every transport and in both versions: paho (Python) and MQTT.js. What they do
//! and must see is in `clients/`; here is the broker they do it with.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Config, TlsFiles};
use common::{Logins, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use tokio::process::Command;

/// Longest time for all that a client does: it waits for single things no longer than 20 s, and says for what.
const WHOLE_RUN: Duration = Duration::from_secs(120);

#[derive(Clone, Copy)]
enum Family {
    Paho,
    MqttJs,
}

#[derive(Clone, Copy)]
enum Transport {
    Tcp,
    Tls,
    WebSocket,
}

impl Family {
    /// The client, ready to be told where the broker is.
    fn client(self) -> Command {
        let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        // Where `cargo xtask setup` puts them.
        let (installed, interpreter, script) = match self {
            Family::Paho => {
                let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
                let python = target.join("mqtt-clients/venv/bin/python");
                (python.clone(), python, "paho/client.py")
            }
            Family::MqttJs => (clients.join("mqttjs/node_modules/mqtt"), PathBuf::from("node"), "mqttjs/client.mjs"),
        };
        assert!(installed.exists(), "{} is missing: cargo xtask setup", installed.display());
        let mut command = Command::new(interpreter);
        command.arg(clients.join(script)).kill_on_drop(true);
        command
    }
}

/// Writes a certificate of this machine's, its key, and its issuer as `ca.pem`.
fn certify(dir: &Path) -> TlsFiles {
    let mut of_issuer = CertificateParams::new(vec![]).unwrap();
    of_issuer.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Python is strict about issuers from 3.13 on.
    of_issuer.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    of_issuer.distinguished_name.push(DnType::CommonName, "issuer");
    let issuer = CertifiedIssuer::self_signed(of_issuer, KeyPair::generate().unwrap()).unwrap();
    let mut of_server = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).unwrap();
    of_server.use_authority_key_identifier_extension = true;
    of_server.distinguished_name.push(DnType::CommonName, "server");
    let key = KeyPair::generate().unwrap();
    let certificate = of_server.signed_by(&key, &issuer).unwrap();
    let files = TlsFiles { certificate: dir.join("server.pem"), key: dir.join("server.key"), client_ca: None };
    std::fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
    std::fs::write(&files.key, key.serialize_pem()).unwrap();
    std::fs::write(&files.certificate, certificate.pem()).unwrap();
    files
}

async fn start(tls: TlsFiles) -> Broker {
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: vec![anywhere],
        listen_tls: vec![anywhere],
        listen_web_socket: vec![anywhere],
        tls: Some(tls),
        ..Config::default()
    };
    broker::start(config, Arc::new(Logins)).await.unwrap()
}

/// Runs a client to its end, and has the broker forget it.
async fn passes(family: Family, version: &str, transport: Transport) {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(certify(dir.path())).await;
    let (name, address) = match transport {
        Transport::Tcp => ("tcp", broker.local_addrs()[0]),
        Transport::Tls => ("tls", broker.tls_addrs()[0]),
        Transport::WebSocket => ("ws", broker.web_socket_addrs()[0]),
    };
    let mut client = family.client();
    client.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
    client.args(["--transport", name, "--version", version, "--ca"]).arg(dir.path().join("ca.pem"));
    let ended = tokio::time::timeout(WHOLE_RUN, client.output()).await.expect("the client does not end");
    let Output { status, stdout, stderr } = ended.unwrap();
    let said = [stdout, stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(status.success(), "after what it did last:\n{said}");
    until("the broker has seen them go", || broker.connections().is_empty()).await;
    broker.shutdown().await;
}

macro_rules! families {
    ($($name:ident: $family:ident, $version:literal, $transport:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                passes(Family::$family, $version, Transport::$transport).await;
            }
        )*
    };
}

families! {
    paho_of_mqtt_3_1_1_over_tcp: Paho, "3.1.1", Tcp;
    paho_of_mqtt_3_1_1_over_tls: Paho, "3.1.1", Tls;
    paho_of_mqtt_3_1_1_over_web_socket: Paho, "3.1.1", WebSocket;
    paho_of_mqtt_5_over_tcp: Paho, "5", Tcp;
    paho_of_mqtt_5_over_tls: Paho, "5", Tls;
    paho_of_mqtt_5_over_web_socket: Paho, "5", WebSocket;
    mqtt_js_of_mqtt_3_1_1_over_tcp: MqttJs, "3.1.1", Tcp;
    mqtt_js_of_mqtt_3_1_1_over_tls: MqttJs, "3.1.1", Tls;
    mqtt_js_of_mqtt_3_1_1_over_web_socket: MqttJs, "3.1.1", WebSocket;
    mqtt_js_of_mqtt_5_over_tcp: MqttJs, "5", Tcp;
    mqtt_js_of_mqtt_5_over_tls: MqttJs, "5", Tls;
    mqtt_js_of_mqtt_5_over_web_socket: MqttJs, "5", WebSocket;
}
