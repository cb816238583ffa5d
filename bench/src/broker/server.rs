//! The brokers under test, each a process of its own: the gate, and mosquitto beside it.

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use broker::{Authenticate, ClientIdRule, Config, Grants, Lane, Limits, Login, Refusal};
use std::{
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

/// Prefix of modules' names; everybody else is a client.
pub const MODULE: &str = "module";
/// A client with this name is refused.
pub const STRANGER: &str = "stranger";
/// A process may open 20,000 files; some of them are not sockets.
const CONNECTIONS: usize = 19_400;
/// A broker that takes longer to start counts as failed.
const WAIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages to a client not yet acknowledged: the gate's own default, which mosquitto is given too.
const IN_FLIGHT: usize = 64;

/// A broker to measure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Gate,
    Mosquitto,
}

pub const PEERS: [Peer; 2] = [Peer::Gate, Peer::Mosquitto];

impl Peer {
    pub fn as_str(self) -> &'static str {
        match self {
            Peer::Gate => "gate",
            Peer::Mosquitto => "mosquitto",
        }
    }
}

/// A broker that runs, until this is dropped.
pub struct Server {
    child: Child,
    pub at: SocketAddr,
}

impl Server {
    /// Starts a broker; what it needs is kept in `dir`.
    pub async fn start(peer: Peer, dir: &Path) -> Result<Server> {
        match peer {
            Peer::Gate => Self::gate(),
            Peer::Mosquitto => Self::mosquitto(dir).await,
        }
    }

    fn gate() -> Result<Server> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(program).arg("gate").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let at = line.trim().parse().with_context(|| format!("the gate did not start: {line:?}"))?;
        Ok(Server { child, at })
    }

    async fn mosquitto(dir: &Path) -> Result<Server> {
        // It wants a number: one that was free just now.
        let at = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let configuration = dir.join("mosquitto.conf");
        let mut file = std::fs::File::create(&configuration)?;
        writeln!(file, "listener {} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true", at.port())?;
        writeln!(file, "max_queued_messages 0\nmax_inflight_messages {IN_FLIGHT}\nlog_type error\nuser root")?;
        let path =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = Command::new(path.unwrap_or("mosquitto"));
        command.arg("-c").arg(&configuration).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("cannot start mosquitto: cargo xtask setup")?;
        let server = Server { child, at };
        let begun = Instant::now();
        while TcpStream::connect(at).is_err() {
            if begun.elapsed() > WAIT_TIMEOUT {
                bail!("mosquitto does not listen");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(server)
    }

    /// Bytes of it that are in memory.
    pub fn resident_bytes(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gate, in a process of its own, until standard input ends.
pub async fn serve() -> Result<()> {
    let limits = Limits {
        connections: CONNECTIONS,
        // All load comes from this machine.
        connections_per_address: CONNECTIONS,
        ..Limits::default()
    };
    let config = Config { listen: vec![(Ipv4Addr::LOCALHOST, 0).into()], limits, ..Config::default() };
    let broker = broker::start(config, Arc::new(Logins)).await?;
    println!("{}", broker.local_addrs()[0]);
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    Ok(())
}

struct Logins;

#[async_trait]
impl Authenticate for Logins {
    async fn authenticate(&self, login: &Login) -> Result<Grants, Refusal> {
        let user = login.username.clone().ok_or(Refusal::BadCredentials)?;
        if user == STRANGER {
            return Err(Refusal::BadCredentials);
        }
        let is_module = user.starts_with(MODULE);
        let (publish, subscribe) = match is_module {
            true => (
                ["status", "pulse", "ack"].map(|kind| format!("m/{user}/{kind}")).to_vec(),
                vec![format!("m/{user}/command")],
            ),
            false => (vec!["#".to_owned()], vec!["#".to_owned()]),
        };
        Ok(Grants {
            credential: user,
            lane: if is_module { Lane::Device } else { Lane::Client },
            client_id: ClientIdRule::Any,
            publish,
            subscribe,
            shared: !is_module,
        })
    }
}
