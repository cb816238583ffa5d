//! A MariaDB of our own for as long as a test run takes: its own data directory and port, reachable from this machine
//! only, ended by its process id.

use crate::program::{Program, Running, exists, free_address, target};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often to try to start it, since another program may take the port that was free just before.
const STARTS_MAX: usize = 3;

/// The server, until it is dropped: then it is killed and its data removed.
pub struct MariaDb {
    // Dropped in this order: the server ends before its data goes.
    _server: Running,
    _data: Removed,
    address: SocketAddr,
}

struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Whether a commit survives a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Commits {
    /// As in production.
    Durable,
    /// Faster. The tests check that the statements work on MariaDB, not that the disk keeps the data.
    NotDurable,
}

impl MariaDb {
    /// Makes a new database and waits until it takes connections.
    pub fn start(commits: Commits) -> Result<Self> {
        for needed in ["mariadbd", "mariadb-install-db"] {
            if !exists(needed) {
                bail!("{needed} is not installed: cargo xtask setup");
            }
        }
        let dir = target().join(format!("mariadb-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let data = Removed(dir.clone());
        let log = dir.join("log");
        let made = install(&dir).keep_running(&log).and_then(|made| until_ended(made, &log));
        made.context("mariadb-install-db")?;
        if !dir.join("data/mysql").is_dir() {
            bail!("mariadb-install-db made no tables:\n{}", fs::read_to_string(&log).unwrap_or_default());
        }
        let mut starts = 1;
        loop {
            let address = free_address()?;
            let mut server = serve(&dir, address, commits).keep_running(&log)?;
            match until_ready(&mut server, address, &log) {
                Ok(()) => return Ok(Self { _server: server, _data: data, address }),
                Err(error) if starts == STARTS_MAX => return Err(error),
                Err(_) => starts += 1,
            }
        }
    }

    /// Where it is, as `COINWIRE_TEST_DATABASE` wants it: without a database, which each test makes for itself.
    pub fn url(&self) -> String {
        format!("mysql://root@{}", self.address)
    }

    /// The address of a new, empty database.
    pub fn new_database(&self, name: &str) -> Result<String> {
        let (host, port) = (self.address.ip().to_string(), self.address.port().to_string());
        let create = format!("CREATE DATABASE {name}");
        let args = ["--no-defaults", "--host", &host, "--port", &port, "--user=root", "--execute", &create];
        Program::new("mariadb").args(&args).run()?;
        Ok(format!("{}/{name}", self.url()))
    }
}

fn until_ready(server: &mut Running, address: SocketAddr, log: &Path) -> Result<()> {
    let until = Instant::now() + WAIT_TIMEOUT;
    while !greets(address) {
        if server.has_ended() || Instant::now() > until {
            bail!("MariaDB did not start:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn install(dir: &Path) -> Program {
    Program::new("mariadb-install-db")
        .args(&["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"])
        .arg(format!("--datadir={}", dir.join("data").display()))
        .args(&as_root())
}

fn serve(dir: &Path, address: SocketAddr, commits: Commits) -> Program {
    // If we are killed, the server is killed too: one left behind would keep its port and disk for ever.
    let program = match exists("setpriv") {
        true => Program::new("setpriv").args(&["--pdeathsig", "KILL", &daemon()]),
        false => Program::new(daemon()),
    };
    program
        .args(&["--no-defaults", "--skip-name-resolve", "--skip-log-bin", "--max-connections=500"])
        .args(&["--innodb-buffer-pool-size=256M"])
        .args(match commits {
            Commits::Durable => &["--innodb-flush-log-at-trx-commit=1"][..],
            Commits::NotDurable => &["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"],
        })
        .arg(format!("--datadir={}", dir.join("data").display()))
        // Beside the data, where the server stands: a long path would not fit a socket's name.
        .arg("--socket=socket")
        .arg(format!("--pid-file={}", dir.join("pid").display()))
        .arg(format!("--bind-address={}", address.ip()))
        .arg(format!("--port={}", address.port()))
        .args(&as_root())
}

fn daemon() -> String {
    let daemon = "/usr/sbin/mariadbd";
    if Path::new(daemon).is_file() { daemon.into() } else { "mariadbd".into() }
}

/// MariaDB runs as root only where it is told to.
fn as_root() -> Vec<&'static str> {
    if crate::setup::is_root() { vec!["--user=root"] } else { vec![] }
}

fn until_ended(mut program: Running, log: &Path) -> Result<()> {
    let until = Instant::now() + WAIT_TIMEOUT;
    while !program.has_ended() {
        if Instant::now() > until {
            bail!("did not end:\n{}", fs::read_to_string(log).unwrap_or_default());
        }
        thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

/// A ready server speaks first: three bytes of length, a zero, and protocol version 10.
fn greets(address: SocketAddr) -> bool {
    let mut greeting = [0; 5];
    TcpStream::connect_timeout(&address, POLL_INTERVAL)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.read_exact(&mut greeting)
        })
        .is_ok_and(|()| greeting[4] == 10)
}
