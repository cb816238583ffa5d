//! Nuisance clients, in a separate process, so that they take no time from those that measure. Each kind is bounded in
//! number and in time.

use super::{
    client::{Client, Version},
    server::STRANGER,
};
use anyhow::{Context, Result};
use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

/// Connections that say nothing, or half a CONNECT.
const IDLE: usize = 10_000;
/// How many of these are opened in a row, since the kernel's queue is limited.
const OPENED_AT_ONCE: usize = 200;
/// Unknown logins per second.
const STRANGERS_PER_S: u32 = 1_000;
/// Subscribers that never read.
const SLOW: usize = 20;
/// Messages a second that they ought to read, of so many bytes.
const UNREAD_PER_S: u32 = 500;
const UNREAD_BYTES: usize = 4_096;

/// A kind of nuisance.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Ten thousand connections that never say anything.
    Idle,
    /// As many that stop in the middle of their CONNECT.
    HalfConnect,
    /// Clients that guess passwords, a thousand connections a second.
    Strangers,
    /// Subscribers that never read what is published to them.
    SlowReaders,
}

pub const KINDS: [Kind; 4] = [Kind::Idle, Kind::HalfConnect, Kind::Strangers, Kind::SlowReaders];

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Idle => "10,000 connections that say nothing",
            Kind::HalfConnect => "10,000 that stop in mid-CONNECT",
            Kind::Strangers => "1,000 strangers' logins a second",
            Kind::SlowReaders => "20 subscribers that never read 2 MB/s",
        }
    }

    fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A running nuisance, until this is dropped.
pub struct Nuisance(Child);

impl Nuisance {
    /// Starts one, for at most the given time, and waits until it is running.
    pub fn start(kind: Kind, at: SocketAddr, at_most: Duration) -> Result<Nuisance> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut child = Command::new(program)
            .args(["nuisance", &kind.name(), &at.to_string(), &at_most.as_secs().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        std::io::BufRead::read_line(
            &mut std::io::BufReader::new(child.stdout.take().context("its output")?),
            &mut line,
        )?;
        anyhow::ensure!(line.trim() == "at it", "the nuisance did not begin");
        Ok(Nuisance(child))
    }
}

impl Drop for Nuisance {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one, for the given time.
pub async fn run_kind(kind: Kind, at: SocketAddr, seconds: u64) -> Result<()> {
    let ends = Instant::now() + Duration::from_secs(seconds);
    match kind {
        Kind::Idle => hold(at, b"", ends).await,
        // A CONNECT of 100 bytes begins so; the rest never comes.
        Kind::HalfConnect => hold(at, b"\x10\x64\x00\x04MQTT", ends).await,
        Kind::Strangers => guess(at, ends).await,
        Kind::SlowReaders => ignore(at, ends).await,
    }
}

fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, 1 + (number % 4) as u8)
}

async fn open(at: SocketAddr, number: usize) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source(number), 0).into())?;
    Ok(socket.connect(at).await?)
}

/// Opens connections, sends the beginning, and replaces closed connections.
async fn hold(at: SocketAddr, beginning: &'static [u8], ends: Instant) -> Result<()> {
    let mut held = JoinSet::new();
    for number in 0..IDLE {
        let mut stream = open(at, number).await?;
        stream.write_all(beginning).await?;
        held.spawn(async move {
            while Instant::now() < ends {
                let mut byte = [0];
                let _ = tokio::time::timeout_at(ends.into(), stream.read(&mut byte)).await;
                if Instant::now() >= ends {
                    return;
                }
                if let Ok(next) = open(at, number).await {
                    stream = next;
                    let _ = stream.write_all(beginning).await;
                }
            }
        });
        if number % OPENED_AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
    }
    println!("at it");
    while held.join_next().await.is_some() {}
    Ok(())
}

async fn guess(at: SocketAddr, ends: Instant) -> Result<()> {
    println!("at it");
    let begun = Instant::now();
    let mut guesses = JoinSet::new();
    for number in 0.. {
        let due = begun + Duration::from_secs(1) / STRANGERS_PER_S * number;
        if due >= ends {
            return Ok(());
        }
        tokio::time::sleep_until(due.into()).await;
        guesses.spawn(async move {
            // Mosquitto lets everybody in; either way the connection ends here.
            let _ = Client::connect(at, source(number as usize), Version::V5, STRANGER).await;
        });
        while guesses.try_join_next().is_some() {}
    }
    Ok(())
}

async fn ignore(at: SocketAddr, ends: Instant) -> Result<()> {
    let mut readers = Vec::new();
    for number in 0..SLOW {
        let mut reader = Client::connect(at, source(number), Version::V5, &format!("slow{number}")).await?;
        reader.subscribe("unread/#", true).await?;
        readers.push(reader);
    }
    let mut publisher = Client::connect(at, source(0), Version::V5, "unread").await?;
    println!("at it");
    let begun = Instant::now();
    for number in 0.. {
        let due = begun + Duration::from_secs(1) / UNREAD_PER_S * number;
        if due >= ends {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        publisher.publish("unread/x", vec![b'x'; UNREAD_BYTES])?;
        publisher.flush().await?;
        publisher.hear().await?;
    }
    drop(readers);
    Ok(())
}
