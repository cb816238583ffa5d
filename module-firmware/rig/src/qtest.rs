//! QEMU's qtest channel: memory, pins. The protocol is line by line, described in QEMU's system/qtest.c.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// QEMU answers at once; a busy machine within this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes moved by one command.
const CHUNK_BYTES: usize = 4096;

/// A change of an intercepted pin, at the time it was heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// When.
    pub at: Instant,
    /// The pin's number on its port.
    pub pin: u8,
    /// Its level since.
    pub high: bool,
}

/// All edges so far.
#[derive(Default)]
pub struct Edges(Mutex<Vec<Edge>>);

impl Edges {
    /// Those from number `from` on.
    pub fn since(&self, from: usize) -> Vec<Edge> {
        self.0.lock().expect("no panic inside").get(from..).map(<[Edge]>::to_vec).unwrap_or_default()
    }

    fn push(&self, edge: Edge) {
        self.0.lock().expect("no panic inside").push(edge);
    }
}

/// The channel.
pub struct Qtest {
    talk: Mutex<Talk>,
    edges: Arc<Edges>,
}

struct Talk {
    socket: UnixStream,
    answers: mpsc::Receiver<String>,
}

impl Qtest {
    /// Takes up the channel over this socket.
    pub fn new(socket: UnixStream) -> Result<Self> {
        let (answers, receiver) = mpsc::channel();
        let edges = Arc::new(Edges::default());
        let (reader, heard) = (BufReader::new(socket.try_clone()?), edges.clone());
        // A thread of its own: edges are timed when they are heard of.
        thread::Builder::new().name("qtest".into()).spawn(move || {
            for line in reader.lines() {
                let (at, Ok(line)) = (Instant::now(), line) else { return };
                match edge(at, &line) {
                    Some(edge) => heard.push(edge),
                    // Nobody waits for the answers of one that is being dropped.
                    None if answers.send(line).is_err() => return,
                    None => {}
                }
            }
        })?;
        Ok(Self { talk: Mutex::new(Talk { socket, answers: receiver }), edges })
    }

    /// The intercepted pins' edges.
    pub fn edges(&self) -> &Arc<Edges> {
        &self.edges
    }

    /// Says a command, and gives what follows `OK`.
    pub fn command(&self, line: &str) -> Result<String> {
        let mut talk = self.talk.lock().expect("no panic inside");
        talk.socket.write_all(format!("{line}\n").as_bytes()).context("qtest")?;
        let answer = talk.answers.recv_timeout(ANSWER_TIMEOUT).with_context(|| format!("qtest: {line}"))?;
        match answer.strip_prefix("OK") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => bail!("qtest: {line}: {answer}"),
        }
    }

    /// From now on hears of the output pins of a device. One device only.
    pub fn intercept(&self, device: &str) -> Result<()> {
        self.command(&format!("irq_intercept_out {device}")).map(drop)
    }

    /// Puts a level on an input pin.
    pub fn set_pin(&self, device: &str, pin: u8, high: bool) -> Result<()> {
        self.command(&format!("set_irq_in {device} unnamed-gpio-in {pin} {}", u8::from(high))).map(drop)
    }

    /// Reads a register.
    pub fn read_u32(&self, address: u32) -> Result<u32> {
        let answer = self.command(&format!("readl {address:#x}"))?;
        let digits = answer.strip_prefix("0x").context("qtest: no hexadecimal number")?;
        Ok(u64::from_str_radix(digits, 16)? as u32)
    }

    /// Reads memory.
    pub fn read(&self, address: u32, count: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let (at, part) = (address as usize + bytes.len(), CHUNK_BYTES.min(count - bytes.len()));
            let answer = self.command(&format!("b64read {at:#x} {part:#x}"))?;
            bytes.extend(STANDARD.decode(answer).context("qtest: no base64")?);
        }
        Ok(bytes)
    }

    /// Writes memory.
    pub fn write(&self, address: u32, bytes: &[u8]) -> Result<()> {
        for (index, part) in bytes.chunks(CHUNK_BYTES).enumerate() {
            let at = address as usize + index * CHUNK_BYTES;
            self.command(&format!("b64write {at:#x} {:#x} {}", part.len(), STANDARD.encode(part)))?;
        }
        Ok(())
    }
}

fn edge(at: Instant, line: &str) -> Option<Edge> {
    let mut words = line.strip_prefix("IRQ ")?.split(' ');
    let high = match words.next()? {
        "raise" => true,
        "lower" => false,
        _ => return None,
    };
    Some(Edge { at, pin: words.next()?.parse().ok()?, high })
}
