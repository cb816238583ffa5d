//! `coinwire demo` as a process, and the spare machine that the image's module is wired to.

use crate::{until, visitor::Visitor};
use protocol::{ModuleId, ModuleSecret};
use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
use serde_json::Value;
use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{sync::mpsc, time::timeout};

/// A demo that runs; killed when dropped.
pub struct Demo {
    child: Child,
    facts: Value,
    dir: TempDir,
}

impl Demo {
    /// Starts it and waits until it is payable.
    pub async fn start() -> Self {
        let binary = std::env::var_os("COINWIRE_BIN").expect("COINWIRE_BIN names the server: use `cargo xtask rig`");
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| File::create(dir.path().join(name)).unwrap();
        let mut command = Command::new(PathBuf::from(binary));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("COINWIRE_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["demo", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--modules", "1", "--data"])
            .arg(dir.path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("coinwire runs");
        let facts = until("demo.json", async || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("coinwire ended ({status}): {}", fs::read_to_string(dir.path().join("stderr")).unwrap());
            }
            let text = fs::read_to_string(dir.path().join("demo.json")).ok()?;
            serde_json::from_str(&text).ok()
        })
        .await;
        Self { child, facts, dir }
    }

    fn text(&self, pointer: &str) -> &str {
        self.facts.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} in {}", self.facts))
    }

    /// The broker's address.
    pub fn broker(&self) -> SocketAddr {
        self.text("/mqtt").strip_prefix("mqtt://").unwrap().parse().unwrap()
    }

    /// The spare module.
    pub fn module(&self) -> (ModuleId, ModuleSecret) {
        let id = ModuleId::parse(self.text("/spare_module/id")).unwrap();
        let bytes = hex::decode(self.text("/spare_module/secret_hex")).unwrap();
        (id, ModuleSecret::new(bytes.try_into().unwrap()))
    }

    /// Somebody who visits its pages.
    pub fn visitor(&self) -> Visitor {
        Visitor::new(self.text("/http").parse().unwrap())
    }

    /// The owner, signed in.
    pub async fn owner(&self) -> Visitor {
        let owner = self.visitor().sign_in(self.text("/operator/email"), self.text("/operator/password")).await;
        owner.expect("the operator's login")
    }

    /// The scan code of the machine that the spare module is wired to.
    pub async fn spare_code(&self) -> String {
        let owner = self.owner().await;
        let list = owner.get("/operator").await.html;
        let (before, _) = list.split_once(">Spare machine<").expect("the spare machine is listed");
        let (_, path) = before.rsplit_once("href=\"").unwrap();
        let page = owner.get(path.trim_end_matches('"')).await.html;
        let (_, code) = page.split_once("/s/").unwrap_or_else(|| panic!("no scan page named: {page}"));
        code.chars().take_while(char::is_ascii_alphanumeric).collect()
    }

    /// What the server logged, for a test that failed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// An integrator that hears of one machine.
    pub async fn integrator(&self, code: &str) -> Integrator {
        let at = self.broker();
        let mut options = MqttOptions::new("rig-integrator", at.ip().to_string(), at.port());
        options.set_credentials(self.text("/integrator/username"), self.text("/integrator/password"));
        let (client, mut events) = AsyncClient::new(options, 16);
        let filter = format!("{}/{code}/#", self.text("/integrator/topics").trim_end_matches("/#"));
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let (to, messages) = mpsc::unbounded_channel();
        let (stands, standing) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut stands = Some(stands);
            while let Ok(event) = events.poll().await {
                match event {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        stands.take().map(|stands| stands.send(()));
                    }
                    Event::Incoming(Incoming::Publish(publish)) => {
                        let kind = publish.topic.rsplit('/').next().unwrap_or_default().to_owned();
                        if to.send((kind, serde_json::from_slice(&publish.payload).unwrap())).is_err() {
                            return;
                        }
                    }
                    Event::Incoming(_) | Event::Outgoing(_) => {}
                }
            }
        });
        timeout(Duration::from_secs(20), standing).await.expect("a subscription").unwrap();
        Integrator { messages, _client: client }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
    }
}

/// Hears one machine's topics.
pub struct Integrator {
    messages: mpsc::UnboundedReceiver<(String, Value)>,
    _client: AsyncClient,
}

impl Integrator {
    /// The next message of a kind that satisfies.
    pub async fn next(&mut self, kind: &str, satisfies: impl Fn(&Value) -> bool) -> Value {
        let wait = async {
            loop {
                let (of, message) = self.messages.recv().await.expect("the integrator is connected");
                if of == kind && satisfies(&message) {
                    return message;
                }
            }
        };
        timeout(crate::WAIT_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("no {kind} as awaited"))
    }
}
