//! Other programs: run to their end, or kept running and ended by their id.

use anyhow::{Context, Result, bail};
use std::{
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The workspace's root, from which everything is run.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is a folder of the workspace")
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// A binary of the workspace, where a profile (`debug`, `release`) leaves it.
pub fn binary(profile: &str, name: &str) -> PathBuf {
    target().join(profile).join(name)
}

/// An address of this machine that nobody listens on at the moment.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot find a free port")?;
    Ok(listener.local_addr()?)
}

/// Whether a command is there to be run.
pub fn exists(name: &str) -> bool {
    // A daemon may be where only root's PATH looks.
    let more = ["/usr/sbin".into(), "/usr/local/sbin".into()];
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).chain(more).any(|dir| dir.join(name).is_file())
}

/// A program about to be run, without standard input, with our output.
pub struct Program {
    command: Command,
    /// As a person would type it.
    line: String,
}

impl Program {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let line = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.current_dir(root()).stdin(Stdio::null());
        Self { command, line }
    }

    pub fn cargo(args: &[&str]) -> Self {
        // The cargo that runs us: of the same toolchain.
        let mut it = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        it.line = "cargo".into();
        // What it says of us is no news to it, and may make it compile anew what asks for it when it is built.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                it.command.env_remove(&*name);
            }
        }
        it.args(args)
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.line = format!("{} {}", self.line, arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub fn args<A: AsRef<OsStr>>(self, args: &[A]) -> Self {
        args.iter().fold(self, |it, arg| it.arg(arg))
    }

    pub fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.line = format!("{key}={} {}", value.as_ref().to_string_lossy(), self.line);
        self.command.env(key, value);
        self
    }

    pub fn inside(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Runs it to its end, and fails if it does.
    pub fn run(mut self) -> Result<()> {
        println!("+ {}", self.line);
        let status = self.command.status().with_context(|| format!("cannot run {}", self.line))?;
        if !status.success() {
            bail!("failed ({status}): {}", self.line);
        }
        Ok(())
    }

    /// Runs it to its end with its output in a file, and tells whether it went well.
    pub fn run_into(mut self, log: &Path) -> Result<bool> {
        println!("+ {}", self.line);
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone()?;
        let status = self.command.stdout(file).stderr(errors).status();
        Ok(status.with_context(|| format!("cannot run {}", self.line))?.success())
    }

    /// Runs it to its end, and gives what it wrote; fails if it does.
    pub fn output(mut self) -> Result<String> {
        let output = self.command.output().with_context(|| format!("cannot run {}", self.line))?;
        if !output.status.success() {
            bail!("failed ({}): {}\n{}", output.status, self.line, String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it silently, and tells whether it went well and wrote anything.
    pub fn says_something(mut self) -> bool {
        self.command.output().is_ok_and(|output| output.status.success() && !output.stdout.is_empty())
    }

    /// Starts it; it is killed when the handle is dropped. Its output goes to the file.
    pub fn keep_running(mut self, log: &Path) -> Result<Running> {
        let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let errors = file.try_clone()?;
        let child = self.command.stdout(file).stderr(errors).spawn();
        Ok(Running(child.with_context(|| format!("cannot run {}", self.line))?))
    }
}

/// A program that runs, until this is dropped.
pub struct Running(Child);

impl Running {
    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }

    /// Asks it to end, as a service manager does, and waits until it did.
    pub fn terminate(&mut self, wait_max: Duration) -> Result<ExitStatus> {
        Program::new("kill").args(&["-TERM", &self.0.id().to_string()]).run()?;
        let until = Instant::now() + wait_max;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("it did not end within {} s of being asked to", wait_max.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The binaries, with the features the tests were built with.
pub fn binaries() -> Result<()> {
    Program::cargo(&["build", "--quiet", "--workspace", "--bins"]).run()
}

/// The binaries as they are shipped.
pub fn release_binaries() -> Result<()> {
    Program::cargo(&["build", "--quiet", "--release", "--workspace", "--bins"]).run()
}
