//! The production binary: built without the demo, started, and ended.

use crate::program::{Program, binary, free_address, target};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

const WAIT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Crates that are of the demo alone.
const DEMO_CRATES: [&str; 4] = ["sandbox", "module-host", "rcgen", "tempfile"];

/// Builds it, and has it do what a new installation does.
pub fn run() -> Result<()> {
    without_demo_crates()?;
    // Clippy sees the whole workspace with the demo only.
    let selection = ["--quiet", "--package", "server", "--no-default-features"];
    Program::cargo(&["clippy"]).args(&selection).args(&["--all-targets", "--", "-D", "warnings"]).run()?;
    Program::cargo(&["build"]).args(&selection).run()?;
    let dir = target().join(format!("production-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let outcome = first_day(&dir);
    let removed = fs::remove_dir_all(&dir);
    outcome?;
    removed.with_context(|| format!("cannot remove {}", dir.display()))
}

fn without_demo_crates() -> Result<()> {
    let tree = Program::cargo(&["tree", "--package", "server", "--no-default-features", "--edges", "normal,build"])
        .args(&["--prefix", "none", "--format", "{p}"])
        .output()?;
    for name in DEMO_CRATES {
        let is_there = tree.lines().any(|line| line.split(' ').next() == Some(name));
        ensure!(!is_there, "the production binary is built with {name}, which only the demo needs");
    }
    Ok(())
}

fn first_day(dir: &Path) -> Result<()> {
    let settings = coinwire(dir).arg("config").output()?;
    ensure!(settings.contains("database_url"), "`coinwire config` prints no settings");
    fs::write(dir.join("coinwire.toml"), settings)?;
    let [http, mqtt] = [free_address()?, free_address()?];
    let configured = |program: Program| {
        program
            .env("COINWIRE_CONFIG", dir.join("coinwire.toml"))
            .env("COINWIRE_HTTP_LISTEN", http.to_string())
            .env("COINWIRE_MQTT_LISTEN", mqtt.to_string())
    };
    configured(coinwire(dir).arg("migrate")).run()?;

    let log = dir.join("demo.log");
    ensure!(!coinwire(dir).arg("demo").run_into(&log)?, "the production binary has a demo");
    let said = fs::read_to_string(&log)?;
    ensure!(said.contains("unknown command 'demo'"), "`coinwire demo` does not say that there is none:\n{said}");

    let log = dir.join("serve.log");
    let mut server = configured(coinwire(dir).arg("serve")).keep_running(&log)?;
    let until = Instant::now() + WAIT_TIMEOUT;
    while !is_ready(http) {
        if server.has_ended() || Instant::now() > until {
            bail!("the production binary did not get ready:\n{}", fs::read_to_string(&log)?);
        }
        thread::sleep(POLL_INTERVAL);
    }
    let ended = server.terminate(WAIT_TIMEOUT)?;
    ensure!(ended.success(), "the production binary ended with {ended}:\n{}", fs::read_to_string(&log)?);
    println!("the production binary served, and ended by itself when asked to");
    Ok(())
}

/// The program in a directory of its own, where its database and key file are made.
fn coinwire(dir: &Path) -> Program {
    Program::new(binary("debug", "coinwire")).inside(dir)
}

fn is_ready(http: SocketAddr) -> bool {
    let mut answer = String::new();
    TcpStream::connect(http)
        .and_then(|mut stream| {
            stream.set_read_timeout(Some(WAIT_TIMEOUT))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        })
        .is_ok_and(|_| answer.starts_with("HTTP/1.1 200"))
}
