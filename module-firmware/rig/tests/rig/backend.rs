//! The broker alone, and the server's side of the wire played by the test.

use crate::WAIT_TIMEOUT;
use broker::{Authenticate, Broker, ClientIdRule, Config, Grants, Lane, Limits, Login, Refusal};
use protocol::{
    MessageKey, ModuleId, ModuleSecret,
    limits::PAYLOAD_MAX_BYTES,
    messages::{Ack, Action, Command, LearnStage, Learned, Status, Sync},
    open, seal,
    topics::{Kind, topic},
};
use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions, mqttbytes::QoS};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::mpsc, time::timeout};

/// Whoever comes; a module for its own topics, the backend for all.
struct Anyone;

const BACKEND: &str = "backend";

#[async_trait::async_trait]
impl Authenticate for Anyone {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let user = login.username.clone().ok_or(Refusal::BadCredentials)?;
        let module = |kinds: &[&str]| kinds.iter().map(|kind| format!("m/{user}/{kind}")).collect();
        let is_backend = user == BACKEND;
        Ok(Grants {
            lane: if is_backend { Lane::Client } else { Lane::Device },
            client_id: ClientIdRule::Any,
            publish: if is_backend { vec!["m/+/command".into()] } else { module(&["status", "pulse", "ack"]) },
            subscribe: if is_backend { vec!["m/#".into()] } else { module(&["command"]) },
            shared: false,
            credential: user,
        })
    }
}

/// Starts the broker on a port of loopback.
pub async fn broker() -> (Broker, SocketAddr) {
    let limits = Limits { device_publishes_per_minute: 1_000_000, ..Limits::default() };
    let config = Config { listen: vec!["127.0.0.1:0".parse().unwrap()], limits, ..Config::default() };
    let broker = broker::start(config, Arc::new(Anyone)).await.unwrap();
    let at = broker.local_addrs()[0];
    (broker, at)
}

/// A module of a test.
pub fn module(number: u8) -> (ModuleId, ModuleSecret) {
    (ModuleId::from_bits(7000 + u64::from(number)), ModuleSecret::new([number; 32]))
}

/// A message of the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Status(Heard),
    Pulse,
    Ack(Ack),
}

/// A status, as far as the tests look.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub online: bool,
    pub at_ms: Option<u64>,
    pub learned: Option<Learned>,
}

/// The server for one module: it answers a clock that is not set, and nothing else by itself.
pub struct Server {
    id: ModuleId,
    key: MessageKey,
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    commands: u32,
}

impl Server {
    /// Connects.
    pub async fn start(at: SocketAddr, (id, secret): &(ModuleId, ModuleSecret)) -> Self {
        let mut options = MqttOptions::new(BACKEND, at.ip().to_string(), at.port());
        options.set_credentials(BACKEND, "").set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 2048);
        let (to, messages) = mpsc::unbounded_channel();
        let (stands, standing) = tokio::sync::oneshot::channel();
        client.subscribe(format!("m/{id}/+"), QoS::AtLeastOnce).await.unwrap();
        tokio::spawn(async move {
            let mut stands = Some(stands);
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        stands.take().map(|stands| stands.send(()));
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let name = String::from_utf8(publish.topic.to_vec()).unwrap();
                        if to.send((name, publish.payload.to_vec())).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) if to.is_closed() => return,
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        timeout(WAIT_TIMEOUT, standing).await.expect("a subscription").unwrap();
        Self { id: *id, key: secret.message_key(*id), client, messages, commands: 0 }
    }

    /// The next message, syncs seen to.
    pub async fn next(&mut self) -> Said {
        timeout(WAIT_TIMEOUT, self.listen()).await.expect("a message of the module")
    }

    /// The next message, if one comes in time.
    pub async fn next_within(&mut self, patience: Duration) -> Option<Said> {
        timeout(patience, self.listen()).await.ok()
    }

    /// Whether a message waits.
    pub fn has_heard(&self) -> bool {
        !self.messages.is_empty()
    }

    async fn listen(&mut self) -> Said {
        loop {
            let (name, payload) = self.messages.recv().await.expect("the listener runs");
            if name == *topic(self.id, Kind::Status) {
                let status: Status = open(&self.key, &name, &payload).unwrap();
                let heard = Heard { online: status.online, at_ms: status.at_ms, learned: status.learned };
                let (boot, uptime_ms) = (status.mark.boot, status.uptime_ms);
                if status.online && status.at_ms.is_none() {
                    self.sync(boot, uptime_ms).await;
                }
                return Said::Status(heard);
            }
            if name == *topic(self.id, Kind::Ack) {
                return Said::Ack(open(&self.key, &name, &payload).unwrap());
            }
            if name == *topic(self.id, Kind::Pulse) {
                return Said::Pulse;
            }
        }
    }

    async fn sync(&mut self, echo_boot: u32, echo_uptime_ms: u64) {
        let sync = Sync { server_ms: now_ms(), echo_boot, echo_uptime_ms };
        let command = self.command(Action::Sync(sync));
        self.send(&command).await;
    }

    /// Waits until the module is there and knows the time.
    pub async fn until_ready(&mut self) {
        self.until_ready_within(WAIT_TIMEOUT).await;
    }

    /// The same, with more patience.
    pub async fn until_ready_within(&mut self, patience: Duration) {
        let ready = async {
            loop {
                match self.listen().await {
                    Said::Status(status) if status.online && status.at_ms.is_some() => return,
                    // The sync is answered; a status follows only when one is due.
                    Said::Ack(ack) if ack.at_ms.is_some() => return,
                    Said::Status(_) | Said::Pulse | Said::Ack(_) => {}
                }
            }
        };
        timeout(patience, ready).await.expect("the module comes and takes the time");
    }

    /// Waits for a status that tells of a learning at this stage.
    pub async fn until_learned(&mut self, stage: LearnStage) -> Learned {
        loop {
            if let Said::Status(status) = self.next().await
                && let Some(learned) = status.learned.filter(|learned| learned.stage == stage)
            {
                return learned;
            }
        }
    }

    /// A new command.
    pub fn command(&mut self, action: Action) -> Command {
        self.commands += 1;
        Command {
            id: 0xC0DE_0000_0000 + u64::from(self.commands),
            sequence: self.commands,
            issued_ms: now_ms(),
            expires_ms: now_ms() + 120_000,
            action,
        }
    }

    /// A command's payload.
    pub fn sealed(&self, command: &Command) -> Vec<u8> {
        let name = topic(self.id, Kind::Command);
        let mut buffer = [0; PAYLOAD_MAX_BYTES];
        let length = seal(&self.key, &name, command, &mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    /// Publishes a command; the same again is the same bytes.
    pub async fn send(&self, command: &Command) {
        self.send_raw(self.sealed(command)).await;
    }

    /// Publishes any bytes as a command.
    pub async fn send_raw(&self, payload: Vec<u8>) {
        let name = topic(self.id, Kind::Command);
        self.client.publish(name.to_string(), QoS::AtLeastOnce, false, payload).await.unwrap();
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}
