//! QEMU as a board: started with the image, spoken to over sockets that it dials, ended with this handle.

use crate::{
    main_loop_waker::{Line, MainLoopWaker},
    qtest::Qtest,
};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// QEMU connects within this, also on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A board's machine in QEMU.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// QEMU's name of it.
    pub name: &'static str,
    /// The GPIO port whose pins are watched.
    pub watched: &'static str,
}

/// A line's two directions.
pub type Serial = (tokio::net::unix::OwnedReadHalf, Line<tokio::net::unix::OwnedWriteHalf>);

/// The running machine.
pub struct Qemu {
    child: Child,
    /// Memory and pins.
    pub qtest: Qtest,
    monitor: Monitor,
    _dir: TempDir,
}

/// The lines of a machine that was just started, standing still.
pub struct Lines {
    /// USART1.
    pub console: Serial,
    /// UART4.
    pub modem: Serial,
}

impl Qemu {
    /// Starts a machine with the image; it stands still until [`Qemu::go`].
    pub fn start(machine: Machine, elf: &Path) -> Result<(Self, Lines)> {
        let dir = tempfile::tempdir()?;
        let path = |name: &str| dir.path().join(name);
        let listen = |name: &str| -> Result<UnixListener> {
            let listener = UnixListener::bind(path(name))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let [console, waker, modem, qtest, qmp] = ["console", "kick", "modem", "qtest", "qmp"].map(listen);
        let serial = |name: &str| format!("unix:{}", path(name).display());
        let mut child = Command::new("qemu-system-arm")
            .args(["-M", machine.name, "-display", "none", "-monitor", "none", "-accel", "tcg", "-S"])
            .args(["-serial", &serial("console"), "-serial", &serial("kick")])
            .args(["-serial", "null", "-serial", &serial("modem")])
            .args(["-qtest", &serial("qtest"), "-qtest-log", "/dev/null", "-qmp", &serial("qmp")])
            .arg("-kernel")
            .arg(elf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(path("stderr"))?)
            .spawn()
            .context("cannot run qemu-system-arm (`cargo xtask setup` installs it)")?;
        let stderr = path("stderr");
        let mut accept = |listener: Result<UnixListener>| accept(&listener?, &mut child, &stderr);
        let sockets =
            (|| -> Result<_> { Ok((accept(console)?, accept(waker)?, accept(modem)?, accept(qtest)?, accept(qmp)?)) })(
            );
        let (console, waker, modem, qtest, qmp) = match sockets {
            Ok(sockets) => sockets,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(error);
            }
        };
        let waker = MainLoopWaker::start(waker)?;
        let lines = Lines { console: line(console, &waker)?, modem: line(modem, &waker)? };
        let it = Self { child, qtest: Qtest::new(qtest)?, monitor: Monitor::new(qmp)?, _dir: dir };
        it.qtest.intercept(machine.watched)?;
        Ok((it, lines))
    }

    /// Lets it run.
    pub fn go(&mut self) -> Result<()> {
        self.monitor.execute("cont")
    }

    /// Lets it stand still, between two instructions.
    pub fn stop(&mut self) -> Result<()> {
        self.monitor.execute("stop")
    }

    /// Resets it, as its reset pin does; memory stays.
    pub fn reset(&mut self) -> Result<()> {
        self.monitor.execute("system_reset")
    }

    /// Its process, for looking at how busy it is.
    pub fn process(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(socket: UnixStream, waker: &MainLoopWaker) -> Result<Serial> {
    socket.set_nonblocking(true)?;
    let (reader, writer) = tokio::net::UnixStream::from_std(socket)?.into_split();
    Ok((reader, Line::new(writer, waker.clone())))
}

fn accept(listener: &UnixListener, child: &mut Child, stderr: &PathBuf) -> Result<UnixStream> {
    let begun = Instant::now();
    loop {
        if let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(false)?;
            return Ok(socket);
        }
        if let Some(status) = child.try_wait()? {
            bail!("qemu ended ({status}): {}", std::fs::read_to_string(stderr).unwrap_or_default());
        }
        if begun.elapsed() > START_TIMEOUT {
            bail!("qemu does not connect: {}", std::fs::read_to_string(stderr).unwrap_or_default());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// QEMU's machine protocol: one JSON object a line.
struct Monitor {
    socket: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Monitor {
    fn new(socket: UnixStream) -> Result<Self> {
        socket.set_read_timeout(Some(START_TIMEOUT))?;
        let mut it = Self { answers: BufReader::new(socket.try_clone()?), socket };
        it.read()?.get("QMP").context("qmp: no greeting")?;
        it.execute("qmp_capabilities")?;
        Ok(it)
    }

    fn execute(&mut self, command: &str) -> Result<()> {
        self.socket.write_all(format!("{}\n", json!({ "execute": command })).as_bytes()).context("qmp")?;
        loop {
            // Events come in between.
            let answer = self.read()?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                bail!("qmp: {command}: {error}");
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("qmp")?;
        serde_json::from_str(&line).with_context(|| format!("qmp: {line:?}"))
    }
}
