//! The board's console, as who sets it up speaks to it: framed requests and replies (`protocol::console`).

use crate::qemu::Serial;
use anyhow::{Context, Result, bail};
use protocol::{
    ModuleId, ModuleSecret,
    console::{Deframer, FRAME_MAX_BYTES, Hardware, Refusal, Reply, Request, Server, frame, parse},
    messages::{Diagnostics, Learned, Settings, Totals},
};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// A request unanswered for so long is asked again: the board may have been starting.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// How often it is looked after.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After so long it is given up.
const WAIT_TIMEOUT: Duration = Duration::from_secs(40);

/// What a module says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Firmware version.
    pub firmware: String,
    /// Its id, if it has one.
    pub id: Option<ModuleId>,
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Boots so far.
    pub boot: u32,
    /// Whether it has a session with the broker.
    pub connected: bool,
    /// Fault bits.
    pub faults: u32,
    /// Totals as counted.
    pub totals: Totals,
    /// Settings in force.
    pub settings: Settings,
    /// How far learning is.
    pub learned: Option<Learned>,
    /// What it counted.
    pub diagnostics: Diagnostics,
    /// What its board counted.
    pub hardware: Hardware,
}

/// The console's line.
pub struct Console {
    line: Serial,
    deframer: Deframer<FRAME_MAX_BYTES>,
    number: u32,
}

impl Console {
    /// Takes up the exchange.
    pub fn new(line: Serial) -> Self {
        Self { line, deframer: Deframer::default(), number: 0 }
    }

    /// Puts bytes on the line as they are.
    pub async fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.line.1.write_all(bytes).await?;
        Ok(())
    }

    /// What it is and how it fares.
    pub async fn info(&mut self) -> Result<Info> {
        self.ask(&Request::Info, |reply| match reply {
            Reply::Info(info) => Ok(Info {
                firmware: info.firmware.into(),
                id: info.id,
                uptime_ms: info.uptime_ms,
                boot: info.boot,
                connected: info.connected,
                faults: info.faults,
                totals: info.totals,
                settings: info.settings,
                learned: info.learned,
                diagnostics: info.diagnostics,
                hardware: info.hardware,
            }),
            Reply::Done => bail!("it says done to a question"),
            Reply::Refused(refusal) => bail!("refused: {}", refusal.as_str()),
        })
        .await?
    }

    /// Gives it an identity and a server, from the next restart on.
    pub async fn provision(&mut self, id: ModuleId, secret: &ModuleSecret, host: &str, port: u16) -> Result<()> {
        self.order(&Request::SetIdentity { id, secret: secret.clone(), replace: false }).await??;
        let server = Server { host, port, apn: "internet", user: "", password: "" };
        self.order(&Request::SetServer(server)).await??;
        Ok(())
    }

    /// Gives it settings.
    pub async fn settings(&mut self, settings: Settings) -> Result<()> {
        self.order(&Request::SetSettings(settings)).await??;
        Ok(())
    }

    /// Restarts it, and waits until it has.
    pub async fn reboot(&mut self) -> Result<Info> {
        let begun = Instant::now();
        self.order(&Request::Reboot).await??;
        loop {
            let info = self.info().await?;
            // It has not been up for longer than since it was told to.
            if u128::from(info.uptime_ms) <= begun.elapsed().as_millis() {
                return Ok(info);
            }
            if begun.elapsed() > WAIT_TIMEOUT {
                bail!("it does not restart");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// A request that is done or refused.
    pub async fn order(&mut self, request: &Request<'_>) -> Result<Result<(), Refused>> {
        self.ask(request, |reply| match reply {
            Reply::Done => Ok(Ok(())),
            Reply::Refused(refusal) => Ok(Err(Refused(refusal))),
            Reply::Info(_) => bail!("it tells what was not asked"),
        })
        .await?
    }

    /// Asks until it is answered.
    async fn ask<T>(&mut self, request: &Request<'_>, read: impl Fn(Reply) -> T) -> Result<T> {
        self.number += 1;
        let number = self.number;
        let question = frame(number, request).context("the request is too long")?;
        let begun = Instant::now();
        while begun.elapsed() < WAIT_TIMEOUT {
            self.line.1.write_all(&question).await.context("the console")?;
            if let Ok(answer) = timeout(ANSWER_TIMEOUT, self.hear(number, &read)).await {
                return answer;
            }
        }
        bail!("the console does not answer")
    }

    async fn hear<T>(&mut self, number: u32, read: &impl Fn(Reply) -> T) -> Result<T> {
        loop {
            let byte = self.line.0.read_u8().await.context("the console")?;
            // What is no frame is another talk than ours.
            let Some(Ok(body)) = self.deframer.push(byte) else { continue };
            if let Some((answered, Some(reply))) = parse::<Reply>(body)
                && answered == number
            {
                return Ok(read(reply));
            }
        }
    }
}

/// The module refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused(pub Refusal);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl std::error::Error for Refused {}
