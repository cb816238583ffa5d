//! A broker that is none of ours (Debian's mosquitto), and the server's side of the wire.
#![allow(dead_code, clippy::unwrap_used)]

use module_host::{Config, Flash, VirtualModule};
use protocol::{
    MessageKey, ModuleId, ModuleSecret,
    messages::{Ack, Action, Command, Pulse, Stage, Status, Sync},
    open, seal,
    topics::{Kind, parse, topic},
};
use rumqttc::v5::{
    AsyncClient, Event, Incoming, MqttOptions,
    mqttbytes::{QoS, v5::Filter},
};
use std::{
    collections::HashSet,
    fmt::Write,
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::mpsc, time::timeout};

/// Longest wait for anything in a test.
pub const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const SERVER: (&str, &str) = ("server", "server-password");

/// The module number `n` of a test.
pub fn module(n: u64) -> (ModuleId, ModuleSecret) {
    (ModuleId::from_bits(1000 + n), ModuleSecret::new([n as u8; 32]))
}

/// Starts that module.
pub async fn start(n: u64, broker: SocketAddr) -> VirtualModule {
    let (id, secret) = module(n);
    VirtualModule::start(Config { id, secret, broker, flash: Flash::Memory, seed: n }).await.unwrap()
}

/// Pulses that came to the machine behind a module. Those that it refused are among them: here time is the host's, and what
/// a busy one makes of widths and gaps is not the module's doing, whose own times are tested with a clock that stands.
pub fn passed(module: &VirtualModule) -> u64 {
    let snapshot = module.snapshot();
    snapshot.machine_pulses + snapshot.machine_refused
}

/// Waits until so many pulses have come to the machine behind a module.
pub async fn counted(module: &VirtualModule, pulses: u64) {
    let wait = async {
        // A refused pulse changes no count that is told.
        while passed(module) < pulses {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT_TIMEOUT, wait).await.unwrap_or_else(|_| panic!("{:?}, not {pulses} pulses", module.snapshot()));
}

/// mosquitto on a loopback port, with the modules' derived passwords and the rule that each speaks for itself.
pub struct Mosquitto {
    pub at: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

impl Mosquitto {
    pub async fn start(modules: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let mut passwords = format!("{}:{}\n", SERVER.0, SERVER.1);
        for (id, secret) in (0..modules).map(module) {
            writeln!(passwords, "{id}:{}", secret.mqtt_password(id)).unwrap();
        }
        fs::write(file("passwords"), passwords).unwrap();
        let hashed = std::process::Command::new("mosquitto_passwd").args(["-U", &file("passwords")]).status();
        assert!(hashed.expect("mosquitto_passwd: install the package mosquitto").success());
        let rules = "user server\ntopic readwrite m/#\npattern write m/%u/status\npattern write m/%u/pulse\n\
                     pattern write m/%u/ack\npattern read m/%u/command\n";
        fs::write(file("rules"), rules).unwrap();
        let settings = format!(
            "listener {} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {}\nacl_file {}\n\
             persistence false\nmax_connections -1\n",
            at.port(),
            file("passwords"),
            file("rules"),
        );
        fs::write(file("mosquitto.conf"), settings).unwrap();
        let child = Self::spawn(&folder, at).await;
        Self { at, folder, child }
    }

    async fn spawn(folder: &tempfile::TempDir, at: SocketAddr) -> Child {
        // Its place is not on everyone's path.
        let mosquitto = ["/usr/sbin/mosquitto", "/usr/bin/mosquitto", "/usr/local/sbin/mosquitto"];
        let mosquitto = mosquitto.into_iter().find(|path| fs::exists(path).unwrap_or(false));
        let mosquitto = mosquitto.expect("no mosquitto: install the package mosquitto");
        let mut child = std::process::Command::new(mosquitto)
            .arg("-c")
            .arg(folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(begun.elapsed() < WAIT_TIMEOUT, "mosquitto does not listen");
            assert_eq!(child.try_wait().unwrap(), None, "mosquitto ended by itself");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn again(&mut self) {
        self.child = Self::spawn(&self.folder, self.at).await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A status, as the server reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub online: bool,
    pub boot: u32,
    pub session: u32,
    pub sequence: u32,
    pub uptime_ms: u64,
    pub at_ms: Option<u64>,
    pub coins: u64,
    pub credits: u64,
    pub retained: bool,
}

/// A message of a module.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    Status(Heard),
    Pulse(Pulse),
    Ack(Ack),
}

/// The server, for one module.
pub struct Server {
    id: ModuleId,
    key: MessageKey,
    client: AsyncClient,
    messages: mpsc::UnboundedReceiver<(ModuleId, Kind, Vec<u8>, bool)>,
    task: tokio::task::JoinHandle<()>,
    commands: u32,
}

impl Server {
    /// Connects, and again whenever the connection is lost; gives itself once the subscription stands.
    pub async fn start(at: SocketAddr, n: u64) -> Self {
        let (id, _) = module(n);
        Self::listen(at, n, format!("m/{id}/+")).await
    }

    /// Waits until so many modules have said that they are there.
    pub async fn heard_from(at: SocketAddr, modules: usize) {
        let mut server = Self::listen(at, 0, "m/+/status".into()).await;
        let mut heard = HashSet::new();
        while heard.len() < modules {
            let message = timeout(WAIT_TIMEOUT, server.messages.recv()).await;
            let (id, ..) = message.unwrap_or_else(|_| panic!("only {} modules came", heard.len())).unwrap();
            heard.insert(id);
        }
    }

    async fn listen(at: SocketAddr, n: u64, filter: String) -> Self {
        let (id, secret) = module(n);
        static SERVERS: AtomicU64 = AtomicU64::new(0);
        let name = format!("server-{}", SERVERS.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(name, at.ip().to_string(), at.port());
        options.set_credentials(SERVER.0, SERVER.1).set_keep_alive(Duration::from_secs(30));
        let (client, mut events) = AsyncClient::new(options, 32);
        let (to, messages) = mpsc::unbounded_channel();
        let (stands, standing) = tokio::sync::oneshot::channel();
        let subscriber = client.clone();
        let task = tokio::spawn(async move {
            let mut stands = Some(stands);
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Incoming::ConnAck(_))) => {
                        let filter = Filter::new(filter.clone(), QoS::AtLeastOnce);
                        subscriber.subscribe_many([filter]).await.unwrap();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        stands.take().map(|stands| stands.send(()));
                    }
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let name = String::from_utf8(publish.topic.to_vec()).unwrap();
                        let (id, kind) = parse(&name).expect("a module topic");
                        if to.send((id, kind, publish.payload.to_vec(), publish.retain)).is_err() {
                            return;
                        }
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        timeout(WAIT_TIMEOUT, standing).await.expect("a subscription").unwrap();
        Self { id, key: secret.message_key(id), client, messages, task, commands: 0 }
    }

    /// The next message of the module.
    pub async fn next(&mut self) -> Said {
        loop {
            let message = timeout(WAIT_TIMEOUT, self.messages.recv()).await.expect("a message of the module").unwrap();
            let (id, kind, payload, retained) = message;
            let name = topic(id, kind);
            return match kind {
                Kind::Status => {
                    let status: Status = open(&self.key, &name, &payload).unwrap();
                    Said::Status(Heard {
                        online: status.online,
                        boot: status.mark.boot,
                        session: status.mark.session,
                        sequence: status.mark.sequence,
                        uptime_ms: status.uptime_ms,
                        at_ms: status.at_ms,
                        coins: status.totals.coin_pulses,
                        credits: status.totals.credit_pulses,
                        retained,
                    })
                }
                Kind::Pulse => Said::Pulse(open(&self.key, &name, &payload).unwrap()),
                Kind::Ack => Said::Ack(open(&self.key, &name, &payload).unwrap()),
                Kind::Command => continue,
            };
        }
    }

    /// The next status that satisfies.
    pub async fn status(&mut self, satisfies: impl Fn(&Heard) -> bool) -> Heard {
        loop {
            if let Said::Status(status) = self.next().await
                && satisfies(&status)
            {
                return status;
            }
        }
    }

    pub async fn pulse(&mut self) -> Pulse {
        loop {
            if let Said::Pulse(pulse) = self.next().await {
                return pulse;
            }
        }
    }

    /// The next ack of a command at one of these stages.
    pub async fn ack(&mut self, command: &Command, stages: &[Stage]) -> Ack {
        loop {
            if let Said::Ack(ack) = self.next().await
                && (ack.command, ack.sequence) == (command.id, command.sequence)
                && stages.contains(&ack.stage)
            {
                return ack;
            }
        }
    }

    /// A command with the next sequence.
    pub fn command(&mut self, action: Action) -> Command {
        self.commands += 1;
        let issued_ms = unix_ms();
        Command {
            id: 5000 + u64::from(self.commands),
            sequence: self.commands,
            issued_ms,
            expires_ms: issued_ms + 60_000,
            action,
        }
    }

    pub async fn send(&self, command: &Command) {
        let name = topic(self.id, Kind::Command);
        let mut payload = [0; 256];
        let length = seal(&self.key, &name, command, &mut payload).unwrap();
        self.client.publish(name.as_str(), QoS::AtLeastOnce, false, payload[..length].to_vec()).await.unwrap();
    }

    /// Sets the module's clock, answering a status of its.
    pub async fn sync(&mut self, status: &Heard) -> Ack {
        let sync = Sync { server_ms: unix_ms(), echo_boot: status.boot, echo_uptime_ms: status.uptime_ms };
        let command = self.command(Action::Sync(sync));
        self.send(&command).await;
        self.ack(&command, &[Stage::Done, Stage::Failed]).await
    }

    /// Waits for the module's first status and sets its clock.
    pub async fn welcome(&mut self) -> Heard {
        let status = self.status(|status| status.online).await;
        assert_eq!(self.sync(&status).await.stage, Stage::Done);
        status
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64
}
